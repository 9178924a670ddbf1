"""The same repainted part as diffusers' inpainting makes, for the same mask and seed."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from PIL import Image, ImageDraw
from tests.conftest import FAMILIES, Tiny
from tests.parity import (
    LIMIT,
    PROMPT,
    SCHEDULERS,
    SEED,
    Axes,
    Pixels,
    difference,
    klein_guidance,
    klein_inpainting,
    measured,
    pairwise,
    photograph,
)
from tests.parity import grid as every

from overpaint.runtime import Img2Img

# diffusers on NumPy 2: nothing of ours.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@dataclass(frozen=True, slots=True)
class Cell:
    """One way to ask for a repainted part. `size`: the picture's and the mask's own."""

    sampler: str
    strength: float
    steps: int
    guidance_scale: float
    mask: str
    size: tuple[int, int]

    def __str__(self) -> str:
        return (
            f"{self.sampler}-{self.strength:g}-{self.steps}steps-g{self.guidance_scale:g}"
            f"-{self.mask}-{self.size[0]}x{self.size[1]}"
        )


GRID: Axes = {
    "sampler": ("default", "euler", "euler-a", "heun", "dpmpp-2m", "ddim", "lcm"),
    "strength": (0.4, 0.75, 1.0),
    "steps": (5,),
    "guidance_scale": (1.0, 5.0),
    "mask": ("half", "ellipse", "thin lines", "one pixel", "grey", "all", "nothing"),
    "size": ((64, 64), (77, 109)),
}
GRIDS: dict[str, Axes] = {
    "tiny_sd1": GRID,
    "tiny_sd2": {**GRID, "sampler": ("default",)},
    "tiny_sdxl": GRID,
    # diffusers' SD 3 inpainting noises with a method that only its own scheduler has.
    "tiny_sd3": {**GRID, "sampler": ("default",)},
    "tiny_flux1": {
        **GRID,
        "sampler": ("default",),
        "strength": (0.4, 1.0),
        "mask": ("half", "thin lines", "grey"),
    },
}
GRIDS["tiny_z_image"] = GRIDS["tiny_klein"] = GRIDS["tiny_flux1"]

INPAINTING = {f"inpainting {family}": family for family in ("sd1", "sd2", "sdxl", "sd3")}
"""Denoisers that see the mask and the masked picture, for which nothing is put back."""

GRIDS |= {name: GRIDS[f"tiny_{family}"] for name, family in INPAINTING.items()}
COVER = GRIDS | {
    name: {**GRID, "sampler": ("default", "euler-a")} for name in ("tiny_sdxl", "inpainting sdxl")
}
"""What is covered pair by pair: SD 1 shows the other samplers, and what sees the mask at SD 2 is
SD 1's and SD 2's own."""
del COVER["inpainting sd2"]


@functools.cache
def mask(name: str, size: tuple[int, int]) -> Image.Image:
    """Grey: white is repainted."""
    width, height = size
    image = Image.new("L", size, 255 if name == "all" else 0)
    draw = ImageDraw.Draw(image)
    match name:
        case "half":
            draw.rectangle((0, 0, width // 2, height), 255)
        case "ellipse":
            draw.ellipse((9, 13, width - 5, height - 20), 255)
        case "thin lines":
            draw.line((0, 0, width, height), 255, 1)
            draw.line((0, 24, width, 24), 255, 1)
        case "one pixel":
            image.putpixel((16, 24), 255)
        case "grey":
            ramp = np.linspace(0, 255, width).astype(np.uint8)
            image = Image.fromarray(np.repeat(ramp[None], height, axis=0))
    return image


class Reference:
    """diffusers' own inpainting pipeline on a checkpoint, in float32, with torch's generator.

    One grey, which an inpainting denoiser is shown where all is masked, is encoded in float64: of
    what is left once its mean is taken away, float32 knows little (docs/decisions/0012).
    """

    def __init__(self, checkpoint: Path) -> None:
        own = diffusers.DiffusionPipeline.from_pretrained(checkpoint, torch_dtype=torch.float32)
        self.scheduler = own.scheduler
        self.klein = isinstance(own, diffusers.Flux2KleinPipeline)
        if self.klein:
            self.pipe = klein_inpainting(own)
        else:
            self.pipe = diffusers.AutoPipelineForInpainting.from_pipe(own)
        self.pipe.set_progress_bar_config(disable=True)
        flow = hasattr(self.pipe, "transformer")
        self.multiple = 16 if flow else 8
        self.none = 0.0 if isinstance(self.pipe, diffusers.ZImageInpaintPipeline) else 1.0
        self.forgets = isinstance(self.pipe, diffusers.StableDiffusion3InpaintPipeline)
        self.encode, self.exact = self.pipe.vae.encode, copy.deepcopy(self.pipe.vae).double()
        self.pipe.vae.encode = self._encode

    def _encode(self, pixels: torch.Tensor) -> Any:
        if pixels.amin() < pixels.amax():
            return self.encode(pixels)
        exact = self.exact.encode(pixels.double()).latent_dist.parameters
        return AutoencoderKLOutput(DiagonalGaussianDistribution(exact.float()))

    def __call__(self, cell: Cell, generator: Any = None) -> Pixels:
        self.pipe.scheduler = SCHEDULERS[cell.sampler](self.scheduler.config) or self.scheduler
        width, height = (side // self.multiple * self.multiple for side in cell.size)
        if self.klein:
            guided = klein_guidance(self.pipe, cell.guidance_scale, "blurry, text")
        else:
            scale = cell.guidance_scale - 1 + self.none
            guided = {"guidance_scale": scale, "negative_prompt": "blurry, text"}
        images = self.pipe(
            prompt=PROMPT,
            image=photograph(cell.size),
            mask_image=mask(cell.mask, cell.size),
            num_inference_steps=cell.steps,
            **guided,
            strength=cell.strength,
            width=width,
            height=height,
            generator=generator or torch.Generator().manual_seed(SEED),
            output_type="latent" if self.forgets else "pil",
        ).images
        return np.asarray((self.decoded(images) if self.forgets else images)[0])

    @torch.inference_mode()
    def decoded(self, latents: torch.Tensor) -> list[Image.Image]:
        """As diffusers' SD 3 image to image decodes: its inpainting forgets the VAE's shift."""
        vae, processor = self.pipe.vae, self.pipe.image_processor
        sample = vae.decode(latents / vae.config.scaling_factor + vae.config.shift_factor).sample
        pictures: list[Image.Image] = processor.postprocess(sample)
        return pictures


def ours(pipe: Img2Img, cell: Cell) -> Pixels:
    """The same by us, as the run has it: nothing is pasted."""
    result = pipe(
        photograph(cell.size),
        PROMPT,
        mask=mask(cell.mask, cell.size),
        mask_paste=False,
        negative_prompt="blurry, text",
        steps=cell.steps,
        guidance_scale=cell.guidance_scale,
        sampler=cell.sampler,
        strength=cell.strength,
        seed=SEED,
    )
    return np.asarray(result.images[0])


Pair = tuple[Reference, Img2Img]
_OPENED: dict[str, Pair] = {}


@pytest.fixture
def both(family: str, request: pytest.FixtureRequest, inpainting: Callable[[str], Tiny]) -> Pair:
    """diffusers and us on the tiny checkpoint of `family`; each is opened once."""
    if family not in _OPENED:
        if family in INPAINTING:
            tiny = inpainting(INPAINTING[family])
        else:
            tiny = Tiny(
                request.getfixturevalue(family), request.getfixturevalue(f"{family}_bundle")
            )
        _OPENED[family] = Reference(tiny.checkpoint), Img2Img.open(tiny.bundle)
    return _OPENED[family]


def called(family: str) -> tuple[str, str]:
    """The family's name, and what of it is compared."""
    if family in INPAINTING:
        return INPAINTING[family], "inpainting checkpoint"
    [name] = (name for name, fixture in FAMILIES.items() if fixture == family)
    return name, "inpainting"


def cells(cover: bool) -> list[object]:
    axes = COVER if cover else GRIDS
    grids = {family: every(one, Cell) for family, one in axes.items()}
    return [
        pytest.param(family, cell, id=f"{family}-{cell}")
        for family, grid in grids.items()
        for cell in (pairwise(grid) if cover else grid)
    ]


@pytest.mark.parametrize(("family", "cell"), cells(cover=True))
def test_a_repainted_part_is_the_one_that_diffusers_makes(
    family: str, cell: Cell, both: Pair
) -> None:
    reference, pipe = both
    assert measured(*called(family), reference(cell), ours(pipe, cell)) <= LIMIT


@pytest.mark.parity
@pytest.mark.parametrize(("family", "cell"), cells(cover=False))
def test_every_repainted_part_of_the_grid_is_the_one_that_diffusers_makes(
    family: str, cell: Cell, both: Pair
) -> None:
    reference, pipe = both
    assert measured(*called(family), reference(cell), ours(pipe, cell)) <= LIMIT


@pytest.mark.parametrize("family", ["tiny_sd1"])
def test_the_comparison_can_fail(family: str, both: Pair) -> None:
    """Another mask, another strength and no mask give visibly other pictures."""
    reference, pipe = both
    cell = Cell("euler", 0.75, 5, 5.0, "half", (64, 64))
    picture = ours(pipe, cell)
    for other in (
        Cell("euler", 0.75, 5, 5.0, "ellipse", (64, 64)),
        Cell("euler", 1.0, 5, 5.0, "half", (64, 64)),
        Cell("euler", 0.75, 5, 5.0, "all", (64, 64)),
    ):
        assert difference(reference(other), picture) > 5 * LIMIT, str(other)
