"""Ink on paper: a style that the painter can paint and the embedded model was not taught.

A picture's edges become pen lines and its darkness a thin wash; its colours are given up. A LoRA
learns it (`pocket.lora`), so that there is one to turn up and down without a network.
"""

import numpy as np
from numpy.typing import NDArray

from pocket.brush import PAPER

INK = np.array((0.10, 0.11, 0.17), np.float32)
WASH = 0.5
"""How much of the wash's darkness is left of the picture's."""
TONES = 5
LINE = 9.0
"""How fast a line darkens with the contrast along it."""


def in_ink(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 as a pen drawing with a wash, of the same shape."""
    colours = picture.astype(np.float32) / 255
    light = colours @ np.array((0.299, 0.587, 0.114), np.float32)
    tones = np.round((1 - light) * TONES) / TONES
    covered = 1 - (1 - WASH * _softened(tones)) * np.exp(-LINE * _contrast(colours))
    drawn = PAPER + (INK - PAPER) * covered[..., None]
    return np.asarray(np.clip(drawn, 0, 1) * 255 + 0.5, np.uint8)


def _contrast(colours: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W): the largest central difference of any channel, less what a wash's grain has."""
    rows, columns = np.gradient(colours, axis=(0, 1))
    steepest = np.hypot(rows, columns).max(axis=2)
    return np.asarray(np.maximum(steepest - 0.03, 0), np.float32)


def _softened(tones: NDArray[np.float32]) -> NDArray[np.float32]:
    """A wash's borders run a little."""
    for axis in (0, 1):
        around = (
            np.concatenate([tones[:1], tones, tones[-1:]])
            if axis == 0
            else np.concatenate([tones[:, :1], tones, tones[:, -1:]], axis=1)
        )
        before, after = (around[:-2], around[2:]) if axis == 0 else (around[:, :-2], around[:, 2:])
        tones = (before + 2 * tones + after) / 4
    return tones
