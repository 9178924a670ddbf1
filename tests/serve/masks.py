"""Masks for the tests of every face: where something is repainted, and what stayed as it was."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]
LEFT = (0, 0, 32, 64)
"""Left, top, right and bottom of what is repainted of 64x64."""


def as_png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def white(box: tuple[int, int, int, int] = LEFT, size: tuple[int, int] = (64, 64)) -> Image.Image:
    """White in `box`, black around it."""
    mask = Image.new("L", size, 0)
    mask.paste(255, box)
    return mask


def clear(box: tuple[int, int, int, int] = LEFT, size: tuple[int, int] = (64, 64)) -> Image.Image:
    """Transparent in `box`, opaque around it."""
    mask = Image.new("RGBA", size, (9, 9, 9, 255))
    mask.paste((0, 0, 0, 0), box)
    return mask


def repainted(painted: Any, picture: Any) -> npt.NDArray[np.bool_]:
    """(H,W): where two pictures, or their bytes, differ."""
    one, other = (_pixels(source) for source in (painted, picture))
    assert one.shape == other.shape
    return np.asarray((one != other).any(axis=2))


def is_only_in(painted: Any, picture: Any, box: tuple[int, int, int, int] = LEFT) -> bool:
    """Whether most of `box` is another than in `picture`, and nothing outside of it is."""
    changed = repainted(painted, picture)
    inside = np.asarray(white(box, changed.shape[::-1])) > 0
    return bool(changed[inside].mean() > 0.5 and not changed[~inside].any())


def _pixels(source: Any) -> Pixels:
    if isinstance(source, bytes):
        source = Image.open(io.BytesIO(source))
    if isinstance(source, Image.Image):
        source = source.convert("RGB")
    return np.asarray(source)
