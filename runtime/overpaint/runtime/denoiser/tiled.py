"""A denoiser called for overlapping windows of latents, its predictions blended at each step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from overpaint.runtime.cancel import Cancel, check
from overpaint.runtime.schedule import Row
from overpaint.runtime.tiles.windows import Window, blend

from . import Array, Branches


def tiled(
    predict: Sequence[Branches],
    windows: Sequence[Window],
    size: tuple[int, int],
    cancel: Cancel | None = None,
) -> Branches:
    """One prediction for latents of `size` (rows, columns), of one for each of `windows`.

    Bar-Tal et al. 2023, "MultiDiffusion": windows share the schedule's rows, and what they foresee
    is averaged. Every sampler here is linear in the prediction, so that averaging predictions
    averages the steps; the weights rise linearly where windows overlap.
    """
    weights = blend(windows, size)
    whole: Array = np.empty(0, np.float32)

    def branches(x: Array, row: Row) -> Array:
        nonlocal whole
        whole[...] = 0
        for one, window, weight in zip(predict, windows, weights, strict=True):
            check(cancel)
            found = one(np.ascontiguousarray(x[window.of()]), row)
            if len(whole) != len(found) or whole.shape[1:] != x.shape:
                whole = np.zeros((len(found), *x.shape), np.float32)
            whole[window.of()] += found * weight
        return whole

    return branches
