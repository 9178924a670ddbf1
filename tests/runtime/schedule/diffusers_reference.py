"""diffusers' scheduler classes, driven as its img2img pipelines drive them, and our tables beside.

The denoiser is a made-up function; both sides are given its output at the reference's input, so
that what is compared, row by row, is the table: timestep, model input and x.
"""

from __future__ import annotations

import inspect
import sys
import types
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import diffusers
import msgspec
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
from overpaint.runtime.schedule.options import VOCABULARY, Options
from overpaint.runtime.schedule.strength import Rounding
from overpaint.runtime.schedule.training import training_schedule

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

    def note(self, kind: str, ours: Any, theirs: Any) -> None:
        ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        gap = np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1.0)
        gap = np.inf if np.isnan(gap) else gap
        setattr(self, kind, max(getattr(self, kind), float(gap)))


def compare(
    name: str,
    fields: Mapping[str, Any],
    *,
    steps: int,
    strength: float,
    rounding: Rounding = "down",
    eta: float = 0.0,
    seed: int = 0,
    mu: float | None = None,
    precise: bool = True,
    options: Mapping[str, Any] | None = None,
    scheduler: Any = None,
) -> tuple[Differences, Schedule]:
    """Run both from the same latents and noise, and say how far apart they came.

    `options` go to make_schedule; `scheduler` is the reference where it is not the class that the
    config names.
    `precise`: both in float64 from levels in float32, so that nothing but the arithmetic is
    compared; else the class as it is, in float32.
    """
    scheduler = scheduler or reference_scheduler(name, fields)
    if precise and hasattr(scheduler, "alphas_cumprod"):
        share_training_levels(scheduler)
    scheduler.set_timesteps(steps, **({"mu": mu} if mu is not None else {}))
    schedule = make_schedule(
        read_scheduler_config({"_class_name": name, **fields}),
        steps=steps,
        strength=strength,
        rounding=rounding,
        eta=eta,
        **(options or {}),
    )
    skip = skipped(steps, strength, rounding) * scheduler.order
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(skip)
    dtype = torch.float64 if precise else torch.float32
    with float64_throughout(scheduler) if precise else nullcontext():
        gaps = follow(scheduler, schedule, scheduler.timesteps[skip:], dtype, seed, eta)
    return gaps, schedule


def follow(
    scheduler: Any, schedule: Schedule, timesteps: Any, dtype: torch.dtype, seed: int, eta: float
) -> Differences:
    """Take both through the same steps, each with a noise stream of its own from the same seed."""
    stream, theirs, ours = (torch.Generator().manual_seed(seed + i) for i in (0, 1, 1))
    z, noise = torch.randn(2, *SHAPE, generator=stream, dtype=dtype)
    bias = torch.randn(len(timesteps), *SHAPE, generator=stream, dtype=dtype)
    if type(scheduler).__name__ == "DPMSolverSDEScheduler":
        scheduler.noise_sampler = lambda *_: torch.randn(SHAPE, generator=theirs, dtype=dtype)
    first = timesteps[:1].repeat(SHAPE[0])
    if hasattr(scheduler, "scale_noise"):
        x = scheduler.scale_noise(z, first, noise)
    else:
        x = scheduler.add_noise(z, noise, first)
    state = begin(schedule, schedule.signal * z.numpy() + schedule.noise * noise.numpy())
    seen = np.empty(SHAPE, state.x.dtype)
    gaps = Differences()
    gaps.note("x", state.x, x)
    extra = step_arguments(scheduler, theirs, eta)
    for i, (row, t) in enumerate(zip(schedule.rows, timesteps, strict=True)):
        inputs = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        model_input(state.x, row, seen)
        gaps.note("timestep", row.timestep, float(t))
        gaps.note("model_input", seen, inputs)
        m = torch.tanh(inputs + bias[i]) + 0.3 * bias[i]
        x = scheduler.step(m, t, x, return_dict=False, **extra)[0]
        draw = torch.randn(SHAPE, generator=ours, dtype=dtype).numpy() if row.draws else None
        advance(state, row, m.numpy(), lambda out, draw=draw: np.copyto(out, draw))
        gaps.note("x", state.x, x)
    assert torch.equal(theirs.get_state(), ours.get_state()), "noise was drawn in other rows"
    return gaps


class CorrectRoots(torch.Tensor):
    """A tensor whose square roots are rounded correctly: torch's, by MKL, are not always, and a
    last digit of σ would drown the last nine of what is compared."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.__pow__ and args[1] == 0.5:
            return torch.from_numpy(np.asarray(np.sqrt(args[0].as_subclass(torch.Tensor).numpy())))
        return super().__torch_function__(func, types, args, kwargs or {})


def share_training_levels(scheduler: Any) -> None:
    """Compare ᾱ on its own, and let the reference go on from ours."""
    takes = inspect.signature(type(scheduler).__init__).parameters
    written = {k: v for k, v in scheduler.config.items() if k in VOCABULARY and v is not None}
    options = msgspec.convert({k: v for k, v in written.items() if k in takes}, Options)
    ours = training_schedule(options, finite=hasattr(scheduler, "lambda_t")).alphas_cumprod
    theirs = scheduler.alphas_cumprod.numpy()
    if not hasattr(scheduler, "lambda_t") and options.rescale_betas_zero_snr:
        ours[-1] = theirs[-1]
    # bit for bit, but for what goes through torch's own roots and exponentials
    inexact = options.rescale_betas_zero_snr or options.beta_schedule == "sigmoid"
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=5e-7 if inexact else 0)
    scheduler.alphas_cumprod = torch.from_numpy(ours.astype(np.float32)).as_subclass(CorrectRoots)
    if hasattr(scheduler, "final_alpha_cumprod") and not options.set_alpha_to_one:
        scheduler.final_alpha_cumprod = torch.tensor(ours[0], dtype=torch.float32)


class Float64Torch(types.ModuleType):
    """torch, where what is called float32 is float64."""

    float32 = torch.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@contextmanager
def float64_throughout(scheduler: Any) -> Iterator[None]:
    """A scheduler's step in float64: its tables widened as they are, and no cast to float32."""
    for name in ("sigmas", "alphas_cumprod", "final_alpha_cumprod", "one"):
        if hasattr(scheduler, name):
            setattr(scheduler, name, getattr(scheduler, name).as_subclass(torch.Tensor).double())
    module = sys.modules[type(scheduler).__module__]
    module.torch = Float64Torch("torch")
    try:
        yield
    finally:
        module.torch = torch


def skipped(steps: int, strength: float, rounding: Rounding) -> int:
    """The pipelines' own arithmetic: StableDiffusionImg2Img's, or StableDiffusion3Img2Img's."""
    if rounding == "down":
        return max(steps - min(int(steps * strength), steps), 0)
    return int(max(steps - min(steps * strength, steps), 0))


def step_arguments(scheduler: Any, stream: torch.Generator, eta: float) -> dict[str, Any]:
    """As the pipelines' prepare_extra_step_kwargs: what `step` takes of eta and generator."""
    takes = inspect.signature(scheduler.step).parameters
    arguments = {"eta": eta, "generator": stream}
    return {name: value for name, value in arguments.items() if name in takes}
