"""SDXL's base and then its refiner as one run: the picture of diffusers' two pipelines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from tests.conftest import Tiny
from tests.doubles.engines import fake_pipeline
from tests.parity import LIMIT, PROMPT, SCHEDULERS, SEED, difference, photograph
from typer.testing import CliRunner

from overpaint.bundle.errors import UsageError
from overpaint.cli.app import app
from overpaint.runtime import Img2Img

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SIZE = (64, 96)
NEGATIVE = "blurry, text"
SAMPLERS = ("default", "euler-a", "ddim", "dpmpp-2m", "unipc")
STEPS = 10


class Theirs:
    """diffusers' base, as text to image and as image to image, and its refiner."""

    def __init__(self, base: Path, refiner: Path) -> None:
        self.text = diffusers.StableDiffusionXLPipeline.from_pretrained(base)
        self.image = diffusers.StableDiffusionXLImg2ImgPipeline.from_pipe(self.text)
        self.refiner = diffusers.StableDiffusionXLImg2ImgPipeline.from_pretrained(refiner)
        self.schedulers = self.text.scheduler, self.refiner.scheduler
        for pipe in (self.text, self.image, self.refiner):
            pipe.set_progress_bar_config(disable=True)

    def __call__(
        self, sampler: str, strength: float | None, hand_over: float, **options: Any
    ) -> np.ndarray:
        """Two calls, with one generator for both; `strength` None is text to image."""
        base = self.text if strength is None else self.image
        start: dict[str, Any] = {"width": SIZE[0], "height": SIZE[1]}
        if strength is not None:
            start = {"image": photograph(SIZE), "strength": strength}
        common = {
            "prompt": PROMPT,
            "negative_prompt": NEGATIVE,
            "num_inference_steps": STEPS,
            "guidance_scale": 5.0,
            "generator": torch.Generator().manual_seed(SEED),
            **options,
        }
        for pipe, own in zip((base, self.refiner), self.schedulers, strict=True):
            pipe.scheduler = SCHEDULERS[sampler](own.config) or own
        latents = base(**common, **start, denoising_end=hand_over, output_type="latent").images
        images = self.refiner(**common, image=latents, denoising_start=hand_over).images
        return np.asarray(images[0])


@pytest.fixture(scope="module")
def theirs(tiny_sdxl: Path, tiny_refiner: Path) -> Theirs:
    return Theirs(tiny_sdxl, tiny_refiner)


@pytest.fixture(scope="module")
def ours(tiny_sdxl_bundle: Path, tiny_refiner_bundle: Path) -> Iterator[tuple[Img2Img, Img2Img]]:
    with Img2Img.open(tiny_sdxl_bundle) as base, Img2Img.open(tiny_refiner_bundle) as refiner:
        yield base, refiner


def by_us(
    ours: tuple[Img2Img, Img2Img],
    sampler: str,
    strength: float | None,
    hand_over: float,
    **options: Any,
) -> np.ndarray:
    base, refiner = ours
    common: dict[str, Any] = {
        "negative_prompt": NEGATIVE,
        "steps": STEPS,
        "guidance_scale": 5.0,
        "sampler": sampler,
        "seed": SEED,
        "refiner": refiner,
        "hand_over": hand_over,
        **options,
    }
    if strength is None:
        return np.asarray(base.text_to_image(PROMPT, size=SIZE, **common).images[0])
    return np.asarray(base(photograph(SIZE), PROMPT, strength=strength, **common).images[0])


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(
    ("strength", "hand_over"), [(None, 0.8), (None, 0.5), (0.7, 0.8), (1.0, 0.33)]
)
def test_base_and_refiner_in_one_call_paint_what_diffusers_paints_in_two(
    theirs: Theirs,
    ours: tuple[Img2Img, Img2Img],
    sampler: str,
    strength: float | None,
    hand_over: float,
) -> None:
    wanted = theirs(sampler, strength, hand_over)
    assert wanted.std() > 10, "a picture, not a grey field"
    assert difference(wanted, by_us(ours, sampler, strength, hand_over)) <= LIMIT


@pytest.mark.parametrize("inpainting_begins", [True, False])
def test_an_inpainting_and_a_plain_checkpoint_finish_each_others_part(
    inpainting_begins: bool, inpainting: Callable[[str], Tiny], tiny_sdxl_bundle: Path
) -> None:
    """Each is fed the channels that it takes; neither touches what the mask keeps."""
    bundles = [inpainting("sdxl").bundle, tiny_sdxl_bundle]
    picture, mask = photograph(SIZE), Image.new("L", SIZE)
    mask.paste(255, (0, 0, 32, SIZE[1]))
    options: dict[str, Any] = {"mask": mask, "strength": 1.0, "steps": 5, "seed": SEED}
    options["sampler"] = "euler"
    first, second = bundles if inpainting_begins else bundles[::-1]
    with Img2Img.open(first) as base, Img2Img.open(second) as other:
        both = np.asarray(base(picture, PROMPT, refiner=other, hand_over=0.5, **options).images[0])
        alone = np.asarray(base(picture, PROMPT, **options).images[0])
    assert np.array_equal(both[:, 32:], np.asarray(picture)[:, 32:])
    assert difference(both[:, :32], alone[:, :32]) > 5


@pytest.mark.parametrize("sampler", ["default", "euler-a", "heun", "ddim", "lcm"])
def test_handing_over_to_the_same_checkpoint_changes_nothing(
    ours: tuple[Img2Img, Img2Img], sampler: str
) -> None:
    """Heun is shown here alone: diffusers' base ends in the middle of one of its steps, and the
    refiner begins that step again. Ours are cut between steps."""
    base, _ = ours
    asked: dict[str, Any] = {"strength": 0.8, "steps": STEPS, "sampler": sampler, "seed": SEED}
    whole = base(photograph(SIZE), PROMPT, **asked)
    with Img2Img.open(base.bundle.folder) as again:
        relayed = base(photograph(SIZE), PROMPT, **asked, refiner=again, hand_over=0.6)
    assert difference(np.asarray(whole.images[0]), np.asarray(relayed.images[0])) == 0
    assert relayed.steps_run == whole.steps_run
    assert len(relayed.timings.steps) == len(whole.timings.steps)


def test_the_refiner_has_its_share_in_the_picture(ours: tuple[Img2Img, Img2Img]) -> None:
    base, _ = ours
    alone = base.text_to_image(PROMPT, size=SIZE, negative_prompt=NEGATIVE, steps=STEPS, seed=SEED)
    whole = np.asarray(alone.images[0])
    late, early = (by_us(ours, "default", None, hand_over) for hand_over in (0.8, 0.4))
    assert difference(whole, late) > 5 * LIMIT
    assert difference(late, early) > 5 * LIMIT


@pytest.mark.parametrize("n", [1, 3])
def test_each_image_of_a_batch_is_refined_with_its_own_noise(
    ours: tuple[Img2Img, Img2Img], n: int
) -> None:
    base, refiner = ours
    many = base(photograph(SIZE), PROMPT, sampler="euler-a", n=n, seed=5, steps=10, refiner=refiner)
    last = base(photograph(SIZE), PROMPT, sampler="euler-a", seed=4 + n, steps=10, refiner=refiner)
    one, other = np.asarray(many.images[-1]), np.asarray(last.images[0])
    assert difference(one, other) <= LIMIT


def test_the_result_tells_of_the_refiner(ours: tuple[Img2Img, Img2Img]) -> None:
    base, refiner = ours
    events = [
        *base.stream(photograph(SIZE), PROMPT, strength=0.7, steps=20, seed=1, refiner=refiner)
    ]
    result = events[-1].result  # type: ignore[union-attr]
    assert [event.index for event in events[:-1]] == list(range(1, 15))  # type: ignore[union-attr]
    assert {event.total for event in events[:-1]} == {14}  # type: ignore[union-attr]
    assert result.steps_run == 14
    parameters = result.parameters
    assert (parameters.refiner, parameters.hand_over) == (refiner.bundle.manifest.name, 0.8)
    assert parameters.as_dict()["denoising_end"] is None
    assert "Refiner switch at: 0.8" in parameters.infotext()
    assert {"unet", "refiner/unet", "refiner/vae_decoder"} < result.devices.keys()


def test_nothing_is_decoded_on_the_way_and_nothing_encoded_again(tmp_path: Path) -> None:
    (base, began), (refiner, finished) = (fake_pipeline(tmp_path / name) for name in "ab")
    result = base(photograph(SIZE), "red", steps=10, strength=0.9, refiner=refiner)
    assert (began.runs("unet"), finished.runs("unet")) == (7, 2)
    assert result.steps_run == 9
    assert (began.runs("vae_decoder"), finished.runs("vae_decoder")) == (0, 1)
    assert (began.runs("vae_encoder"), finished.runs("vae_encoder")) == (1, 0)


def test_a_window_without_a_step_says_that_nothing_is_repainted(tmp_path: Path) -> None:
    pipe, engines = fake_pipeline(tmp_path)
    result = pipe(photograph(SIZE), "red", steps=10, strength=0.1, denoising_end=0.5)
    assert "none of 10 steps lies between denoising_start and denoising_end" in result.warnings[0]
    assert engines.runs("unet") == result.steps_run == 0


def test_the_command_line_names_a_refiner(ours: tuple[Img2Img, Img2Img], tmp_path: Path) -> None:
    base, refiner = ours
    out = tmp_path / "out.png"
    command = ["run", "--text-to-image", PROMPT, "--size", "64x96", "-o", str(out), "--json"]
    command += ["--bundle", str(base.bundle.folder), "--steps", "10", "--seed", str(SEED)]
    command += ["--negative-prompt", NEGATIVE, "--guidance-scale", "5"]
    refined = ["--refiner", str(refiner.bundle.folder), "--hand-over", "0.5"]
    told = CliRunner().invoke(app, [*command, *refined])
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["results"][0]["hand_over"] == 0.5
    assert difference(np.asarray(Image.open(out)), by_us(ours, "default", None, 0.5)) == 0
    refused = CliRunner().invoke(app, [*command, "--force", "--hand-over", "0.5"])
    assert isinstance(refused.exception, UsageError)
    assert "name one with --refiner" in str(refused.exception)


def test_exact_steps_are_shared_by_both(ours: tuple[Img2Img, Img2Img]) -> None:
    base, refiner = ours
    result = base(
        photograph(SIZE), PROMPT, strength=0.5, steps=12, steps_mode="exact", refiner=refiner
    )
    assert result.steps_run == 12


def test_the_refiner_works_alone_as_image_to_image(ours: tuple[Img2Img, Img2Img]) -> None:
    _, refiner = ours
    assert refiner(photograph(SIZE), PROMPT, strength=0.3, steps=10).steps_run == 3


def test_a_refiner_that_cannot_follow_is_refused_by_name(
    ours: tuple[Img2Img, Img2Img], tmp_path: Path
) -> None:
    base, refiner = ours
    stranger, engines = fake_pipeline(tmp_path)
    image: Any = photograph(SIZE)
    for options, told in (
        ({"refiner": stranger}, "refiner: expected latents like those of"),
        ({"refiner": base}, "refiner: expected another pipeline"),
        ({"hand_over": 0.5}, "hand_over: it says when a refiner takes over"),
        ({"refiner": refiner, "hand_over": 1.5}, "hand_over: expected a number between 0 and 1"),
        ({"refiner": refiner, "denoising_end": 0.5}, "denoising_end: with a refiner"),
        ({"refiner": refiner, "strength": 0.1, "steps": 20}, "hand_over: at 0.8, .* none of the"),
        (
            {"refiner": refiner, "strength": 1.0, "steps": 2, "hand_over": 0.999},
            "hand_over: .* the refiner has none",
        ),
    ):
        with pytest.raises(UsageError, match=told):
            base(image, PROMPT, **options)
    assert engines.runs("unet") == 0
    assert base(image, PROMPT, strength=0.5, steps=4, refiner=refiner).steps_run == 2, "free again"


def test_two_checkpoints_of_different_schedulers_need_one_sampler_named(
    tmp_path: Path,
) -> None:
    euler, _ = fake_pipeline(tmp_path / "euler")
    ddim, _ = fake_pipeline(
        tmp_path / "ddim",
        scheduler={
            "_class_name": "DDIMScheduler",
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
        },
    )
    with pytest.raises(UsageError, match=r"sampler: .* would run euler and the refiner ddim"):
        euler(photograph(SIZE), "red", steps=10, refiner=ddim)
    assert euler(photograph(SIZE), "red", steps=10, sampler="ddim", refiner=ddim).steps_run


@pytest.mark.parametrize("sampler", ["default", "euler-a", "dpmpp-2m"])
@pytest.mark.parametrize(
    ("options", "strength"),
    [
        ({"denoising_start": 0.6}, None),
        ({"denoising_end": 0.7}, 0.8),
        ({"denoising_start": 0.4, "denoising_end": 0.8}, None),
    ],
)
def test_a_part_of_the_way_is_the_part_that_diffusers_runs(
    theirs: Theirs,
    ours: tuple[Img2Img, Img2Img],
    sampler: str,
    options: dict[str, float],
    strength: float | None,
) -> None:
    own = theirs.schedulers[1]
    theirs.refiner.scheduler = SCHEDULERS[sampler](own.config) or own
    wanted = theirs.refiner(
        PROMPT,
        image=photograph(SIZE),
        negative_prompt=NEGATIVE,
        num_inference_steps=STEPS,
        guidance_scale=5.0,
        strength=strength or 0.3,
        generator=torch.Generator().manual_seed(SEED),
        **options,
    ).images[0]
    _, refiner = ours
    result = refiner(
        photograph(SIZE),
        PROMPT,
        negative_prompt=NEGATIVE,
        steps=STEPS,
        guidance_scale=5.0,
        strength=strength,
        sampler=sampler,
        seed=SEED,
        **options,
    )
    assert difference(np.asarray(wanted), np.asarray(result.images[0])) <= LIMIT
