"""The parity grid: one picture made twice, by diffusers with torch and by us without.

A grid is data: the axes below. The suite runs a pairwise cover of it (every pair of values of two
axes stands in some cell), `make parity` all of it. Another sampler or family is another value.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import diffusers
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from overpaint.runtime import Img2Img

Pixels = npt.NDArray[np.uint8]

PROMPT, NEGATIVE = "a lighthouse in a storm, oil on canvas", "blurry, text"
SEED = 20
LIMIT = 1  # of 255

# What diffusers runs for each sampler, from the checkpoint's own scheduler config.
SCHEDULERS: dict[str, Callable[[Any], Any]] = {
    "default": lambda config: None,
    "pndm": lambda config: diffusers.PNDMScheduler.from_config(config, skip_prk_steps=True),
    "ddim": lambda config: diffusers.DDIMScheduler.from_config(config, clip_sample=False),
    "euler": diffusers.EulerDiscreteScheduler.from_config,
    "dpmpp-2m": diffusers.DPMSolverMultistepScheduler.from_config,
    "euler-a": diffusers.EulerAncestralDiscreteScheduler.from_config,
    "heun": diffusers.HeunDiscreteScheduler.from_config,
    "ddpm": lambda config: diffusers.DDPMScheduler.from_config(config, clip_sample=False),
    "dpmpp-2m-sde": lambda config: diffusers.DPMSolverMultistepScheduler.from_config(
        config, algorithm_type="sde-dpmsolver++"
    ),
    "unipc": diffusers.UniPCMultistepScheduler.from_config,
    "lcm": lambda config: diffusers.LCMScheduler.from_config(config, clip_sample=False),
    "tcd": diffusers.TCDScheduler.from_config,
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One way to ask for a picture. `strength` None is text to image. `size`: the input's own."""

    sampler: str
    strength: float | None
    steps: int
    guidance_scale: float
    size: tuple[int, int]

    def __str__(self) -> str:
        strength = "text" if self.strength is None else f"{self.strength:g}"
        width, height = self.size
        return (
            f"{self.sampler}-{strength}-{self.steps}steps-g{self.guidance_scale:g}-{width}x{height}"
        )

    @property
    def runs(self) -> bool:
        """Whether diffusers has a step to run: where it has none, it raises."""
        return self.strength is None or int(self.steps * self.strength) >= 1


Axes: TypeAlias = dict[str, Sequence[Any]]

GRID: Axes = {
    "sampler": ("default", "pndm", "ddim", "euler", "dpmpp-2m"),
    "strength": (0.0, 0.02, 0.3, 0.58, 0.75, 1.0, None),
    "steps": (1, 4, 20, 50),
    "guidance_scale": (1.0, 7.5),
    # square, portrait, and one whose latents (9x13) no level of the denoiser halves evenly
    "size": ((64, 64), (64, 96), (77, 109)),
}
EVERY_SAMPLER: Axes = {
    **GRID,
    "sampler": tuple(SCHEDULERS),
    "strength": (0.3, 0.58, 1.0, None),
    "steps": (4, 20),
}


def grid(axes: Axes) -> list[Cell]:
    """Every cell."""
    combinations = itertools.product(*axes.values())
    return [Cell(**dict(zip(axes, values, strict=True))) for values in combinations]


def pairwise(cells: Sequence[Cell]) -> list[Cell]:
    """A small part of `cells` in which every pair of values that any cell has occurs.

    Greedy: whichever cell brings most new pairs comes next, the cheaper one where two bring as
    many. Deterministic, so that the suite is the same everywhere.
    """

    def pairs(cell: Cell) -> set[Any]:
        values = [(field.name, getattr(cell, field.name)) for field in fields(cell)]
        return set(itertools.combinations(values, 2))

    def cost(cell: Cell) -> float:
        return cell.steps * (1.0 if cell.strength is None else cell.strength)

    left = {cell: pairs(cell) for cell in sorted(cells, key=lambda cell: (cost(cell), str(cell)))}
    missing = set().union(*left.values())
    chosen: list[Cell] = []
    while missing:
        best = max(left, key=lambda cell: len(left[cell] & missing))
        missing -= left.pop(best)
        chosen.append(best)
    return chosen


@functools.cache
def photograph(size: tuple[int, int]) -> Image.Image:
    """Something like a photograph: smooth, with edges and grain."""
    generator = np.random.default_rng(size[0])
    coarse = generator.integers(0, 256, (6, 5, 3), np.uint8)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    image.paste((20, 60, 90), (size[0] // 3, size[1] // 4, size[0] // 2, size[1] - 5))
    grain = generator.normal(0, 6, (size[1], size[0], 3))
    return Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))


class Reference:
    """diffusers' own pipelines on a checkpoint, in float32, with torch's generator."""

    def __init__(self, checkpoint: Path) -> None:
        self.text = diffusers.AutoPipelineForText2Image.from_pretrained(
            checkpoint, dtype=torch.float32
        )
        self.text.set_progress_bar_config(disable=True)
        self.image = diffusers.AutoPipelineForImage2Image.from_pipe(self.text)
        self.image.set_progress_bar_config(disable=True)
        self.own = self.text.scheduler

    def __call__(self, cell: Cell) -> Pixels:
        if not cell.runs:
            return self.round_trip(cell)
        pipe = self.text if cell.strength is None else self.image
        pipe.scheduler = SCHEDULERS[cell.sampler](self.own.config) or self.own
        options: dict[str, Any] = (
            {"width": even(cell.size)[0], "height": even(cell.size)[1]}
            if cell.strength is None
            else {"image": photograph(cell.size), "strength": cell.strength}
        )
        images = pipe(
            PROMPT,
            negative_prompt=NEGATIVE,
            num_inference_steps=cell.steps,
            guidance_scale=cell.guidance_scale,
            generator=torch.Generator().manual_seed(SEED),
            **options,
        ).images
        return np.asarray(images[0])

    @torch.inference_mode()
    def round_trip(self, cell: Cell) -> Pixels:
        """Through the VAE and back: what zero denoising steps mean."""
        vae, processor = self.image.vae, self.image.image_processor
        posterior = vae.encode(processor.preprocess(photograph(cell.size))).latent_dist
        z = posterior.sample(torch.Generator().manual_seed(SEED))
        return np.asarray(processor.postprocess(vae.decode(z).sample)[0])


def ours(pipe: Img2Img, cell: Cell) -> Pixels:
    """The same picture by us."""
    options: dict[str, Any] = {
        "negative_prompt": NEGATIVE,
        "steps": cell.steps,
        "guidance_scale": cell.guidance_scale,
        "sampler": cell.sampler,
        "seed": SEED,
    }
    if cell.strength is None:
        result = pipe.text_to_image(PROMPT, size=even(cell.size), **options)
    else:
        result = pipe(photograph(cell.size), PROMPT, strength=cell.strength, **options)
    return np.asarray(result.images[0])


def even(size: tuple[int, int]) -> tuple[int, int]:
    """Sides as text to image takes them: multiples of 8."""
    return size[0] // 8 * 8, size[1] // 8 * 8


def difference(reference: Pixels, other: Pixels) -> int:
    """The largest difference of a channel of a pixel, in 255ths."""
    assert reference.shape == other.shape
    return int(np.abs(reference.astype(int) - other.astype(int)).max())
