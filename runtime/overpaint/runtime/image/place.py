"""Where a picture lies on the canvas that is repainted: the way there, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from PIL import Image

Box: TypeAlias = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels; the last two lie outside."""

Size: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """`box` of the picture fills `inner` of a canvas of `size` (width, height)."""

    size: Size
    box: Box
    inner: Box

    def canvas(self, image: Image.Image) -> Image.Image:
        """The canvas with `image` on it, resized with Lanczos; its borders go on outwards."""
        left, top, right, bottom = self.inner
        inside = image.resize((right - left, bottom - top), Image.Resampling.LANCZOS, self.box)
        if inside.size == self.size:
            return inside
        margins = [(top, self.size[1] - bottom), (left, self.size[0] - right)]
        planes = np.asarray(inside)
        return Image.fromarray(np.pad(planes, [*margins, (0, 0)][: planes.ndim], mode="edge"))

    def back(self, canvas: Image.Image) -> Image.Image:
        """What `canvas` shows of the picture's `box`, in the box's size."""
        left, top, right, bottom = self.box
        if self.inner == (0, 0, *canvas.size) and canvas.size == (right - left, bottom - top):
            return canvas
        inside = canvas.crop(self.inner)
        return inside.resize((right - left, bottom - top), Image.Resampling.LANCZOS)


def place(picture: Size, size: Size, mode: str = "stretch", box: Box | None = None) -> Placement:
    """How a picture of `picture` (width, height), or `box` of it, comes to a canvas of `size`.

    stretch: both sides as they come (what diffusers does); crop: fill the canvas, cut the overhang
    evenly; pad: show all of it and continue its border pixels outwards.
    """
    left, top, right, bottom = box = box or (0, 0, *picture)
    width, height = right - left, bottom - top
    if mode == "crop":
        shrink = min(width / size[0], height / size[1])
        seen = max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink))
        x, y = left + (width - seen[0]) // 2, top + (height - seen[1]) // 2
        box = (x, y, x + seen[0], y + seen[1])
    inner = (0, 0, *size)
    if mode == "pad":
        grow = min(size[0] / width, size[1] / height)
        shown = max(1, round(width * grow)), max(1, round(height * grow))
        x, y = (size[0] - shown[0]) // 2, (size[1] - shown[1]) // 2
        inner = (x, y, x + shown[0], y + shown[1])
    return Placement(size=size, box=box, inner=inner)
