"""Stable Diffusion 3 with control networks: diffusers' text to image, and step by step the rest.

diffusers has no pipeline that repaints with SD 3's control networks. There the reference is its own
image to image and inpainting, around a transformer that is handed the residuals in each call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from tests.conftest import Tiny
from tests.parity import LIMIT, PROMPT, SEED, Pixels, difference, photograph
from tests.runtime.test_masks_parity import mask

from overpaint.bundle.errors import UsageError
from overpaint.runtime import Control, Img2Img

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SIZE, MAP, STRENGTH, STEPS, EXECUTED = (64, 64), photograph((72, 80)), 0.8, 5, 4
ASKED = [(5.0, (1.0, 0.0, 1.0)), (1.0, (0.7, 0.0, 0.6)), (4.0, (0.8, 0.3, 1.0))]


@pytest.fixture(scope="module")
def network(controlnet: Callable[..., Tiny]) -> Tiny:
    return controlnet("sd3", "canny")


@pytest.fixture(scope="module")
def pipe(tiny_sd3_bundle: Path, network: Tiny) -> Iterator[Img2Img]:
    with Img2Img.open(tiny_sd3_bundle, control=[network.bundle], device="cpu") as opened:
        yield opened


@pytest.fixture(scope="module")
def own(checkpoints: dict[str, Path]) -> Any:
    return diffusers.DiffusionPipeline.from_pretrained(checkpoints["sd3"])


@pytest.fixture(scope="module")
def theirs(network: Tiny) -> Any:
    return diffusers.SD3ControlNetModel.from_pretrained(network.checkpoint)


class Steered(torch.nn.Module):
    """A transformer that is handed a control network's residuals in each call."""

    def __init__(self, own: Any, network: Any, hint: torch.Tensor, numbers: Any) -> None:
        super().__init__()
        self.transformer, self.network = own.transformer, network
        self.hint, self.numbers, self.calls = hint, numbers, 0
        # What the pipelines ask of a transformer:
        self.config, self.dtype = own.transformer.config, torch.float32
        self.device = torch.device("cpu")

    def forward(self, **read: Any) -> Any:
        scale, start, end = self.numbers
        acts = not (self.calls / EXECUTED < start or (self.calls + 1) / EXECUTED > end)
        self.calls += 1
        names = ("hidden_states", "timestep", "encoder_hidden_states", "pooled_projections")
        [residuals] = self.network(
            **{name: read[name] for name in names},
            controlnet_cond=self.hint,
            conditioning_scale=scale * acts,
            return_dict=False,
        )
        return self.transformer(**read, block_controlnet_hidden_states=residuals)


@torch.inference_mode()
def hint(own: Any, guidance_scale: float) -> torch.Tensor:
    """What diffusers' pipeline shows the network: a draw for each half of guidance."""
    processor = diffusers.image_processor.VaeImageProcessor(vae_scale_factor=8)
    pixels = processor.preprocess(MAP, height=SIZE[1], width=SIZE[0])
    torch.manual_seed(SEED)
    z = own.vae.encode(torch.cat([pixels] * (1 + (guidance_scale > 1)))).latent_dist.sample()
    shown: torch.Tensor = (z - own.vae.config.shift_factor) * own.vae.config.scaling_factor
    return shown


def ours(pipe: Img2Img, guidance_scale: float, numbers: Any, **options: Any) -> Pixels:
    result = pipe(
        options.pop("image", None),
        PROMPT,
        control={"canny": Control(MAP, *numbers)},
        negative_prompt="blurry",
        steps=STEPS,
        guidance_scale=guidance_scale,
        seed=SEED,
        **options,
    )
    return np.asarray(result.images[0])


@pytest.mark.parametrize(("guidance_scale", "numbers"), ASKED)
def test_text_to_image_is_diffusers_own(
    guidance_scale: float, numbers: Any, own: Any, theirs: Any, pipe: Img2Img
) -> None:
    beside = {
        name: one for name, one in own.components.items() if name[:5] not in ("image", "featu")
    }
    reference = diffusers.StableDiffusion3ControlNetPipeline(**beside, controlnet=theirs)
    reference.set_progress_bar_config(disable=True)
    scale, start, end = numbers
    torch.manual_seed(SEED)
    [wanted] = reference(
        PROMPT,
        control_image=MAP,
        width=SIZE[0],
        height=SIZE[1],
        negative_prompt="blurry",
        num_inference_steps=STEPS,
        guidance_scale=guidance_scale,
        controlnet_conditioning_scale=scale,
        control_guidance_start=start,
        control_guidance_end=end,
        generator=torch.Generator().manual_seed(SEED),
    ).images
    got = ours(pipe, guidance_scale, numbers, size=SIZE)
    assert difference(np.asarray(wanted), got) <= LIMIT


@pytest.mark.parametrize("task", ["image", "mask"])
@pytest.mark.parametrize(("guidance_scale", "numbers"), ASKED)
def test_repainting_is_the_transformers_with_its_residuals(
    task: str, guidance_scale: float, numbers: Any, own: Any, theirs: Any, pipe: Img2Img
) -> None:
    kind = {"image": "Img2Img", "mask": "Inpaint"}[task]
    reference = getattr(diffusers, f"StableDiffusion3{kind}Pipeline")(**own.components)
    reference.set_progress_bar_config(disable=True)
    steered = Steered(own, theirs, hint(own, guidance_scale), numbers)
    reference.transformer = steered
    more = {"mask_image": mask("ellipse", SIZE)} if task == "mask" else {}
    latents = reference(
        PROMPT,
        image=photograph(SIZE),
        width=SIZE[0],
        height=SIZE[1],
        strength=STRENGTH,
        negative_prompt="blurry",
        num_inference_steps=STEPS,
        guidance_scale=guidance_scale,
        generator=torch.Generator().manual_seed(SEED),
        output_type="latent",
        **more,
    ).images
    assert steered.calls == EXECUTED
    with torch.inference_mode():
        vae = own.vae
        sample = vae.decode(latents / vae.config.scaling_factor + vae.config.shift_factor).sample
    [wanted] = reference.image_processor.postprocess(sample)
    options: dict[str, Any] = {"image": photograph(SIZE), "strength": STRENGTH}
    if task == "mask":
        options |= {"mask": mask("ellipse", SIZE), "mask_paste": False}
    assert difference(np.asarray(wanted), ours(pipe, guidance_scale, numbers, **options)) <= LIMIT


def test_a_network_that_sees_the_mask_fills_it_as_diffusers_does(
    controlnet: Callable[..., Tiny], own: Any, tiny_sd3_bundle: Path
) -> None:
    network = controlnet("sd3", "filling", sees_mask=True)
    net = diffusers.SD3ControlNetModel.from_pretrained(network.checkpoint)
    unused = ("image_encoder", "feature_extractor")
    beside = {name: one for name, one in own.components.items() if name not in unused}
    reference = diffusers.StableDiffusion3ControlNetInpaintingPipeline(**beside, controlnet=net)
    reference.set_progress_bar_config(disable=True)
    torch.manual_seed(SEED)
    [wanted] = reference(
        PROMPT,
        control_image=photograph(SIZE),
        control_mask=mask("ellipse", SIZE),
        width=SIZE[0],
        height=SIZE[1],
        negative_prompt="blurry",
        num_inference_steps=STEPS,
        guidance_scale=5.0,
        controlnet_conditioning_scale=0.8,
        generator=torch.Generator().manual_seed(SEED),
    ).images
    with Img2Img.open(tiny_sd3_bundle, control=[network.bundle], device="cpu") as pipe:
        result = pipe(
            photograph(SIZE),
            PROMPT,
            mask=mask("ellipse", SIZE),
            control={"filling": Control(scale=0.8, preprocessor="tile")},
            mask_paste=False,
            strength=1.0,
            negative_prompt="blurry",
            steps=STEPS,
            guidance_scale=5.0,
            seed=SEED,
        )
        assert difference(np.asarray(wanted), np.asarray(result.images[0])) <= LIMIT
        with pytest.raises(UsageError, match="this network fills a mask"):
            pipe.text_to_image(PROMPT, size=SIZE, control={"filling": Control(MAP)})
