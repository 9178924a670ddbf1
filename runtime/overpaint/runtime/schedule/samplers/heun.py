"""Heun: Euler, then the mean of the slopes at both ends."""

from __future__ import annotations

from overpaint.runtime.schedule.levels import exploding
from overpaint.runtime.schedule.sampler import (
    CLIPS,
    CURVES,
    LINSPACE,
    TRAINED_SCALED,
    Run,
    Sampler,
    x0_row,
)
from overpaint.runtime.schedule.table import Row


def heun(run: Run) -> list[Row]:
    """Two rows a step, one for the last: Euler to σ', then x'' = x' + (σ'−σ)/2σ'·(h₁ − h₀).

    h₀ is x₀ as seen from σ', h₁ as seen from σ; (x' − h₁)/σ' is still Euler's slope, so that x'
    needs no going back to x. Order 2.
    Karras et al. 2022, algorithm 1 (without churn).
    """
    at = run.levels
    ratio = at.sigma_next / at.sigma
    half = (1 - 1 / ratio[:-1]) / 2
    rows: list[Row] = []
    for i in run.steps:
        rows.append(x0_row(run, i, a=ratio[i], b=(1 - ratio[i],)))
        if i + 1 < len(at):
            rows.append(x0_row(run, i + 1, a=1, b=(-half[i], half[i])))
    return rows


SAMPLERS = (
    Sampler(
        name="heun",
        scheduler="HeunDiscreteScheduler",
        fields=TRAINED_SCALED | LINSPACE | CURVES | CLIPS,
        levels=exploding,
        rows=heun,
        rows_per_step=2,
        finite=True,
    ),
)
