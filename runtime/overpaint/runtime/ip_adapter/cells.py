"""Where in the picture a reference counts: a mask as each level of a UNet sees it."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.float32]
_A: Final = -0.75  # of the cubic, as torch has it


def mask_cells(mask: Image.Image, size: tuple[int, int], sides: tuple[int, int]) -> Array:
    """A grey mask (L) for a run of `size` (width, height), as weights of a level's cells in rows:
    (height · width,), of `sides` (height, width).

    It is resized to the run's picture, made hard at one half, and brought to the level by a cubic
    (diffusers' IPAdapterMaskProcessor).
    """
    fitted = mask if mask.size == size else mask.resize(size, Image.Resampling.LANCZOS)
    hard = (np.asarray(fitted, np.float32) / np.float32(255) >= 0.5).astype(np.float64)
    height, width = sides
    cells = _cubic(height, size[1]) @ hard @ _cubic(width, size[0]).T
    return cells.astype(np.float32).reshape(-1)


def _cubic(out: int, side: int) -> npt.NDArray[np.float64]:
    """A matrix (out, side) that resamples one axis between the pixels' centres, with four taps
    whatever the scale and the edge repeated (Keys 1981; torch's bicubic without antialias)."""
    at = (np.arange(out) + 0.5) * side / out - 0.5
    first = np.floor(at).astype(int)
    part = at - first
    matrix = np.zeros((out, side))
    for tap in range(-1, 3):
        column = np.clip(first + tap, 0, side - 1)
        np.add.at(matrix, (np.arange(out), column), _weight(np.abs(part - tap)))
    return matrix


def _weight(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    near = ((_A + 2) * distance - (_A + 3)) * distance**2 + 1
    far = _A * (((distance - 5) * distance + 8) * distance - 4)
    return np.where(distance <= 1, near, far)
