"""DDIM: the deterministic jump, with as much fresh noise as η asks for."""

from __future__ import annotations

import numpy as np

from overpaint.runtime.schedule.levels import Levels, Request, preserving
from overpaint.runtime.schedule.options import Options
from overpaint.runtime.schedule.sampler import (  # fmt: skip
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


def ddim(run: Run) -> list[Row]:
    """x' = √ᾱ'·x₀ + √(1−ᾱ'−s²)·ε + s·z,  s = η·√((1−ᾱ')/(1−ᾱ)·(1−ᾱ/ᾱ')). Order 1.

    Song et al. 2021, "Denoising Diffusion Implicit Models", eq. 12. ε is the way the unclipped x₀
    points.
    """
    at = run.levels
    ratio = (at.alpha / at.alpha_next) ** 2
    spread = run.eta * at.sigma_next / at.sigma * np.sqrt(np.maximum(1 - ratio, 0))
    a = np.sqrt(np.maximum(at.sigma_next**2 - spread**2, 0)) / at.sigma
    clipped = run.options.clip_sample or run.options.thresholding
    return [
        x0_row(
            run,
            i,
            a=a[i],
            b=(at.alpha_next[i] - (0 if clipped else a[i] * at.alpha[i]),),
            c=(spread[i],) if run.eta else (),
            draws=run.eta > 0,
            unclipped=-a[i] * at.alpha[i] if clipped else 0.0,
        )
        for i in run.steps
    ]


def _levels(options: Options, training: Training, request: Request) -> Levels:
    # The reference steps down by T // n whatever the spacing: not always to the next timestep.
    timesteps = spaced(options, request.steps).round()
    following = timesteps - options.num_train_timesteps // request.steps
    final = 1.0 if options.set_alpha_to_one else training.alphas_cumprod[0]
    return preserving(training, timesteps, following, final)


SAMPLERS = (
    Sampler(
        name="ddim",
        scheduler="DDIMScheduler",
        fields=TRAINED
        | LEADING
        | CLIPS
        | THRESHOLDS
        | {"set_alpha_to_one": True, "rescale_betas_zero_snr": False},
        levels=_levels,
        rows=ddim,
        takes_eta=True,
    ),
)
