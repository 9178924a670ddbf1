"""Euler ancestral: Euler below the next level, and fresh noise back up to it."""

from __future__ import annotations

import numpy as np

from overpaint.runtime.schedule.levels import exploding
from overpaint.runtime.schedule.sampler import LINSPACE, TRAINED, Run, Sampler, x0_row
from overpaint.runtime.schedule.table import Row


def euler_ancestral(run: Run) -> list[Row]:
    """x' = (d/σ)·x + (1 − d/σ)·x₀ + √(σ'²−d²)·z with d = σ'²/σ. Order 1; noise in every row.

    Song et al. 2021, "Score-Based Generative Modeling through SDEs", appendix F (ancestral
    sampling of the variance-exploding SDE), in Karras's terms.
    """
    at = run.levels
    down = at.sigma_next**2 / at.sigma
    up = np.sqrt(at.sigma_next**2 - down**2)
    ratio = down / at.sigma
    return [
        x0_row(run, i, a=ratio[i], b=(1 - ratio[i],), c=(up[i],), draws=True) for i in run.steps
    ]


SAMPLERS = (
    Sampler(
        name="euler-a",
        scheduler="EulerAncestralDiscreteScheduler",
        fields=TRAINED | LINSPACE | {"rescale_betas_zero_snr": False},
        levels=exploding,
        rows=euler_ancestral,
        finite=True,
    ),
)
