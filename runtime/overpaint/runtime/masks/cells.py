"""From a mask's pixels to latent cells: how much each may change."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Cells = npt.NDArray[np.float32]
"""(1,1,h,w), from 0 (kept) to 1 (repainted)."""


def hidden(mask: Image.Image, *, least: int) -> npt.NDArray[np.bool_]:
    """(H,W): the pixels of `mask` (L) that count as repainted, from the grey `least` on."""
    return np.asarray(mask) >= least


def hard_cells(pixels: npt.NDArray[np.bool_], cell: int, which: str) -> Cells:
    """Each cell of `cell` pixels a side as one of its `pixels` (H,W) has it.

    nearest: its first, as diffusers' nearest interpolation does, so that thin strokes may fall
    between the cells; middle: the mean of its middle four, as bilinear interpolation does, so that
    a cell at the edge may be repainted in part; any: whichever is repainted.
    """
    if which == "nearest":
        return _as_cells(pixels[::cell, ::cell])
    if which == "middle":
        middle = slice(cell // 2 - 1, cell // 2 + 1)
        return _as_cells(_blocks(pixels, cell)[:, middle, :, middle].mean(axis=(1, 3)))
    return _as_cells(_blocks(pixels, cell).max(axis=(1, 3)))


def soft_cells(mask: Image.Image, cell: int) -> Cells:
    """The mean of each cell of `mask` (L)."""
    grey = np.asarray(mask, np.float32) / np.float32(255)
    return _as_cells(_blocks(grey, cell).mean(axis=(1, 3)))


def _blocks(pixels: npt.NDArray[Any], cell: int) -> npt.NDArray[Any]:
    height, width = pixels.shape
    return pixels.reshape(height // cell, cell, width // cell, cell)


def _as_cells(values: npt.NDArray[Any]) -> Cells:
    return np.ascontiguousarray(values, np.float32)[None, None]
