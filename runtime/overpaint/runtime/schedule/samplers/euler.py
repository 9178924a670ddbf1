"""Euler: one straight step of the probability-flow ODE."""

from __future__ import annotations

from overpaint.runtime.schedule.levels import exploding
from overpaint.runtime.schedule.sampler import CURVES, LINSPACE, TRAINED, Run, Sampler, x0_row
from overpaint.runtime.schedule.table import Row


def euler(run: Run) -> list[Row]:
    """x' = (σ'/σ)·x + (1 − σ'/σ)·x₀: the way to x₀, up to the next noise level. Order 1.

    Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models",
    algorithm 2 without churn.
    """
    ratio = run.levels.sigma_next / run.levels.sigma
    return [x0_row(run, i, a=ratio[i], b=(1 - ratio[i],)) for i in run.steps]


SAMPLERS = (
    Sampler(
        name="euler",
        scheduler="EulerDiscreteScheduler",
        fields=TRAINED
        | LINSPACE
        | CURVES
        | {
            "interpolation_type": "linear",
            "timestep_type": "discrete",
            "rescale_betas_zero_snr": False,
            "final_sigmas_type": "zero",
        },
        levels=exploding,
        rows=euler,
        finite=True,
    ),
)
