"""The same picture as diffusers makes of the same reference pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers.image_processor import IPAdapterMaskProcessor
from PIL import Image, ImageDraw
from tests.conftest import Adapters, Tiny
from tests.parity import LIMIT, PROMPT, SEED, Pixels, difference, photograph

from overpaint.runtime import Img2Img

# diffusers on NumPy 2: nothing of ours.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

# diffusers guesses the sides of a level from how many cells it has and the picture's ratio: at this
# one rightly, for all four levels.
SIZE = (128, 64)
STEPS = 4
ONE, OTHER = (90, 64), (64, 77)


@dataclass(frozen=True, slots=True)
class Cell:
    """`pictures`: how many there are. `scale`: one number, or one for each. `masked`: whether each
    has a mask."""

    task: str
    guidance_scale: float
    pictures: int
    scale: float | tuple[float, ...]
    masked: bool = False

    def __str__(self) -> str:
        scale = "-".join(map(str, np.atleast_1d(self.scale)))
        masked = "-masked" if self.masked else ""
        return f"{self.task}-g{self.guidance_scale:g}-{self.pictures}-{scale}{masked}"


CELLS = (
    Cell("image", 1.0, 1, 0.6),
    Cell("image", 7.5, 1, 1.0),
    Cell("image", 5.0, 2, 0.6),
    Cell("image", 5.0, 2, (0.8, 0.3)),
    Cell("image", 5.0, 2, (0.8, 0.3), masked=True),
    Cell("image", 1.0, 1, 0.7, masked=True),
    Cell("text", 1.0, 2, 0.6),
    Cell("text", 5.0, 1, 0.6),
    Cell("inpaint", 5.0, 1, 0.6),
    Cell("inpaint", 1.0, 2, (0.5, 1.0), masked=True),
)


def references(cell: Cell) -> list[Image.Image]:
    return [photograph(ONE), photograph(OTHER)][: cell.pictures]


def masks(cell: Cell) -> list[Image.Image]:
    """The left half, and an ellipse."""
    left, ellipse = Image.new("L", SIZE, 0), Image.new("L", SIZE, 0)
    ImageDraw.Draw(left).rectangle((0, 0, SIZE[0] // 2, SIZE[1]), 255)
    ImageDraw.Draw(ellipse).ellipse((40, 8, 120, 60), 255)
    return [left, ellipse][: cell.pictures] if cell.masked else []


def repainted() -> Image.Image:
    mask = Image.new("L", SIZE, 0)
    ImageDraw.Draw(mask).rectangle((24, 16, 79, 55), 255)
    return mask


class Reference:
    """diffusers' own pipelines with an adapter, in float32."""

    def __init__(self, checkpoint: Path, adapter: Path) -> None:
        self.text = diffusers.DiffusionPipeline.from_pretrained(checkpoint)
        self.adapter = adapter
        self.loaded = 0

    def __call__(self, cell: Cell) -> Pixels:
        # For a scale of each picture and no mask, diffusers wants an adapter for each.
        alone = isinstance(cell.scale, tuple) and not cell.masked
        self._load(cell.pictures if alone else 1)
        pictures = references(cell)
        images = pictures if alone else [pictures]
        scale = list(cell.scale) if isinstance(cell.scale, tuple) else cell.scale
        own = [scale] if cell.masked and isinstance(scale, list) else scale
        self.text.set_ip_adapter_scale(own)
        options: dict[str, Any] = {}
        if cell.masked:
            seen = IPAdapterMaskProcessor().preprocess(masks(cell), height=SIZE[1], width=SIZE[0])
            folded = seen.reshape(1, seen.shape[0], seen.shape[2], seen.shape[3])
            options["cross_attention_kwargs"] = {"ip_adapter_masks": [folded]}
        pipe: Any = self.text
        if cell.task == "image":
            pipe = diffusers.AutoPipelineForImage2Image.from_pipe(self.text)
            options |= {"image": photograph(SIZE), "strength": 0.8}
        elif cell.task == "inpaint":
            pipe = diffusers.AutoPipelineForInpainting.from_pipe(self.text)
            options |= {"image": photograph(SIZE), "mask_image": repainted(), "strength": 0.8}
        if cell.task != "image":
            options |= {"width": SIZE[0], "height": SIZE[1]}
        pipe.set_progress_bar_config(disable=True)
        made = pipe(
            PROMPT,
            num_inference_steps=STEPS,
            guidance_scale=cell.guidance_scale,
            generator=torch.Generator().manual_seed(SEED),
            ip_adapter_image=images,
            **options,
        )
        return np.asarray(made.images[0])

    def _load(self, times: int) -> None:
        if self.loaded != times:
            if self.loaded:
                self.text.unload_ip_adapter()
            names = [self.adapter.name] * times
            self.text.load_ip_adapter(self.adapter.parent, subfolder="", weight_name=names)
            self.loaded = times


def ours(pipe: Img2Img, cell: Cell) -> Pixels:
    options: dict[str, Any] = {
        "steps": STEPS,
        "guidance_scale": cell.guidance_scale,
        "seed": SEED,
        "ip_adapter_image": references(cell),
        "ip_adapter_mask": masks(cell),
        "ip_adapter_scale": cell.scale,
    }
    if cell.task == "text":
        return np.asarray(pipe.text_to_image(PROMPT, size=SIZE, **options).images[0])
    if cell.task == "inpaint":
        options |= {"mask": repainted(), "mask_paste": False}
    return np.asarray(pipe(photograph(SIZE), PROMPT, strength=0.8, **options).images[0])


@pytest.mark.parametrize("kind", ["base", "plus"])
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_the_same_picture_as_diffusers_makes(family: str, kind: str, adapters: Adapters) -> None:
    tiny = adapters(family, kind)
    reference = Reference(tiny.checkpoint, tiny.file)
    with Img2Img.open(tiny.bundle, ip_adapter=tiny.adapter, device="cpu") as pipe:
        found = {str(cell): difference(reference(cell), ours(pipe, cell)) for cell in CELLS}
    assert {cell: off for cell, off in found.items() if off > LIMIT} == {}


def test_an_inpainting_checkpoint_sees_reference_pictures_too(
    inpainting: Callable[[str], Tiny], adapters: Adapters
) -> None:
    tiny, seen = inpainting("sd1"), adapters("sd1", "base")
    cell = Cell("inpaint", 5.0, 2, 0.7)
    theirs = Reference(tiny.checkpoint, seen.file)(cell)
    with Img2Img.open(tiny.bundle, ip_adapter=seen.adapter, device="cpu") as pipe:
        assert difference(theirs, ours(pipe, cell)) <= LIMIT
