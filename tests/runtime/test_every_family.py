"""What holds for each family's real engines, and not for the samplers and sizes of the grid."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from tests.checkpoints import tiny_checkpoint
from tests.conftest import Export
from tests.parity import LIMIT, PROMPT, SEED, difference, photograph

from overpaint.bundle.errors import UsageError
from overpaint.runtime import Img2Img
from overpaint.runtime.ip_adapter import open as opening

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

FAMILIES = (
    *("tiny_sd1", "tiny_sd2", "tiny_sdxl", "tiny_refiner", "tiny_sd3"),
    *("tiny_flux1", "tiny_z_image", "tiny_klein"),
)
SIZE = (64, 64)


@pytest.mark.parametrize("family", FAMILIES)
def test_text_to_image_and_image_to_image_share_one_session_of_each_component(
    family: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: Counter[str] = Counter()
    open_session = opening.open_session

    def counting(bundle: Any, name: str, *more: Any) -> Any:
        opened[name] += 1
        return open_session(bundle, name, *more)

    monkeypatch.setattr(opening, "open_session", counting)
    with Img2Img.open(request.getfixturevalue(f"{family}_bundle")) as pipe:
        for _ in range(2):
            pipe(photograph(SIZE), PROMPT, strength=0.6, steps=2)
            assert pipe.text_to_image(PROMPT, size=SIZE, steps=2).images[0].size == SIZE
        assert opened == Counter(dict.fromkeys(pipe.bundle.manifest.components, 1))


@pytest.fixture(scope="module")
def turbo(exported: Export, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SD 3.5 Large Turbo, tiny: four steps, no guidance, and no T5."""
    folder = tmp_path_factory.mktemp("turbo") / "checkpoint"
    return exported("sd3-turbo.bundle", tiny_checkpoint("sd3", folder, turbo=True, t5=False))


@pytest.mark.parametrize(
    ("name", "steps", "discarding"), [("tiny_schnell", 4, 0.8), ("tiny_z_image", 8, 0.9)]
)
def test_the_steps_of_distilled_flow_models_do_not_discard_the_picture(
    name: str, steps: int, discarding: float, request: pytest.FixtureRequest
) -> None:
    pictures = [photograph(SIZE), photograph(SIZE).transpose(1)]
    with Img2Img.open(request.getfixturevalue(f"{name}_bundle")) as pipe:
        defaults = pipe.bundle.manifest.defaults
        assert (defaults.steps, defaults.strength, defaults.guidance_scale) == (steps, 0.6, 1.0)
        assert defaults.distilled
        one, other = (pipe(picture, PROMPT, seed=SEED) for picture in pictures)
        assert difference(np.asarray(one.images[0]), np.asarray(other.images[0])) > 20
        assert not one.warnings
        discarded = pipe(pictures[0], PROMPT, seed=SEED, strength=discarding)
        assert any("the picture is ignored" in warning for warning in discarded.warnings)


def test_prompts_of_other_lengths_go_through_the_denoiser_apart_and_of_one_length_together(
    tiny_z_image_bundle: Path,
) -> None:
    """A batch is as its pictures alone, and what is evaluated is the same either way."""
    asked: dict[str, Any] = {"steps": 3, "guidance_scale": 4, "seed": SEED}
    with Img2Img.open(tiny_z_image_bundle) as pipe:
        long = pipe.text_to_image(PROMPT * 4, negative_prompt="text", size=SIZE, n=2, **asked)
        short = pipe.text_to_image("a lynx", negative_prompt="text", size=SIZE, n=2, **asked)
        alone = pipe.text_to_image(PROMPT * 4, negative_prompt="text", size=SIZE, **asked)
    assert long.evaluations == short.evaluations == 2 * alone.evaluations == 12
    assert difference(np.asarray(long.images[0]), np.asarray(alone.images[0])) <= LIMIT
    assert difference(np.asarray(long.images[0]), np.asarray(short.images[0])) > 3 * LIMIT


def test_a_denoiser_that_is_told_guidance_is_guided_by_a_negative_prompt_on_top(
    tiny_flux1_bundle: Path, tiny_schnell_bundle: Path
) -> None:
    asked: dict[str, Any] = {"steps": 4, "seed": SEED, "negative_prompt": "blurry"}
    with Img2Img.open(tiny_flux1_bundle) as pipe:
        told = pipe(photograph(SIZE), PROMPT, **asked)
        assert told.parameters.guidance == "embedded"
        assert any("give true_cfg_scale, above 1" in warning for warning in told.warnings)
        both = pipe(photograph(SIZE), PROMPT, **asked, true_cfg_scale=4)
        assert both.parameters.guidance == "classifier-free"
        assert not both.warnings
        assert difference(np.asarray(told.images[0]), np.asarray(both.images[0])) > 3 * LIMIT
    with (
        Img2Img.open(tiny_schnell_bundle) as pipe,
        pytest.raises(UsageError, match=r"true_cfg_scale: this denoiser is not told"),
    ):
        pipe(photograph(SIZE), PROMPT, true_cfg_scale=4)


@pytest.mark.parametrize("name", ["tiny_schnell", "tiny_z_image", "tiny_klein"])
@pytest.mark.parametrize(
    "options", [{"device": "openvino"}, {"low_memory": True}, {"dtype": "float16"}], ids=str
)
def test_new_families_are_the_same_on_other_engines_in_little_memory_and_nearly_so_in_half(
    options: dict[str, Any], name: str, exported: Export, request: pytest.FixtureRequest
) -> None:
    asked: dict[str, Any] = {"steps": 2, "seed": SEED}
    bundle: Path = request.getfixturevalue(f"{name}_bundle")
    with Img2Img.open(bundle, device="cpu") as pipe:
        [wanted] = pipe(photograph(SIZE), PROMPT, **asked).images
    limit = LIMIT
    if options == {"dtype": "float16"}:
        checkpoint: Path = request.getfixturevalue(name)
        bundle, limit = exported(f"{name}.float16.bundle", checkpoint, **options), 8
        options = {}
    with Img2Img.open(bundle, **options) as pipe:
        *steps, done = pipe.stream(photograph(SIZE), PROMPT, **asked)
    assert difference(np.asarray(wanted), np.asarray(done.result.images[0])) <= limit
    cell = pipe.bundle.manifest.latents.downscale
    assert steps[0].preview().size == (SIZE[0] // cell, SIZE[1] // cell)


def test_turbos_four_steps_do_not_discard_the_picture(turbo: Path) -> None:
    """At the bundle's own strength, two pictures stay two; above it they would become one."""
    pictures = [photograph(SIZE), photograph(SIZE).transpose(1)]
    with Img2Img.open(turbo) as pipe:
        defaults = pipe.bundle.manifest.defaults
        assert (defaults.steps, defaults.strength, defaults.guidance_scale) == (4, 0.75, 1.0)
        one, other = (pipe(picture, PROMPT, seed=SEED) for picture in pictures)
        assert difference(np.asarray(one.images[0]), np.asarray(other.images[0])) > 20
        assert not any("is ignored" in warning for warning in one.warnings)
        one, other = (pipe(picture, PROMPT, seed=SEED, strength=0.8) for picture in pictures)
        assert difference(np.asarray(one.images[0]), np.asarray(other.images[0])) == 0
        assert any("the picture is ignored" in warning for warning in one.warnings)


@pytest.mark.parametrize("tokens", [77, 300, 512])
def test_t5_reads_as_many_tokens_as_are_asked_for(
    tokens: int, tiny_sd3: Path, tiny_sd3_bundle: Path
) -> None:
    prompt = ", ".join([PROMPT] * 60)  # longer than any of them
    theirs = diffusers.StableDiffusion3Pipeline.from_pretrained(tiny_sd3)
    theirs.set_progress_bar_config(disable=True)
    wanted = theirs(
        prompt,
        width=64,
        height=64,
        num_inference_steps=3,
        guidance_scale=4.0,
        max_sequence_length=tokens,
        generator=torch.Generator().manual_seed(SEED),
    ).images[0]
    asked: dict[str, Any] = {"size": SIZE, "steps": 3, "guidance_scale": 4.0, "seed": SEED}
    with Img2Img.open(tiny_sd3_bundle) as pipe:
        usual = pipe.text_to_image(prompt, **asked)
        result = pipe.text_to_image(prompt, **asked, max_sequence_length=tokens)
    assert difference(np.asarray(wanted), np.asarray(result.images[0])) <= LIMIT
    assert difference(np.asarray(usual.images[0]), np.asarray(result.images[0])) > 3 * LIMIT


def test_only_t5_reads_more_tokens(tiny_sd1_bundle: Path) -> None:
    with (
        Img2Img.open(tiny_sd1_bundle) as pipe,
        pytest.raises(UsageError, match="max_sequence_length: it is T5's"),
    ):
        pipe(photograph(SIZE), PROMPT, max_sequence_length=512)


def test_a_distilled_denoiser_takes_guidance_as_an_input_and_diffusers_picture_comes_out(
    exported: Export, tmp_path: Path
) -> None:
    """w = g - 1 is embedded, and no negative prompt is run beside the prompt."""
    checkpoint = tiny_checkpoint("sd1", tmp_path / "checkpoint", time_cond_proj_dim=16)
    theirs = diffusers.StableDiffusionImg2ImgPipeline.from_pretrained(checkpoint)
    theirs.set_progress_bar_config(disable=True)
    theirs.scheduler = diffusers.LCMScheduler.from_config(
        theirs.scheduler.config, clip_sample=False
    )
    asked: dict[str, Any] = {"strength": 0.8, "guidance_scale": 8.5}
    wanted = theirs(
        PROMPT,
        image=photograph(SIZE),
        num_inference_steps=5,
        generator=torch.Generator().manual_seed(SEED),
        **asked,
    ).images[0]
    with Img2Img.open(exported("sd1-lcm.bundle", checkpoint)) as pipe:
        options: dict[str, Any] = {"steps": 5, "sampler": "lcm", "seed": SEED}
        result = pipe(photograph(SIZE), PROMPT, **options, **asked)
        weaker = pipe(photograph(SIZE), PROMPT, **options, strength=0.8, guidance_scale=2.0)
    assert difference(np.asarray(wanted), np.asarray(result.images[0])) <= LIMIT
    assert difference(np.asarray(wanted), np.asarray(weaker.images[0])) > 3 * LIMIT
