"""Predictions foretold from those before them, in place of calls of the denoiser."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Final, TypeAlias

import numpy as np

from overpaint.bundle.errors import UsageError
from overpaint.runtime.schedule import Row, Schedule

from . import Array, Branches

COMPUTED_FIRST: Final = 3
COMPUTED_LAST: Final = 2
"""Calls at either end of a run that are never foretold: what the picture shows is settled in the
first, and how crisp it is in the last."""

Point: TypeAlias = tuple[float, Array]
"""The ratio of noise to signal, and what was computed there."""


def forecast(predict: Branches, foretold: Collection[int]) -> Branches:
    """`predict`, but in the rows `foretold` (as `foretold_rows` gives them) what its last outputs
    lead to: see `continued`.

    A forecast has the branches of the newest point. Where the one before lacks them, as when
    guidance has just begun, the row is computed.

    Outputs move smoothly along a run: Liu et al. 2025, "From Reusing to Forecasting" (TaylorSeer,
    2503.06923). What was tried beside this: docs/decisions/0024-forecasts.md.
    """
    points: list[Point] = []

    def predicted(x: Array, row: Row) -> Array:
        at = noise_to_signal(row)
        if id(row) in foretold and (told := continued(points, at)) is not None:
            return told
        computed = np.array(predict(x, row))
        if points and points[-1][0] == at:  # a second look from the same level
            points.pop()
        points.append((at, computed))
        del points[:-3]
        return computed

    return predicted


def continued(points: list[Point], at: float) -> Array | None:
    """The line through the last two of `points` at the level `at`, as far as a line has held.

    How far is read off the point before: the line through the first two foretold some of the way
    to the third, and that share of its slope, none to all, image by image, is trusted again. So
    where a run bends, the last output is repeated, and where it is straight the line goes on.

    None where there is no line.
    """
    usable = [point for point in points if math.isfinite(point[0])]
    if len(usable) < 2 or len(usable[-2][1]) < len(usable[-1][1]):
        return None
    (before, older), (last, newest) = usable[-2:]
    branches = len(newest)
    moved = newest - older[-branches:]
    share: Array = np.ones(1, np.float32)
    if len(usable) == 3 and len(usable[0][1]) >= branches:
        first, oldest = usable[0]
        ahead = np.float32((last - before) / (before - first))
        share = _held(ahead * (older[-branches:] - oldest[-branches:]), moved)
    return np.asarray(newest + share * np.float32((at - last) / (last - before)) * moved)


def _held(foretold: Array, moved: Array) -> Array:
    """How much of a move was foretold, 0 to 1, by least squares: (branches,B,1,1,1)."""
    rest = (2, 3, 4)
    along = (foretold * moved).sum(axis=rest, keepdims=True)
    square = np.square(foretold).sum(axis=rest, keepdims=True)
    return np.asarray(np.clip(along / np.maximum(square, 1e-12), 0, 1))


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
