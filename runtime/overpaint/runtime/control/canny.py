"""A picture's edges, after Canny 1986, "A Computational Approach to Edge Detection"."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

LOW: Final = 100
HIGH: Final = 200
"""Of the gradient's size, |dx| + |dy| of grey levels by Sobel's operator: OpenCV's convention, and
the thresholds that ControlNets were trained with and that their users know."""

_TAN_22: Final = 0.41421356
_TAN_67: Final = 2.41421356

Array = npt.NDArray[Any]


def canny(image: Image.Image, low: float = LOW, high: float = HIGH) -> Image.Image:
    """Edges, white on black (L), one pixel wide: where the grey levels' gradient is a maximum
    across the edge and above `high`, or above `low` and connected to such a place."""
    grey = np.asarray(image.convert("L"), np.int32)
    dx, dy = _sobel(grey)
    size = np.abs(dx) + np.abs(dy)
    ridge = _is_ridge(size, dx, dy)
    edges = _connected(ridge & (size > high), ridge & (size > low))
    return Image.fromarray(np.where(edges, np.uint8(255), np.uint8(0)))


def _sobel(grey: Array) -> tuple[Array, Array]:
    """The gradient to the right and downwards; borders go on outwards."""
    padded = np.pad(grey, 1, mode="edge")
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    columns = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    return rows[:, 2:] - rows[:, :-2], columns[2:] - columns[:-2]


def _is_ridge(size: Array, dx: Array, dy: Array) -> npt.NDArray[np.bool_]:
    """Where the gradient is no smaller than its two neighbours along its own direction, which is
    one of four."""
    around = np.pad(size, 1)
    across, along = np.abs(dx), np.abs(dy)
    flat, steep = along < across * _TAN_22, along > across * _TAN_67
    rising = (dx < 0) != (dy < 0)
    ridge = np.zeros(size.shape, bool)
    for where, (down, right) in (
        (flat, (0, 1)),
        (steep, (1, 0)),
        (~flat & ~steep & ~rising, (1, 1)),
        (~flat & ~steep & rising, (1, -1)),
    ):
        before = _shifted(around, -down, -right, size.shape)
        after = _shifted(around, down, right, size.shape)
        ridge |= where & (size > before) & (size >= after)
    return ridge


def _shifted(around: Array, down: int, right: int, shape: tuple[int, ...]) -> Array:
    return around[1 + down : 1 + down + shape[0], 1 + right : 1 + right + shape[1]]


def _connected(strong: Array, weak: Array) -> Array:
    """`strong`, and whatever of `weak` touches it, through its like: grown a pixel at a time, as
    long as it grows."""
    edges = Image.fromarray(strong)
    reached = strong
    while True:
        grown = np.asarray(edges.convert("L").filter(ImageFilter.MaxFilter(3))) > 0
        following = (grown & weak) | reached
        if np.array_equal(following, reached):
            return reached
        reached, edges = following, Image.fromarray(following)
