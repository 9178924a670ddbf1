"""The same pictures as diffusers' ControlNet pipelines make, for the same maps and seed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from tests.conftest import FAMILIES, Tiny
from tests.parity import LIMIT, PROMPT, SCHEDULERS, SEED, Pixels, difference, photograph
from tests.runtime.test_masks_parity import mask

from overpaint.runtime import Control, Img2Img

# diffusers on NumPy 2: nothing of ours.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SIZE = (64, 64)
NAMES = ("canny", "second")


@dataclass(frozen=True, slots=True)
class Cell:
    """One way to ask. `controls`: scale, start and end of each network."""

    task: str = "image"
    sampler: str = "default"
    strength: float = 0.8
    guidance_scale: float = 5.0
    guess_mode: bool = False
    controls: tuple[tuple[float, float, float], ...] = ((1.0, 0.0, 1.0),)

    def __str__(self) -> str:
        shown = "+".join(f"{scale:g}@{start:g}-{end:g}" for scale, start, end in self.controls)
        guess = "-guess" if self.guess_mode else ""
        how = f"{self.sampler}-{self.strength:g}-g{self.guidance_scale:g}"
        return f"{self.task}-{how}-{shown}{guess}"


TWO = ((0.7, 0.0, 0.6), (0.9, 0.3, 1.0))
CELLS = [
    Cell(),
    Cell(sampler="euler", controls=((0.6, 0.2, 0.7),)),
    Cell(sampler="heun", strength=0.6, controls=((0.8, 0.1, 0.6),)),
    Cell(sampler="lcm", strength=1.0, guidance_scale=1.0),
    Cell(sampler="dpmpp-2m", controls=TWO),
    Cell(sampler="euler", guess_mode=True),
    Cell(sampler="euler", guess_mode=True, guidance_scale=1.0, controls=((0.7, 0.0, 1.0),)),
    Cell(task="mask", sampler="euler", controls=((0.8, 0.0, 0.8),)),
    Cell(task="mask", sampler="heun", strength=1.0, controls=TWO),
    Cell(task="text", sampler="euler", controls=((0.8, 0.25, 1.0),)),
    Cell(task="text", controls=TWO),
]
FEW = [CELLS[0], CELLS[4], CELLS[5], CELLS[7], CELLS[9]]
EVERY = [*(("sd1", cell) for cell in CELLS), *(("sdxl", cell) for cell in FEW)]
EVERY += [
    pytest.param("sd2", cell, marks=pytest.mark.parity)
    for cell in FEW
    if cell.sampler in ("default", "euler")
]
TASKS = {"image": "Img2Img", "mask": "Inpaint", "text": ""}


@functools.cache
def shown(name: str) -> Image.Image:
    """A map of another size than the picture's."""
    return photograph((72, 80)).rotate(90 if name == "canny" else 180)


class Reference:
    """diffusers' own pipelines with control networks on a checkpoint, in float32."""

    def __init__(self, checkpoint: Path, networks: list[Path]) -> None:
        self.own = diffusers.DiffusionPipeline.from_pretrained(checkpoint)
        self.networks = [diffusers.ControlNetModel.from_pretrained(path) for path in networks]
        self.kind = "StableDiffusionXL" if hasattr(self.own, "tokenizer_2") else "StableDiffusion"

    def __call__(self, cell: Cell) -> Pixels:
        n = len(cell.controls)
        made = getattr(diffusers, f"{self.kind}ControlNet{TASKS[cell.task]}Pipeline")
        beside = {} if self.kind.endswith("XL") else {"requires_safety_checker": False}
        networks = self.networks[0] if n == 1 else self.networks[:n]
        pipe = made(**self.own.components, controlnet=networks, **beside)
        pipe.set_progress_bar_config(disable=True)
        pipe.scheduler = SCHEDULERS[cell.sampler](self.own.scheduler.config) or self.own.scheduler
        maps = [shown(name) for name in NAMES[:n]]
        scales, starts, ends = (list(one) for one in zip(*cell.controls, strict=True))
        given: dict[str, Any] = {"control_image": maps[0] if n == 1 else maps}
        if cell.task == "text":
            given = {"image": given["control_image"]}
        else:
            given |= {"image": photograph(SIZE), "strength": cell.strength}
        if cell.task == "mask":
            given["mask_image"] = mask("ellipse", SIZE)
        images = pipe(
            PROMPT,
            negative_prompt="blurry",
            num_inference_steps=5,
            guidance_scale=cell.guidance_scale,
            width=SIZE[0],
            height=SIZE[1],
            controlnet_conditioning_scale=scales[0] if n == 1 else scales,
            control_guidance_start=starts,
            control_guidance_end=ends,
            guess_mode=cell.guess_mode,
            generator=torch.Generator().manual_seed(SEED),
            **given,
        ).images
        return np.asarray(images[0])


def ours(pipe: Img2Img, cell: Cell) -> Pixels:
    """The same by us, as the run has it: nothing is pasted."""
    control = {
        name: Control(shown(name), scale, start, end)
        for name, (scale, start, end) in zip(NAMES, cell.controls, strict=False)
    }
    given: dict[str, Any] = {"size": SIZE} if cell.task == "text" else {"strength": cell.strength}
    if cell.task == "mask":
        given["mask_paste"] = False
    result = pipe(
        None if cell.task == "text" else photograph(SIZE),
        PROMPT,
        mask=mask("ellipse", SIZE) if cell.task == "mask" else None,
        control=control,
        negative_prompt="blurry",
        steps=5,
        guidance_scale=cell.guidance_scale,
        sampler=cell.sampler,
        guess_mode=cell.guess_mode,
        seed=SEED,
        **given,
    )
    return np.asarray(result.images[0])


@pytest.fixture(scope="module")
def pairs(
    request: pytest.FixtureRequest, controlnet: Callable[..., Tiny]
) -> Callable[[str], tuple[Reference, Img2Img]]:
    """diffusers' pipelines and ours, of a family, with two networks."""

    @functools.cache
    def make(family: str) -> tuple[Reference, Img2Img]:
        networks = [controlnet(family, name, seed=at) for at, name in enumerate(NAMES, 1)]
        checkpoint = request.getfixturevalue("checkpoints")[family]
        bundle = request.getfixturevalue(f"{FAMILIES[family]}_bundle")
        pipe = Img2Img.open(bundle, control=[one.bundle for one in networks], device="cpu")
        request.addfinalizer(pipe.close)
        return Reference(checkpoint, [one.checkpoint for one in networks]), pipe

    return make


Pairs = Callable[[str], tuple[Reference, Img2Img]]


@pytest.mark.parametrize(("family", "cell"), EVERY, ids=str)
def test_a_controlled_picture_is_the_one_that_diffusers_makes(
    family: str, cell: Cell, pairs: Pairs
) -> None:
    reference, pipe = pairs(family)
    assert difference(reference(cell), ours(pipe, cell)) <= LIMIT


def test_the_comparison_can_fail(pairs: Pairs) -> None:
    """A little less of the network, or a little later, is seen."""
    reference, pipe = pairs("sd1")
    wanted = reference(Cell())
    for control in ((0.9, 0.0, 1.0), (1.0, 0.3, 1.0)):
        assert difference(wanted, ours(pipe, replace(Cell(), controls=(control,)))) > LIMIT
