"""A little of another seed's noise: the same picture, varied.

AUTOMATIC1111's web UI, "variation seed" and "variation strength": the two noises are turned towards
each other by spherical interpolation, whose lengths and angle are taken along the rows of each
channel's column, as it takes them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

_PARALLEL: Final = 0.9995


def slerp(strength: float, low: Array, high: Array) -> Array:
    """Noise (C,h,w) that is `low` at strength 0 and `high` at 1 (Shoemake 1985).

    Where the two are nearly one, it is interpolated straight.
    """
    unit = low / np.linalg.norm(low, axis=1, keepdims=True)
    other = high / np.linalg.norm(high, axis=1, keepdims=True)
    cosine = (unit * other).sum(axis=1, keepdims=True)
    if cosine.mean() > _PARALLEL:
        return np.asarray(low * (1 - strength) + high * strength, np.float32)
    angle = np.arccos(cosine)
    shares = np.sin((1 - strength) * angle) * low + np.sin(strength * angle) * high
    return np.asarray(shares / np.sin(angle), np.float32)
