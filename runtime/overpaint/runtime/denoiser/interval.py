"""Guidance in a part of the steps only: elsewhere its negative half is not computed."""

from __future__ import annotations

from collections.abc import Sequence

from overpaint.runtime.schedule import Row

from . import Array, Branches


def interval(
    both: Branches, alone: Branches, rows: Sequence[Row], start: float, end: float
) -> Branches:
    """`both` branches in the part of `rows` between `start` and `end`, shares from 0 to 1, and the
    positive one `alone` elsewhere.

    At high noise guidance makes pictures alike, and at low noise it changes nothing that is seen:
    Kynkäänniemi et al. 2024, "Applying Guidance in a Limited Interval Improves Sample and
    Distribution Quality in Diffusion Models".
    """
    n = len(rows)
    guided = {id(row) for at, row in enumerate(rows) if start <= at / n < end}

    def predicted(x: Array, row: Row) -> Array:
        return (both if id(row) in guided else alone)(x, row)

    return predicted
