"""Classifier-free guidance: two predictions become one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


def guide(unconditional: Array, conditional: Array, scale: float, out: Array) -> None:
    """u + g·(c − u), written to `out`, which must not be `unconditional`. Shapes (B, C, H, W).

    Computed in the dtype of `out`: float32, though the predictions may be in half precision.

    Ho & Salimans 2022, "Classifier-Free Diffusion Guidance"; g as in Imagen: 1 is no guidance.
    """
    np.subtract(conditional, unconditional, out=out, dtype=out.dtype)
    np.multiply(out, scale, out=out)
    np.add(out, unconditional, out=out)


def rescale(guided: Array, conditional: Array, amount: float) -> None:
    """Pull the deviation of `guided` towards that of `conditional`, in place, image by image.

    `amount` (guidance_rescale) is 0 to 1. Lin et al. 2023, "Common Diffusion Noise Schedules and
    Sample Steps are Flawed", eq. 15 and 16.
    """
    rest = tuple(range(1, guided.ndim))
    aim = conditional.std(axis=rest, ddof=1, keepdims=True, dtype=guided.dtype)
    factor = amount * aim / guided.std(axis=rest, ddof=1, keepdims=True) + (1 - amount)
    np.multiply(guided, factor.astype(guided.dtype), out=guided)
