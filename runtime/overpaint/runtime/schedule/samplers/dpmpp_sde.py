"""DPM-Solver++ SDE, single step: two noisy evaluations a step."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from overpaint.bundle.errors import UsageError
from overpaint.runtime.schedule import sigmas as curves
from overpaint.runtime.schedule.levels import exploding
from overpaint.runtime.schedule.options import Options
from overpaint.runtime.schedule.prediction import x0_from
from overpaint.runtime.schedule.sampler import (
    CURVES,
    LINSPACE,
    TRAINED_SCALED,
    Run,
    Sampler,
    x0_row,
)
from overpaint.runtime.schedule.table import Row


def dpmpp_sde(run: Run) -> list[Row]:
    """Two rows a step, one for the last, both from x at σ: to σₘ = √(σσ'), then to σ' by h there.

    A jump to τ: (d/σ)·x + (1 − d/σ)·h + u·z with d = τ²/σ, u = √(τ²−d²). The second row reads x out
    of its own start: x = (xₘ − (1−A₁)·h₁ − u(σₘ)·z₁)/A₁. Order 2 without noise.
    Lu et al. 2022, "DPM-Solver++", and Crowson's k-diffusion, `sample_dpmpp_sde` with r = ½. Noise
    is drawn afresh for both jumps, where the reference reads one Brownian path at both places.
    """
    at = run.levels
    rows: list[Row] = []
    for i in run.steps:
        sigma, after = float(at.sigma[i]), float(at.sigma_next[i])
        if after == 0:
            rows.append(x0_row(run, i, a=0, b=(1,)))
            continue
        middle = math.sqrt(sigma * after)
        to_middle, up_middle = _jump(sigma, middle)
        to_next, up_next = _jump(sigma, after)
        back = to_next / to_middle
        rows.append(x0_row(run, i, a=to_middle, b=(1 - to_middle,), c=(up_middle,), draws=True))
        rows.append(
            replace(
                _at_middle(run, i, middle),
                a=back,
                b=(1 - to_next, -back * (1 - to_middle)),
                c=(up_next, -back * up_middle),
            )
        )
    return rows


def _jump(sigma: float, to: float) -> tuple[float, float]:
    """(d/σ, u) of an ancestral jump from `sigma` down to `to`."""
    down = to**2 / sigma
    return down / sigma, math.sqrt(to**2 - down**2)


def _at_middle(run: Run, i: int, sigma: float) -> Row:
    """A row of the denoiser at the level in the middle of step i, yet to be filled."""
    p, q = x0_from(run.options.prediction_type, 1.0, sigma)
    (timestep,) = curves.timestep_of(np.array([sigma]), run.training.log_sigmas)
    return Row(
        timestep=float(timestep),
        alpha=1.0,
        sigma=sigma,
        scale_in=1 / math.hypot(sigma, 1),
        p=p,
        q=q,
        a=0.0,
        b=(),
        draws=True,
    )


def _check(options: Options) -> None:
    if options.noise_sampler_seed is not None:
        raise UsageError(
            "noise_sampler_seed is not supported: noise comes from the run's own seed. "
            "Set it to null"
        )


SAMPLERS = (
    Sampler(
        name="dpmpp-sde",
        scheduler="DPMSolverSDEScheduler",
        fields=TRAINED_SCALED | LINSPACE | CURVES | {"noise_sampler_seed": None},
        levels=exploding,
        rows=dpmpp_sde,
        check=_check,
        rows_per_step=2,
        finite=True,
    ),
)
