"""Predictions foretold from those before them, in place of calls of the denoiser."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Final, TypeAlias

import numpy as np

from overpaint.bundle.errors import UsageError
from overpaint.runtime.schedule import Row, Schedule

from . import Array, Denoiser

COMPUTED_FIRST: Final = 3
COMPUTED_LAST: Final = 2
"""Calls at either end of a run that are never foretold: what the picture shows is settled in the
first, and how crisp it is in the last."""

Point: TypeAlias = tuple[float, Array]
"""The ratio of noise to signal, and what was computed there."""


def forecast(denoiser: Denoiser, foretold: Collection[int]) -> Denoiser:
    """`denoiser`, but in the rows `foretold` (as `foretold_rows` gives them) what its last outputs
    lead to: see `continued`.

    Outputs move smoothly along a run: Liu et al. 2025, "From Reusing to Forecasting" (TaylorSeer,
    2503.06923). What was tried beside this: docs/decisions/0025-forecasts.md.
    """
    points: list[Point] = []

    def predicted(x: Array, row: Row) -> Array:
        at = noise_to_signal(row)
        if id(row) in foretold:
            return continued(points, at)
        computed = np.array(denoiser(x, row))
        if points and points[-1][0] == at:  # a second look from the same level
            points.pop()
        points.append((at, computed))
        del points[:-3]
        return computed

    return predicted


def continued(points: Sequence[Point], at: float) -> Array:
    """What the last of `points` lead to at the level `at`: their line, as far as a line has held.

    How far is read off the point before: the line through the first two foretold the third, and the
    share of that last move which it explained, none to all, image by image, is the share of the
    slope that is trusted. So where a run is straight the line goes on, and where it bends or jumps,
    as it does where guidance ends, the last output is given again.
    """
    *_, (last, newest) = points
    usable = [point for point in points if math.isfinite(point[0])]
    if len(usable) < 2:
        return newest
    before, older = usable[-2]
    moved = newest - older
    share: Array = np.ones(1, np.float32)
    if len(usable) == 3:
        first, oldest = usable[0]
        ahead = np.float32((last - before) / (before - first))
        share = explained(ahead * (older - oldest), moved)
    return np.asarray(newest + share * np.float32((at - last) / (last - before)) * moved)


def explained(foretold: Array, moved: Array) -> Array:
    """The share of a move that was foretold, 0 to 1: R², image by image, (B,1,1,1)."""
    missed, whole = (
        np.square(one).sum(axis=(1, 2, 3), keepdims=True) for one in (moved - foretold, moved)
    )
    return np.asarray(np.clip(1 - missed / np.maximum(whole, 1e-12), 0, 1))


def noise_to_signal(row: Row) -> float:
    """σ/α where the row starts; infinite where there is no signal."""
    return row.sigma / row.alpha if row.alpha else math.inf


def foretold_rows(schedule: Schedule, each: int) -> frozenset[int]:
    """The rows, by identity, that are foretold: `each` of them after every one that is computed,
    bar the first three and the last two. Raises UsageError where the sampler draws noise."""
    if not each:
        return frozenset()
    if draws(schedule):
        raise UsageError(
            f"forecast: {schedule.sampler} draws fresh noise in its steps, after which nothing can "
            "be foretold; choose another sampler, or leave forecast out"
        )
    rows = schedule.rows
    return frozenset(
        id(row)
        for at, row in enumerate(rows[COMPUTED_FIRST : len(rows) - COMPUTED_LAST])
        if at % (each + 1) < each
    )


def draws(schedule: Schedule) -> bool:
    """Whether the sampler draws noise on its way."""
    return any(row.draws for row in schedule.rows)
