"""DDPM: the posterior of the training's own forward process, sampled step by step."""

from __future__ import annotations

import numpy as np

from overpaint.bundle.errors import UsageError
from overpaint.runtime.schedule.levels import Levels, Request, preserving
from overpaint.runtime.schedule.options import Options
from overpaint.runtime.schedule.sampler import (
    CLIPS,
    LEADING,
    THRESHOLDS,
    TRAINED,
    Run,
    Sampler,
    x0_row,
)
from overpaint.runtime.schedule.spacing import spaced
from overpaint.runtime.schedule.table import Row
from overpaint.runtime.schedule.training import Training

LEAST_VARIANCE = 1e-20


def ddpm(run: Run) -> list[Row]:
    """x' = √r·(1−ᾱ')/(1−ᾱ)·x + √ᾱ'·(1−r)/(1−ᾱ)·x₀ + s·z,  r = ᾱ/ᾱ'. Order 1; no noise at t = 0.

    s² = (1−ᾱ')/(1−ᾱ)·(1−r) where the variance is "fixed_small", 1−r where it is "fixed_large".
    Ho et al. 2020, "Denoising Diffusion Probabilistic Models", eq. 7 and section 3.2.
    """
    at = run.levels
    ratio = at.alpha / at.alpha_next
    beta = 1 - ratio**2
    rest = (at.sigma_next / at.sigma) ** 2
    large = run.options.variance_type == "fixed_large"
    spread = np.sqrt(beta if large else np.maximum(rest * beta, LEAST_VARIANCE))
    rows = []
    for i in run.steps:
        draws = bool(at.timesteps[i] > 0)
        rows.append(
            x0_row(
                run,
                i,
                a=ratio[i] * rest[i],
                b=(at.alpha_next[i] * beta[i] / at.sigma[i] ** 2,),
                c=(spread[i],) if draws else (),
                draws=draws,
            )
        )
    return rows


def _levels(options: Options, training: Training, request: Request) -> Levels:
    timesteps = spaced(options, request.steps).round()
    return preserving(training, timesteps, np.append(timesteps[1:], -1), final_alpha=1.0)


def _check(options: Options) -> None:
    if options.variance_type not in ("fixed_small", "fixed_small_log", "fixed_large"):
        raise UsageError(
            f"variance_type {options.variance_type!r} is not supported by ddpm. Supported: "
            f"fixed_small, fixed_small_log, fixed_large (learned variance needs a denoiser that "
            f"predicts it; the reference's fixed_large_log is not a number)"
        )


SAMPLERS = (
    Sampler(
        name="ddpm",
        scheduler="DDPMScheduler",
        fields=TRAINED
        | LEADING
        | CLIPS
        | THRESHOLDS
        | {"variance_type": "fixed_small", "rescale_betas_zero_snr": False},
        levels=_levels,
        rows=ddpm,
        check=_check,
    ),
)
