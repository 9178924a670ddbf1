"""diffusers' scheduler classes, driven as its img2img pipelines drive them, and our tables beside.

The denoiser is a made-up function; both sides are given its output at the reference's input, so
that what is compared, row by row, is the table: timestep, model input and x.
"""

from __future__ import annotations

import sys
import types
import warnings
from collections.abc import Mapping
from typing import Any

import diffusers
import numpy as np
import torch

from overpaint.runtime.schedule import (
    Schedule,
    advance,
    begin,
    make_schedule,
    model_input,
    read_scheduler_config,
)

SHAPE = (2, 4, 2, 2)

SD = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}


def scheduler_class(name: str) -> Any:
    """A scheduler class of diffusers; DPMSolverSDE's is opened without torchsde, whose Brownian
    tree is not used here (noise is injected)."""
    if name != "DPMSolverSDEScheduler":
        return getattr(diffusers, name)
    sys.modules.setdefault("torchsde", types.ModuleType("torchsde"))
    from diffusers.schedulers import scheduling_dpmsolver_sde

    return scheduling_dpmsolver_sde.DPMSolverSDEScheduler


def reference_scheduler(name: str, fields: Mapping[str, Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return scheduler_class(name)(**fields)


class Differences:
    """The largest differences seen between the reference and a table."""

    def __init__(self) -> None:
        self.timestep = 0.0
        self.model_input = 0.0
        self.x = 0.0

    def note(self, kind: str, ours: Any, theirs: Any, scale: float = 0.0) -> None:
        """`scale`: the size of the numbers that went in, where they are larger than the result."""
        ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        gap = np.abs(ours - theirs).max() / max(np.abs(theirs).max(), scale, 1e-3)
        gap = np.inf if np.isnan(gap) else gap
        setattr(self, kind, max(getattr(self, kind), float(gap)))


def compare(
    name: str,
    fields: Mapping[str, Any],
    *,
    steps: int,
    strength: float,
    rounding: str = "down",
    eta: float = 0.0,
    seed: int = 0,
    mu: float | None = None,
    options: Mapping[str, Any] | None = None,
) -> tuple[Differences, Schedule]:
    """Run both from the same latents and noise, and say how far apart they came."""
    scheduler = reference_scheduler(name, fields)
    config = read_scheduler_config({"_class_name": name, **fields})
    schedule = make_schedule(
        config,
        steps=steps,
        strength=strength,
        rounding=rounding,  # type: ignore[arg-type]
        eta=eta,
        **(options or {}),
    )
    set_timesteps = {"mu": mu} if mu is not None else {}
    scheduler.set_timesteps(steps, **set_timesteps)
    skip = skipped(steps, strength, rounding) * scheduler.order
    timesteps = scheduler.timesteps[skip:]
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(skip)

    stream = torch.Generator().manual_seed(seed)
    z, noise = torch.randn(2, *SHAPE, generator=stream)
    bias = torch.randn(len(timesteps), *SHAPE, generator=stream)
    theirs, ours = (torch.Generator().manual_seed(seed + 1) for _ in range(2))
    inject_noise(scheduler, theirs)

    add = scheduler.scale_noise if hasattr(scheduler, "scale_noise") else scheduler.add_noise
    first = timesteps[:1].repeat(SHAPE[0])
    x = add(z, first, noise) if hasattr(scheduler, "scale_noise") else add(z, noise, first)
    state = begin(schedule, schedule.signal * z.numpy() + schedule.noise * noise.numpy())
    gaps = Differences()
    gaps.note("x", state.x, x)
    assert len(schedule.rows) == len(timesteps)
    extra = step_arguments(scheduler, theirs, eta)
    seen = np.empty(SHAPE, np.float32)
    for i, (row, t) in enumerate(zip(schedule.rows, timesteps, strict=True)):
        scale = getattr(scheduler, "scale_model_input", lambda x, t: x)
        inputs = scale(x, t)
        m = torch.tanh(inputs + bias[i]) + 0.3 * bias[i]
        model_input(state, row, seen)
        gaps.note("timestep", row.timestep, float(t))
        gaps.note("model_input", seen, inputs)
        size = float(x.abs().max())
        x = scheduler.step(m, t, x, return_dict=False, **extra)[0]
        advance(
            state,
            row,
            m.numpy(),
            lambda out: np.copyto(out, torch.randn(SHAPE, generator=ours).numpy()),
        )
        gaps.note("x", state.x, x, size)
    assert torch.equal(theirs.get_state(), ours.get_state()), "noise was drawn in other rows"
    return gaps, schedule


def skipped(steps: int, strength: float, rounding: str) -> int:
    """The pipelines' own arithmetic: StableDiffusionImg2Img's, or StableDiffusion3Img2Img's."""
    if rounding == "down":
        return max(steps - min(int(steps * strength), steps), 0)
    return int(max(steps - min(steps * strength, steps), 0))


def step_arguments(scheduler: Any, stream: torch.Generator, eta: float) -> dict[str, Any]:
    """As the pipelines' prepare_extra_step_kwargs: what `step` takes of eta and generator."""
    import inspect

    takes = inspect.signature(scheduler.step).parameters
    arguments = {"eta": eta, "generator": stream}
    return {name: value for name, value in arguments.items() if name in takes}


def inject_noise(scheduler: Any, stream: torch.Generator) -> None:
    if type(scheduler).__name__ == "DPMSolverSDEScheduler":
        scheduler.noise_sampler = lambda sigma, after: torch.randn(SHAPE, generator=stream)
