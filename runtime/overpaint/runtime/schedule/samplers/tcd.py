"""TCD: jump past the next level, come back up to it with noise."""

from __future__ import annotations

import numpy as np

from overpaint.runtime.schedule.levels import Levels, Request, preserving
from overpaint.runtime.schedule.options import Options
from overpaint.runtime.schedule.sampler import LEADING, TRAINED_SCALED, Run, Sampler, x0_row
from overpaint.runtime.schedule.spacing import consistency
from overpaint.runtime.schedule.table import Row
from overpaint.runtime.schedule.training import Training


def tcd(run: Run) -> list[Row]:
    """x' = f·(√ᾱₛ·x₀ + √(1−ᾱₛ)·ε) + √(1−f²)·z,  s = ⌊(1−γ)·t'⌋, f = √(ᾱ'/ᾱₛ); the last row: f = 1.

    γ = 0 is deterministic and f = 1 throughout.
    Zheng et al. 2024, "Trajectory Consistency Distillation", algorithm 4 (strategic stochastic
    sampling).
    """
    at, table = run.levels, run.training.alphas_cumprod
    following = np.append(at.timesteps[1:], 0)
    alpha = np.sqrt(table[np.floor((1 - run.eta) * following).astype(np.int64)])
    carried = np.sqrt(1 - alpha**2) / at.sigma
    rows = []
    for i in run.steps:
        draws = run.eta > 0 and i + 1 < len(at)
        back = at.alpha_next[i] / alpha[i] if draws else 1.0
        rows.append(
            x0_row(
                run,
                i,
                a=back * carried[i],
                b=(back * (alpha[i] - carried[i] * at.alpha[i]),),
                c=(np.sqrt(1 - back**2),) if draws else (),
                draws=draws,
            )
        )
    return rows


def _levels(options: Options, training: Training, request: Request) -> Levels:
    timesteps = consistency(options, request.steps, request.consistency_strength)
    return preserving(training, timesteps, np.append(timesteps[1:], 0), final_alpha=1.0)


SAMPLERS = (
    Sampler(
        name="tcd",
        scheduler="TCDScheduler",
        fields=TRAINED_SCALED
        | LEADING
        | {
            "beta_schedule": "scaled_linear",
            "set_alpha_to_one": True,
            "original_inference_steps": 50,
            "timestep_scaling": 10.0,
            "rescale_betas_zero_snr": False,
        },
        levels=_levels,
        rows=tcd,
        takes_eta=True,
    ),
)
