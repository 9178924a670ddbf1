"""A picture with the colours of another: in L*a*b*, by mean and deviation or by histogram."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.float32]

_TO_XYZ: Final = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ],
    np.float32,
)
"""sRGB's primaries at D65 (IEC 61966-2-1)."""
_WHITE: Final = _TO_XYZ.sum(axis=1)
_KNEE: Final = np.float32(6 / 29)
_STEPS: Final = 10
"""Levels of a histogram for each unit of L*a*b*."""


def matched(image: Image.Image, like: Image.Image, how: str) -> Image.Image:
    """An RGB `image` with the colours that `like`, RGB, has.

    how: "mean" moves mean and deviation of each of L*, a* and b* to the other's (Reinhard et al.
    2001, "Color Transfer between Images"); "histogram" moves each one's histogram, as
    AUTOMATIC1111's colour correction does, whose brightness then stays the picture's own.
    """
    own, theirs = to_lab(image), to_lab(like)
    if how == "mean":
        for channel in range(3):
            _move(own[..., channel], theirs[..., channel])
        return from_lab(own)
    made = own.copy()
    for channel in (1, 2):
        made[..., channel] = _by_rank(own[..., channel], theirs[..., channel])
    return from_lab(made)


def to_lab(image: Image.Image) -> Array:
    """(H,W,3) float32: L* from 0 to 100, a* and b* about as far either way (CIE 1976)."""
    values = np.asarray(image.convert("RGB"), np.float32) / np.float32(255)
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    xyz = linear.astype(np.float32) @ (_TO_XYZ / _WHITE[:, None]).T
    f = np.where(xyz > _KNEE**3, np.cbrt(xyz), xyz / (3 * _KNEE**2) + np.float32(4 / 29))
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1).astype(np.float32)


def from_lab(lab: Array) -> Image.Image:
    """The RGB picture; colours that sRGB lacks are its nearest."""
    lightness, a, b = np.moveaxis(lab, -1, 0)
    y = (lightness + 16) / 116
    f = np.stack([y + a / 500, y, y - b / 200], axis=-1)
    xyz = np.where(f > _KNEE, f**3, 3 * _KNEE**2 * (f - 4 / 29)) * _WHITE
    linear = np.clip(xyz @ np.linalg.inv(_TO_XYZ).T, 0, 1)
    values = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return Image.fromarray(np.rint(values * 255).astype(np.uint8))


def _move(own: Array, theirs: Array) -> None:
    mean, deviation = own.mean(dtype=np.float64), own.std(dtype=np.float64)
    wanted = theirs.std(dtype=np.float64) / deviation if deviation else 1.0
    own[...] = (own - np.float32(mean)) * np.float32(wanted) + theirs.mean(dtype=np.float64)


def _by_rank(own: Array, theirs: Array) -> Array:
    """Each value where as large a part of the other's values lies at or below it."""
    found, where, count = np.unique(np.rint(own * _STEPS), return_inverse=True, return_counts=True)
    levels, others = np.unique(np.rint(theirs * _STEPS), return_counts=True)
    parts = count.cumsum() / own.size, others.cumsum() / theirs.size
    made = np.interp(parts[0], parts[1], levels) / _STEPS
    # Between two levels a value stays where it was.
    shift = (made - found / _STEPS).astype(np.float32)
    return np.asarray(own + shift[where].reshape(own.shape), np.float32)
