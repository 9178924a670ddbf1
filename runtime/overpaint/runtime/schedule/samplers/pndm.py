"""PNDM's linear multistep half (PLMS), the scheduler of Stable Diffusion 1.x."""

from __future__ import annotations

import math

import numpy as np

from overpaint.bundle.errors import UsageError
from overpaint.runtime.schedule.levels import Levels, Request, preserving
from overpaint.runtime.schedule.options import Options
from overpaint.runtime.schedule.prediction import x0_from
from overpaint.runtime.schedule.sampler import LEADING, TRAINED, Run, Sampler
from overpaint.runtime.schedule.spacing import spaced
from overpaint.runtime.schedule.table import Row
from overpaint.runtime.schedule.training import Training

ADAMS_BASHFORTH = {
    1: (1.0,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}


def pndm(run: Run) -> list[Row]:
    """x' = X·x − Y·Σⱼ wⱼ·mᵢ₋ⱼ, X = √(ᾱ'/ᾱ), Y = (ᾱ'−ᾱ)/(ᾱ√(1−ᾱ') + √(ᾱ(1−ᾱ)ᾱ')). Order 2.

    Liu et al. 2022, "Pseudo Numerical Methods for Diffusion Models on Manifolds", eq. 11 and 12,
    w from Adams-Bashforth. The first step is taken twice: the second row averages the outputs at
    both of its ends, starts again from x₀ = (x − B·m)/A of the first row, and stays out of the
    history. After strength has cut, "first" means the first row that runs, as in the reference:
    for two skipped steps or more the row's own timestep is then not a repeated one.
    """
    rows: list[Row] = []
    stride = run.options.num_train_timesteps // (len(run.levels) - (len(run.levels) > 1))
    first = (1.0, 0.0)
    for done, i in enumerate(run.steps):
        t = int(run.levels.timesteps[i])
        if done == 1:
            A, B = _transfer(run, t + stride, t)
            a = A / first[0]
            b: tuple[float, ...] = (B / 2, B / 2 - a * first[1])
        else:
            a, B = _transfer(run, t, t - stride)
            weights = ADAMS_BASHFORTH[min(max(done, 1), 4)]
            b = _without_second_row(tuple(B * w for w in weights), done)
            first = (a, B) if done == 0 else first
        rows.append(_row(run, i, a, b))
    return rows


def _without_second_row(b: tuple[float, ...], done: int) -> tuple[float, ...]:
    """Weights on outputs, newest first, with a zero where the second row's output lies."""
    place = done - 1
    return b if not 0 < place < len(b) else (*b[:place], 0.0, *b[place:])


def _transfer(run: Run, t: int, after: int) -> tuple[float, float]:
    """(A, B) of x' = A·x + B·m between two timesteps."""
    table = run.training.alphas_cumprod
    final = 1.0 if run.options.set_alpha_to_one else float(table[0])
    now, then = float(table[t]), float(table[after]) if after >= 0 else final
    A = math.sqrt(then / now)
    B = -(then - now) / (now * math.sqrt(1 - then) + math.sqrt(now * (1 - now) * then))
    if run.options.prediction_type == "v_prediction":
        return A + B * math.sqrt(1 - now), B * math.sqrt(now)
    return A, B


def _row(run: Run, i: int, a: float, b: tuple[float, ...]) -> Row:
    at = run.levels
    kind = run.options.prediction_type
    return Row(
        timestep=float(at.timesteps[i]),
        alpha=float(at.alpha[i]),
        sigma=float(at.sigma[i]),
        scale_in=1.0,
        p=0.0,
        q=1.0,
        a=a,
        b=b,
        preview=x0_from(kind, float(at.alpha_next[i]), float(at.sigma_next[i])),
    )


def _levels(options: Options, training: Training, request: Request) -> Levels:
    once = spaced(options, request.steps).round()
    timesteps = np.concatenate([once[:1], once[1:2], once[1:]])
    following = timesteps - options.num_train_timesteps // request.steps
    final = 1.0 if options.set_alpha_to_one else training.alphas_cumprod[0]
    return preserving(training, timesteps, following, final)


def _check(options: Options) -> None:
    if not options.skip_prk_steps:
        raise UsageError(
            "skip_prk_steps: false asks for PNDM's Runge-Kutta steps, which are not supported; "
            "the sampler 'pndm', asked for by name, leaves them out"
        )
    if options.prediction_type not in ("epsilon", "v_prediction"):
        raise UsageError(
            f"pndm supports prediction_type 'epsilon' and 'v_prediction', "
            f"not {options.prediction_type!r}"
        )


SAMPLERS = (
    Sampler(
        name="pndm",
        scheduler="PNDMScheduler",
        fields=TRAINED | LEADING | {"skip_prk_steps": True, "set_alpha_to_one": False},
        implies={"skip_prk_steps": True},
        levels=_levels,
        rows=pndm,
        check=_check,
        repeats_second=True,
    ),
)
