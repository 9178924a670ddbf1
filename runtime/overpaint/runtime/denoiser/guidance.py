"""Classifier-free guidance: two predictions become one."""

from __future__ import annotations

import numpy as np

from overpaint.runtime.schedule import Row

from . import Array, Branches, Denoiser


def guided(predict: Branches, scale: float, *, rescaled: float = 0.0) -> Denoiser:
    """`predict`'s two branches, negative and positive, as one prediction of float32; where it gives
    the positive one alone, that.

    scale: `guidance_scale`, above 1. rescaled: `guidance_rescale`, 0 to 1.
    """
    out: Array = np.empty(0, np.float32)

    def denoiser(x: Array, row: Row) -> Array:
        nonlocal out
        if out.shape != x.shape:
            out = np.empty_like(x)
        branches = predict(x, row)
        if len(branches) == 1:
            return np.asarray(branches[0])
        negative, positive = branches
        guide(negative, positive, scale, out)
        if rescaled:
            rescale(out, positive, rescaled)
        return out

    return denoiser


def unguided(predict: Branches) -> Denoiser:
    """`predict`'s only branch."""
    return lambda x, row: predict(x, row)[0]


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
