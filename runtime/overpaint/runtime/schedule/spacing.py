"""Which training timesteps a schedule visits, descending, float64, shape (n,)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from overpaint.bundle.errors import UsageError

from .options import Options

Floats = NDArray[np.float64]
Spacing = Literal["linspace", "leading", "trailing"]


def spaced(options: Options, steps: int) -> Floats:
    """Timesteps of Euler, Heun, DDIM and their kin (Lin et al. 2023, table 2).

    Only linspace can give fractions. Floating point makes the reference's trailing spacing return a
    surplus entry t = −1 for 62 step counts up to 1000; there are n entries by definition here.
    """
    total = options.num_train_timesteps
    match options.timestep_spacing:
        case "linspace":
            return np.linspace(0, total - 1, steps)[::-1]
        case "leading":
            ratio = total // steps
            return _within(np.arange(steps)[::-1] * ratio + options.steps_offset, total)
        case "trailing":
            return _trailing(total, total / steps)[:steps]


def spaced_for_solvers(options: Options, steps: int, last: int) -> Floats:
    """Timesteps of DPM-Solver and UniPC below `last`: n of n+1, so that none is spent on t = 0."""
    match options.timestep_spacing:
        case "linspace":
            return np.linspace(0, last - 1, steps + 1).round()[:0:-1]
        case "leading":
            ratio = last // (steps + 1)
            timesteps = np.arange(1, steps + 1)[::-1] * ratio + options.steps_offset
            return _within(timesteps, options.num_train_timesteps)
        case "trailing":
            return _trailing(last, options.num_train_timesteps / steps)[:steps]


def consistency(options: Options, steps: int, strength: float = 1.0) -> Floats:
    """Timesteps of LCM and TCD: `steps` of the student's own, i.e. of the distillation's grid.

    `strength` < 1 narrows the grid (the LCM pipeline's way) instead of taking the schedule's tail.
    """
    original = options.original_inference_steps
    if original > options.num_train_timesteps:
        raise UsageError(
            f"original_inference_steps is {original}, more than the "
            f"{options.num_train_timesteps} timesteps of the training"
        )
    grid = np.arange(1, int(original * strength) + 1) * (options.num_train_timesteps // original)
    if len(grid) < steps:
        raise UsageError(
            f"steps: a consistency model has {len(grid)} timesteps to choose from here, and "
            f"{steps} were asked for. Take {max(len(grid), 1)} or fewer"
            + (", or raise the strength" if strength < 1 else "")
        )
    index = np.floor(np.linspace(0, len(grid), steps, endpoint=False)).astype(np.int64)
    return (grid[::-1][index] - 1).astype(np.float64)


def _within(timesteps: NDArray[np.int64], total: int) -> Floats:
    if timesteps[0] >= total:
        raise UsageError(
            f"steps: {len(timesteps)} steps at leading spacing with an offset go up to timestep "
            f"{timesteps[0]}, beyond the training's {total - 1}. Take fewer steps"
        )
    return timesteps.astype(np.float64)


def _trailing(first: int, ratio: float) -> Floats:
    timesteps = np.arange(first, 0, -ratio).round() - 1
    return timesteps[timesteps >= 0]
