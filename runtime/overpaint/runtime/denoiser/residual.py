"""Guidance without a second call: away from the picture that a run starts from."""

from __future__ import annotations

import numpy as np

from overpaint.runtime.schedule import Row
from overpaint.runtime.schedule.prediction import x0_from

from . import Array, Denoiser


def residual(predict: Denoiser, z: Array, prediction: str, scale: float) -> Denoiser:
    """`predict`, guided away from `z`, the picture's latents (B,C,h,w), at no cost of its own.

    The negative output is the one that would foresee z itself, so what is foreseen becomes
    z + scale·(x₀ − z). `prediction`: what the outputs mean, a manifest's `prediction`.

    Kodaira et al. 2023, "StreamDiffusion": residual classifier-free guidance, self-negative, δ = 1.
    """
    kind = "flow_prediction" if prediction == "flow" else prediction
    away, step = np.float32(scale), np.float32(1 - scale)

    def denoiser(x: Array, row: Row) -> Array:
        p, q = x0_from(kind, row.alpha, row.sigma)
        negative = (z - np.float32(p) * x) / np.float32(q)
        return np.asarray(away * predict(x, row) + step * negative, np.float32)

    return denoiser
