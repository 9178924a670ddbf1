"""From a scheduler config and what the user asked for to the table that the loop runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from overpaint.bundle.errors import UsageError

from .config import SchedulerConfig
from .levels import Levels, Request
from .options import Options
from .resolve import name_of, resolve
from .sampler import Run, Sampler
from .strength import (
    Plan,
    Rounding,
    check_eta,
    check_mode,
    check_steps,
    check_strength,
    check_window,
    plan_steps,
)
from .table import Clip, Row, Schedule
from .training import training_schedule

LARGEST_EXPONENT: Final = 100.0


def make_schedule(
    config: SchedulerConfig,
    *,
    steps: int,
    strength: float | None,
    sampler: str = "default",
    sigmas: str = "default",
    steps_mode: str = "diffusers",
    rounding: Rounding = "down",
    denoising_start: float | None = None,
    denoising_end: float | None = None,
    image_tokens: int | None = None,
    shift: Callable[[int, int], float] | None = None,
    even_sigmas: bool = False,
    eta: float = 0.0,
) -> Schedule:
    """The rows to run. Pure: the same arguments give the same table.

    steps: at least 1, at most the timesteps of the training.
    strength: 0 to 1, how much of the schedule an image goes through; None without an image.
    sampler, sigmas, steps_mode: one of SAMPLERS, SIGMAS, STEPS_MODES. "default" is the config's
        own. Steps mode "diffusers" takes the schedule's tail; "exact" schedules ⌊steps/strength⌋
        and runs the last `steps`; "lcm" (LCM and TCD) narrows the range of timesteps by strength
        and runs `steps` in it, as the latent consistency pipeline does.
    rounding: which way a fraction of a kept step goes: "down" for SD and SDXL, "up" for SD3.
    denoising_start, denoising_end: within (0, 1), the part of the way from noise to picture that
        runs (SDXL base and refiner). With a start no noise is added and strength has no say. A
        start runs exactly the rows that the same end leaves out.
    image_tokens: the picture's patches, where the config shifts flow levels by resolution.
    shift: then μ of the patches and the scheduled steps, in place of the config's own.
    even_sigmas: flow levels are evenly spaced before they are shifted (a family's `even_sigmas`).
    eta: 0 to 1, DDIM's η and TCD's γ.

    Raises UsageError for a value out of range or a combination that does not exist, ManifestError
    for a config that this sampler cannot read.
    """
    found, options, ignored = resolve(config, sampler, sigmas)
    total = options.num_train_timesteps
    consistency = "original_inference_steps" in found.fields
    check_steps(steps, total)
    check_strength(strength)
    check_mode(steps_mode, rounding, sampler=found.name, consistency=consistency)
    check_eta(eta, sampler=found.name, taken=found.takes_eta)
    check_window(denoising_start, denoising_end)

    plan = plan_steps(steps, strength, steps_mode, rounding, total)
    if denoising_start is not None:
        plan = Plan(scheduled=steps, skipped=0)
    training = training_schedule(options, finite=found.finite)
    request = Request(
        steps=plan.scheduled,
        flow_shift=_dynamic_shift(options, image_tokens, plan.scheduled, shift),
        consistency_strength=plan.narrowing,
        even=even_sigmas,
    )
    levels = found.levels(options, training, request)
    _check_levels(levels, found, plan.scheduled)
    run = Run(options=options, training=training, levels=levels, start=plan.skipped, eta=eta)
    executed = plan.scheduled - plan.skipped
    if denoising_start is not None:
        run = replace(run, start=_cut(found, run, denoising_start))
        executed = len(levels) - run.start
    rows = found.rows(run) if executed else []
    end = 1.0, 0.0
    if denoising_end is not None:
        executed = max(_cut(found, run, denoising_end) - run.start, 0)
        count = executed * found.rows_per_step
        if count < len(rows):
            end = rows[count].alpha, rows[count].sigma
        rows = rows[:count]
    _check_rows(rows, options, found)
    noised = bool(rows) and denoising_start is None
    flow = options.prediction_type == "flow_prediction"
    return Schedule(
        rows=tuple(rows),
        signal=float(levels.alpha[run.start]) if noised else 1.0,
        noise=float(levels.sigma[run.start]) if noised else 0.0,
        initial=levels.initial,
        requested=plan.scheduled,
        skipped=plan.scheduled - executed if denoising_end is None else run.start,
        executed=executed,
        sampler=name_of(found, options),
        clip=_clip(options),
        discards_image=flow and noised and plan.skipped == 0 and (strength or 1) < 1,
        ignored=ignored,
        end=end,
    )


def _cut(found: Sampler, run: Run, fraction: float) -> int:
    """The first step whose timestep lies beyond `fraction` of the way from noise to picture.

    By timestep, as the reference has it. A cut never falls between the rows of one step.
    """
    total = run.options.num_train_timesteps
    cutoff = round(total - fraction * total)
    timesteps = [row.timestep for row in found.rows(replace(run, start=0))]
    beyond = sum(timestep < cutoff for timestep in timesteps)
    if found.rows_per_step == 2 and beyond % 2 == 0:
        beyond += 1
    return (len(timesteps) - beyond) // found.rows_per_step


def _dynamic_shift(
    options: Options,
    image_tokens: int | None,
    steps: int,
    shift: Callable[[int, int], float] | None,
) -> float | None:
    """e^μ, μ linear in the picture's tokens, or as `shift` has it (μ itself for the linear time
    shift), if asked for."""
    if not options.use_dynamic_shifting:
        return None
    if image_tokens is None:
        raise UsageError(
            "use_dynamic_shifting: the config shifts noise levels by the picture's size; "
            "image_tokens must be given"
        )
    mu = shift(image_tokens, steps) if shift else _linear_shift(options, image_tokens)
    exponential = options.time_shift_type == "exponential"
    if mu > LARGEST_EXPONENT or mu < (-LARGEST_EXPONENT if exponential else 1 / LARGEST_EXPONENT):
        raise UsageError(
            f"use_dynamic_shifting: the config shifts a picture of {image_tokens} tokens by "
            f"{mu:.3g} ({options.time_shift_type}), which leaves no noise levels"
        )
    return math.exp(mu) if exponential else mu


def _linear_shift(options: Options, image_tokens: int) -> float:
    slope = (options.max_shift - options.base_shift) / (
        options.max_image_seq_len - options.base_image_seq_len
    )
    return image_tokens * slope + options.base_shift - slope * options.base_image_seq_len


def _clip(options: Options) -> Clip | None:
    if options.thresholding:
        limit, ratio = options.sample_max_value, options.dynamic_thresholding_ratio
        return Clip(kind="dynamic", limit=limit, ratio=ratio)
    if options.clip_sample:
        return Clip(kind="range", limit=options.clip_sample_range)
    return None


def _check_levels(levels: Levels, found: Sampler, steps: int) -> None:
    """Noise falls strictly from one level of the denoiser to the next, and never rises."""
    with np.errstate(divide="ignore"):
        ratio = levels.sigma / levels.alpha
        last = levels.sigma_next[-1] / levels.alpha_next[-1]
    fall = np.diff(ratio)
    if found.repeats_second:
        fall = np.delete(fall, 1) if len(fall) > 1 else fall
    if np.any(fall >= 0) or last > ratio[-1]:
        raise UsageError(
            f"steps: with {steps} steps, {found.name}'s noise levels are not distinct. Take fewer "
            f"steps, or another timestep_spacing or sigmas"
        )


def _check_rows(rows: list[Row], options: Options, found: Sampler) -> None:
    for row in rows:
        numbers = (row.timestep, row.scale_in, row.p, row.q, row.a, *row.b, *row.c)
        if not all(map(math.isfinite, numbers)):
            raise UsageError(
                f"sampler: {found.name} has no finite step at timestep {row.timestep:g} for a "
                f"denoiser that predicts {options.prediction_type!r} (the config says "
                f"rescale_betas_zero_snr: {options.rescale_betas_zero_snr}, final_sigmas_type: "
                f"{options.final_sigmas_type!r}). Choose another sampler"
            )
