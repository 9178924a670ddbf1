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
from typing import Any, TypeAlias, TypeVar

import diffusers
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from overpaint.runtime import Img2Img

Pixels = npt.NDArray[np.uint8]
C = TypeVar("C", bound=Any)

PROMPT = "a lighthouse in a storm, oil on canvas"
SEED = 20
LIMIT = 1  # of 255

# What diffusers runs for each sampler, from the checkpoint's own scheduler config.
SCHEDULERS: dict[str, Callable[[Any], Any]] = {
    "default": lambda config: None,
    "pndm": lambda config: diffusers.PNDMScheduler.from_config(config, skip_prk_steps=True),
    "ddim": lambda config: diffusers.DDIMScheduler.from_config(config, clip_sample=False),
    "euler": diffusers.EulerDiscreteScheduler.from_config,
    "dpmpp-2m": lambda config: diffusers.DPMSolverMultistepScheduler.from_config(
        config, **_flow(config)
    ),
    "dpmpp-3m": lambda config: diffusers.DPMSolverMultistepScheduler.from_config(
        config, solver_order=3
    ),
    "euler-a": diffusers.EulerAncestralDiscreteScheduler.from_config,
    "heun": diffusers.HeunDiscreteScheduler.from_config,
    "ddpm": lambda config: diffusers.DDPMScheduler.from_config(config, clip_sample=False),
    "dpmpp-2m-sde": lambda config: diffusers.DPMSolverMultistepScheduler.from_config(
        config, algorithm_type="sde-dpmsolver++", **_flow(config)
    ),
    "unipc": lambda config: diffusers.UniPCMultistepScheduler.from_config(config, **_flow(config)),
    "lcm": lambda config: diffusers.LCMScheduler.from_config(config, clip_sample=False),
    "flow-euler": diffusers.FlowMatchEulerDiscreteScheduler.from_config,
    "tcd": diffusers.TCDScheduler.from_config,
}


def _flow(config: Any) -> dict[str, Any]:
    """What makes a solver run a flow-matching checkpoint in diffusers."""
    if "shift" not in config:
        return {}
    flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    return {**flow, "flow_shift": config["shift"]}


@dataclass(frozen=True, slots=True)
class Cell:
    """One way to ask for a picture. `strength` None is text to image. `size`: the input's own."""

    sampler: str
    strength: float | None
    steps: int
    guidance_scale: float
    size: tuple[int, int]
    negative_prompt: str | None = "blurry, text"
    true_cfg_scale: float | None = None
    prompt: str = PROMPT

    def __str__(self) -> str:
        strength = "text" if self.strength is None else f"{self.strength:g}"
        negative = {None: "-absent", "": "-empty"}.get(self.negative_prompt, "")
        return (
            f"{self.sampler}-{strength}-{self.steps}steps-g{self.guidance_scale:g}"
            f"-{self.size[0]}x{self.size[1]}{negative}"
            f"{'' if self.true_cfg_scale is None else f'-cfg{self.true_cfg_scale:g}'}"
            f"{'' if self.prompt == PROMPT else f'-{len(self.prompt)}letters'}"
        )


Axes: TypeAlias = dict[str, Sequence[Any]]

# square, portrait, and one whose latents (9x13) no level of a denoiser halves evenly
SIZES = ((64, 64), (64, 96), (77, 109))
SAMPLERS = ("default", "pndm", "ddim", "euler", "dpmpp-2m")
NEGATIVES = ("blurry, text", "", None)

SD1: Axes = {
    "sampler": SAMPLERS,
    "strength": (0.0, 0.02, 0.3, 0.58, 0.75, 1.0, None),
    "steps": (1, 4, 20, 50),
    "guidance_scale": (1.0, 7.5),
    "size": SIZES,
}
EVERY_SAMPLER: Axes = {
    "sampler": tuple(name for name in SCHEDULERS if name != "flow-euler"),
    "strength": (0.3, 0.58, 1.0, None),
    "steps": (4, 20),
    "guidance_scale": (1.0, 7.5),
    "size": SIZES,
}
OTHERS: Axes = {
    "sampler": SAMPLERS,
    "strength": (0.0, 0.3, 0.58, 1.0, None),
    "steps": (1, 4, 20),
    "guidance_scale": (1.0, 5.0),
    "size": SIZES,
    "negative_prompt": NEGATIVES,
}
GRIDS: dict[str, Axes] = {
    "sd1": SD1,
    "sd1, every sampler": EVERY_SAMPLER,
    "sd2": OTHERS,
    "sdxl": OTHERS,
    "sdxl-refiner": {**OTHERS, "strength": (0.0, 0.3, 0.58, 1.0)},
    "sd3": {
        **OTHERS,
        "sampler": ("default", "flow-euler"),
        "strength": (0, 0.02, 0.3, 0.58, 1, None),
    },
    # Text to image alone: diffusers' SD 3 image to image noises with a method that only its own
    # scheduler has. And no SDE: its SD 3 pipelines do not hand the generator to the scheduler.
    "sd3, solvers": {
        "sampler": ("dpmpp-2m", "unipc"),
        "strength": (None,),
        "steps": (4, 20),
        "guidance_scale": (1.0, 5.0),
        "size": SIZES,
    },
}


FLUX: Axes = {
    "sampler": ("default",),
    "strength": (0.3, 0.58, 1, None),
    "steps": (1, 4),
    "size": SIZES,
    "negative_prompt": ("blurry, text", None),
    "prompt": (PROMPT, "a long way down " * 30),
}
GRIDS |= {
    "flux1": {**FLUX, "guidance_scale": (1.0, 3.5), "true_cfg_scale": (None, 4.0)},
    "flux1-schnell": {**FLUX, "strength": (0.58, None), "guidance_scale": (1.0, 4.0)},
}
GRIDS["z-image"] = {
    **FLUX,
    "strength": (0.3, 0.58, 1, None),
    "steps": (1, 8),
    "guidance_scale": (1.0, 4.0),
}
GRIDS["flux2-klein"] = {**FLUX, "guidance_scale": (1.0, 4.0)}


def grid(axes: Axes, cell: Callable[..., C] = Cell) -> list[C]:
    """Every cell."""
    combinations = itertools.product(*axes.values())
    return [cell(**dict(zip(axes, values, strict=True))) for values in combinations]


def pairwise(cells: Sequence[C]) -> list[C]:
    """A small part of `cells` in which every pair of values that any cell has occurs.

    Greedy: whichever cell brings most new pairs comes next, the cheaper one where two bring as
    many. Deterministic, so that the suite is the same everywhere.
    """

    def pairs(cell: C) -> set[Any]:
        values = [(field.name, getattr(cell, field.name)) for field in fields(cell)]
        return set(itertools.combinations(values, 2))

    def cost(cell: C) -> float:
        return cell.steps * (1.0 if cell.strength is None else cell.strength)

    left = {cell: pairs(cell) for cell in sorted(cells, key=lambda cell: (cost(cell), str(cell)))}
    missing = set().union(*left.values())
    chosen: list[C] = []
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
        own = diffusers.DiffusionPipeline.from_pretrained(checkpoint, torch_dtype=torch.float32)
        self.scheduler = own.scheduler
        self.klein = isinstance(own, diffusers.Flux2KleinPipeline)
        """FLUX.2 klein has strength where a part is repainted. Here that is all of the picture."""
        if self.klein:
            self.image = klein_inpainting(own)
        else:
            self.image = diffusers.AutoPipelineForImage2Image.from_pipe(own)
        # SDXL's refiner knows image to image alone.
        self.text = None if own is self.image or "Img2Img" in type(own).__name__ else own
        for pipe in (self.image, self.text):
            if pipe is not None:
                pipe.set_progress_bar_config(disable=True)
        self.flow = hasattr(self.image, "transformer")
        self.multiple = 16 if self.flow else 8
        config = self.image.transformer.config if self.flow else {}
        self.told = config.get("guidance_embeds")
        """Whether the denoiser is told the guidance scale; None in a family where none is."""
        self.none = 0.0 if isinstance(self.image, diffusers.ZImageImg2ImgPipeline) else 1.0
        """The guidance scale that diffusers calls none, where ours is 1."""

    def __call__(self, cell: Cell) -> Pixels:
        if cell.strength is not None and not self._runs(cell.steps, cell.strength):
            return self.round_trip(cell)
        width, height = self.floored(cell.size)
        pipe, options = self.text, {"width": width, "height": height}
        if cell.strength is not None:
            pipe = self.image
            # SD 3's pipeline would resize to 1024x1024 of its own accord; the others take no size.
            options = {**(options if self.flow else {}), "image": photograph(cell.size)}
            options["strength"] = cell.strength
            if self.klein:
                options["mask_image"] = Image.new("L", cell.size, 255)
        pipe.scheduler = SCHEDULERS[cell.sampler](self.scheduler.config) or self.scheduler
        images = pipe(
            prompt=cell.prompt,
            num_inference_steps=cell.steps,
            **self._guidance(cell),
            generator=torch.Generator().manual_seed(SEED),
            **options,
        ).images
        return np.asarray(images[0])

    def _guidance(self, cell: Cell) -> dict[str, Any]:
        """How diffusers is asked for a cell's guidance."""
        if self.klein:
            return klein_guidance(self.image, cell.guidance_scale, cell.negative_prompt)
        if self.told is None:
            return {
                "guidance_scale": cell.guidance_scale - 1 + self.none,
                "negative_prompt": cell.negative_prompt,
            }
        negative = {"negative_prompt": cell.negative_prompt or ""}  # ours, where it is absent
        if not self.told:
            scale = {"true_cfg_scale": cell.guidance_scale, "max_sequence_length": 256}
        else:
            besides = cell.true_cfg_scale or 1.0
            scale = {"guidance_scale": cell.guidance_scale, "true_cfg_scale": besides}
        return {**negative, **scale}

    def _runs(self, steps: int, strength: float) -> bool:
        """Whether diffusers has a step to run: where it has none, it raises."""
        if self.flow:
            return int(steps - min(steps * strength, steps)) < steps
        return int(steps * strength) >= 1

    @torch.inference_mode()
    def round_trip(self, cell: Cell) -> Pixels:
        """Through the VAE and back: what zero denoising steps mean."""
        vae, processor = self.image.vae, self.image.image_processor
        width, height = self.floored(cell.size)
        pixels = processor.preprocess(photograph(cell.size), height=height, width=width)
        posterior = vae.encode(pixels).latent_dist
        z = posterior.sample(torch.Generator().manual_seed(SEED))
        return np.asarray(processor.postprocess(vae.decode(z).sample)[0])

    def floored(self, size: tuple[int, int]) -> tuple[int, int]:
        """Sides as text to image takes them."""
        return size[0] // self.multiple * self.multiple, size[1] // self.multiple * self.multiple


KLEIN_STATES = (1, 2, 3)
"""Those that FLUX.2 klein takes of a Qwen3 of four layers."""


def klein_inpainting(own: Any) -> Any:
    """FLUX.2 klein's inpainting, guided where it is asked to be, which diffusers does not do for a
    distilled checkpoint. Both pipelines then are."""
    pipe = diffusers.Flux2KleinInpaintPipeline.from_pipe(own)
    for one in (own, pipe):
        one.register_to_config(is_distilled=False)
    return pipe


def klein_guidance(pipe: Any, scale: float, negative: str | None) -> dict[str, Any]:
    """Its pipelines know the empty negative prompt alone; another one is encoded before."""
    states = {"text_encoder_out_layers": KLEIN_STATES}
    embeds, _ = pipe.encode_prompt(negative or "", **states)
    return {"guidance_scale": scale, "negative_prompt_embeds": embeds, **states}


def ours(pipe: Img2Img, cell: Cell) -> Pixels:
    """The same picture by us."""
    options: dict[str, Any] = {
        "negative_prompt": cell.negative_prompt,
        "steps": cell.steps,
        "guidance_scale": cell.guidance_scale,
        "true_cfg_scale": cell.true_cfg_scale,
        "sampler": cell.sampler,
        "seed": SEED,
    }
    if cell.strength is None:
        multiple = pipe.bundle.manifest.latents.multiple
        width, height = (side // multiple * multiple for side in cell.size)
        result = pipe.text_to_image(cell.prompt, size=(width, height), **options)
    else:
        result = pipe(photograph(cell.size), cell.prompt, strength=cell.strength, **options)
    return np.asarray(result.images[0])


MEASURED: dict[tuple[str, str], list[int]] = {}
"""Differences of this run by family and pipeline, which it ends with (`tests/conftest.py`)."""


def measured(family: str, pipeline: str, reference: Pixels, other: Pixels) -> int:
    """`difference`, which is remembered."""
    found = difference(reference, other)
    MEASURED.setdefault((family, pipeline), []).append(found)
    return found


def difference(reference: Pixels, other: Pixels) -> int:
    """The largest difference of a channel of a pixel, in 255ths."""
    assert reference.shape == other.shape
    return int(np.abs(reference.astype(int) - other.astype(int)).max())
