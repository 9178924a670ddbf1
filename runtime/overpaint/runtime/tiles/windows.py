"""Overlapping windows over a grid of cells, and weights that blend what is computed in each.

for window, weight in zip(windows, blend(windows, (h, w)), strict=True):
    whole[window.of()] += weight * computed(x[window.of()])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Window:
    """Rows and columns of cells from `top` and `left` on."""

    top: int
    left: int
    height: int
    width: int

    def of(self, scale: int = 1) -> tuple[EllipsisType, slice, slice]:
        """The index of it in an array (..., h, w) with `scale` places a side for each cell."""
        return (
            Ellipsis,
            slice(self.top * scale, (self.top + self.height) * scale),
            slice(self.left * scale, (self.left + self.width) * scale),
        )


def cover(size: tuple[int, int], tile: tuple[int, int], overlap: int) -> tuple[Window, ...]:
    """Windows of `tile` (rows, columns) that cover `size`, evenly spread, each reaching at least
    `overlap` cells into the next. A side that is shorter than the tile's is one window's."""
    rows, columns = (_starts(*one, overlap) for one in zip(size, tile, strict=True))
    height, width = min(size[0], tile[0]), min(size[1], tile[1])
    return tuple(Window(top, left, height, width) for top in rows for left in columns)


def blend(
    windows: Sequence[Window], size: tuple[int, int], *, quiet: int = 0, scale: int = 1
) -> list[Array]:
    """A weight (h,w) for each of the windows that cover `size`; at each cell they add up to 1.

    They rise linearly over what neighbours share, but for the outermost `quiet` cells, which see
    the least around them and count for nothing. `scale`: places a side for each cell.
    """
    tops = _profiles([(one.top, one.height) for one in windows], size[0], quiet, scale)
    lefts = _profiles([(one.left, one.width) for one in windows], size[1], quiet, scale)
    return [np.outer(tops[one.top], lefts[one.left]) for one in windows]


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    if length <= tile:
        return [0]
    count = -(-(length - overlap) // (tile - overlap))
    return [round(at * (length - tile) / (count - 1)) for at in range(count)]


def _profiles(
    spans: Sequence[tuple[int, int]], length: int, quiet: int, scale: int
) -> dict[int, Array]:
    """By where a window starts, its weights along one axis."""
    along = sorted(set(spans))
    found: dict[int, npt.NDArray[np.float64]] = {}
    total = np.zeros(length * scale)
    for at, (start, size) in enumerate(along):
        place = (np.arange(size * scale) + 0.5) / scale
        weight = np.ones(size * scale)
        if at:
            shared = sum(along[at - 1]) - start
            weight = np.minimum(weight, (place - quiet) / max(shared - 2 * quiet, 1))
        if at + 1 < len(along):
            shared = start + size - along[at + 1][0]
            weight = np.minimum(weight, (size - place - quiet) / max(shared - 2 * quiet, 1))
        found[start] = np.clip(weight, 0, 1)
        total[start * scale : (start + size) * scale] += found[start]
    return {
        start: (found[start] / total[start * scale : (start + size) * scale]).astype(np.float32)
        for start, size in along
    }
