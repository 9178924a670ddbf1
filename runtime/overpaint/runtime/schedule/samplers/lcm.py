"""LCM: predict x₀ outright, noise it again, repeat."""

from __future__ import annotations

import numpy as np

from overpaint.runtime.schedule.levels import Levels, Request, preserving
from overpaint.runtime.schedule.options import Options
from overpaint.runtime.schedule.sampler import (
    CLIPS,
    LEADING,
    THRESHOLDS,
    TRAINED_SCALED,
    Run,
    Sampler,
    x0_row,
)
from overpaint.runtime.schedule.spacing import consistency
from overpaint.runtime.schedule.table import Row
from overpaint.runtime.schedule.training import Training

SIGMA_DATA = 0.5


def lcm(run: Run) -> list[Row]:
    """x' = √ᾱ'·(c_skip·x + c_out·x₀) + √(1−ᾱ')·z; the last row leaves it at c_skip·x + c_out·x₀.

    c_skip = σ_d²/(u²+σ_d²), c_out = u/√(u²+σ_d²), u = timestep_scaling·t, σ_d = ½.
    Luo et al. 2023, "Latent Consistency Models", algorithm 3 and section 4.1.
    """
    at = run.levels
    scaled = at.timesteps * run.options.timestep_scaling
    skip = SIGMA_DATA**2 / (scaled**2 + SIGMA_DATA**2)
    out = scaled / np.sqrt(scaled**2 + SIGMA_DATA**2)
    rows = []
    for i in run.steps:
        last = i + 1 == len(at)
        signal = 1.0 if last else at.alpha_next[i]
        rows.append(
            x0_row(
                run,
                i,
                a=signal * skip[i],
                b=(signal * out[i],),
                c=() if last else (at.sigma_next[i],),
                draws=not last,
            )
        )
    return rows


def _levels(options: Options, training: Training, request: Request) -> Levels:
    timesteps = consistency(options, request.steps, request.consistency_strength)
    return preserving(training, timesteps, np.append(timesteps[1:], -1), final_alpha=1.0)


SAMPLERS = (
    Sampler(
        name="lcm",
        scheduler="LCMScheduler",
        fields=TRAINED_SCALED
        | LEADING
        | CLIPS
        | THRESHOLDS
        | {
            "beta_schedule": "scaled_linear",
            "set_alpha_to_one": True,
            "original_inference_steps": 50,
            "timestep_scaling": 10.0,
            "rescale_betas_zero_snr": False,
        },
        levels=_levels,
        rows=lcm,
    ),
)
