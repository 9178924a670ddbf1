"""CFG-Zero*: guidance away from as much of the negative prediction as the positive one holds."""

from __future__ import annotations

import numpy as np

from overpaint.runtime.schedule import Row

from . import Array, Branches, Denoiser


def optimised(predict: Branches) -> Branches:
    """`predict`, its negative branch u scaled by s = ⟨c, u⟩/‖u‖², image by image, so that s·u is
    what of the positive c lies along it.

    Fan et al. 2025, "CFG-Zero*: Improved Classifier-Free Guidance for Flow Matching Models"
    (2503.18886), eq. 8; diffusers' `cfg_zero_star_scale`.
    """

    def predicted(x: Array, row: Row) -> Array:
        found = predict(x, row)
        if len(found) == 1:
            return found
        negative, positive = (np.asarray(side, np.float32) for side in found)
        rest = tuple(range(1, negative.ndim))
        along = (negative * positive).sum(axis=rest, keepdims=True)
        square = np.square(negative).sum(axis=rest, keepdims=True)
        return np.stack([negative * (along / (square + np.float32(1e-8))), positive])

    return predicted


def still_at_first(denoiser: Denoiser, first: Row) -> Denoiser:
    """`denoiser`, but a velocity of zero in the row `first`, where x is noise alone and what a flow
    model predicts is further off than nothing. The paper's zero-init, for one step."""

    def predicted(x: Array, row: Row) -> Array:
        return np.zeros_like(x) if row is first else denoiser(x, row)

    return predicted
