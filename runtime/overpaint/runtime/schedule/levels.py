"""The noise levels that the steps of a schedule start from and end at, before strength cuts it.

One dataclass serves every convention of x = α·x₀ + σ·ε: variance exploding (α = 1), variance
preserving (α² + σ² = 1) and flow (α = 1 − σ). Levels are rounded to float32, as the reference's
are; all that follows from them is float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import sigmas as curves
from .options import Options
from .spacing import spaced, spaced_for_solvers
from .training import Training

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a run asks of the levels: how many steps, and what moves them."""

    steps: int
    flow_shift: float | None = None
    """e^μ of dynamic shifting (linear time shift: μ), in place of the config's constant shift."""
    consistency_strength: float = 1.0
    even: bool = False
    """Flow levels evenly from 1 to 1/steps before they are shifted, as FLUX.1's pipelines name
    them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """Step i goes from (alpha[i], sigma[i]) to (alpha_next[i], sigma_next[i]); all of shape (n,).

    `timesteps` and x·`scale` are what the denoiser sees; `initial` times noise is x before step 0
    where there is no image.
    """

    timesteps: Floats
    scale: Floats
    alpha: Floats
    sigma: Floats
    alpha_next: Floats
    sigma_next: Floats
    initial: float = 1.0

    def __len__(self) -> int:
        return len(self.timesteps)


def exploding(options: Options, training: Training, request: Request) -> Levels:
    """The levels of Karras et al. 2022's samplers: x = x₀ + σ·ε, seen by the denoiser at unit
    variance. Curves span the ends of the spaced levels."""
    count = request.steps
    timesteps = _float32(spaced(options, count))
    if options.interpolation_type == "log_linear":
        ends = float(training.log_sigmas[-1]), float(training.log_sigmas[0])
        visited = np.exp(np.linspace(*ends, count + 1))
    else:
        visited = np.interp(timesteps, np.arange(len(training)), training.sigmas)
    curve = _curve(options, visited[0], visited[-1], count)
    if curve is not None:
        visited, timesteps = curve, curves.timestep_of(curve, training.log_sigmas)
    last = training.sigmas[0] if options.final_sigmas_type == "sigma_min" else 0.0
    sigma = _float32(np.append(visited, last)[: count + 1])
    if options.timestep_type == "continuous" and options.prediction_type == "v_prediction":
        timesteps = 0.25 * np.log(sigma[:-1])
    top = float(sigma.max())
    ones = np.ones(count)
    return Levels(
        timesteps=_float32(timesteps),
        scale=1 / np.sqrt(sigma[:-1] ** 2 + 1),
        alpha=ones,
        sigma=sigma[:-1],
        alpha_next=ones,
        sigma_next=sigma[1:],
        initial=float(np.hypot(top, 1)) if options.timestep_spacing == "leading" else top,
    )


def dpm_solver(options: Options, training: Training, request: Request) -> Levels:
    """The levels of DPM-Solver: integer timesteps; curves span the whole training range."""
    count, total = request.steps, options.num_train_timesteps
    log_snr = -training.log_sigmas[::-1]
    last = total - int(np.searchsorted(log_snr, options.lambda_min_clipped))
    high, low = training.sigmas[-1], training.sigmas[0]
    curve = _curve(options, high, low, count)
    if options.use_lu_lambdas:
        ends = float(training.log_sigmas[-1]), float(training.log_sigmas[0])
        curve = np.exp(np.linspace(*ends, count))
    if curve is not None:
        visited, timesteps = curve, curves.timestep_of(curve, training.log_sigmas)
        rounded = options.use_karras_sigmas or options.use_lu_lambdas
        if rounded and options.beta_schedule != "squaredcos_cap_v2":
            timesteps = timesteps.round()
    elif options.use_flow_sigmas:
        shift = request.flow_shift or options.flow_shift
        visited = curves.shifted(1 - np.linspace(1, 1 / total, count + 1), shift)[:0:-1]
        timesteps = visited * total
    else:
        timesteps = spaced_for_solvers(options, count, last)
        visited = np.interp(timesteps, np.arange(total), training.sigmas)
    end = low if options.final_sigmas_type == "sigma_min" else 0.0
    return _solver_levels(options, timesteps, np.append(visited, end))


def unipc(options: Options, training: Training, request: Request) -> Levels:
    """The levels of UniPC: DPM-Solver's, but for how flow levels are made and where curves end."""
    count, total = request.steps, options.num_train_timesteps
    low = training.sigmas[0]
    curve = _curve(options, training.sigmas[-1], low, count)
    if curve is not None and options.use_flow_sigmas:
        visited = curve / (curve + 1)
        timesteps, low = visited * total, visited[-1]
    elif curve is not None:
        visited, low = curve, curve[-1]
        timesteps = curves.timestep_of(curve, training.log_sigmas)
        timesteps = timesteps.round() if options.use_karras_sigmas else timesteps
    elif options.use_flow_sigmas:
        visited = np.linspace(1, 1 / total, count + 1)[:-1]
        visited = curves.shifted(visited, request.flow_shift or options.flow_shift)
        if options.shift_terminal:
            visited = curves.stretched(visited, options.shift_terminal)
        visited[0] -= 1e-6 * (abs(visited[0] - 1) < 1e-6)  # log((1 − σ)/σ) must be finite
        timesteps, low = visited * total, visited[-1]
    else:
        timesteps = spaced_for_solvers(options, count, total)
        visited = np.interp(timesteps, np.arange(total), training.sigmas)
    end = low if options.final_sigmas_type == "sigma_min" else 0.0
    return _solver_levels(options, timesteps, np.append(visited, end))


def flow(options: Options, training: Training, request: Request) -> Levels:
    """The levels of rectified flow (Esser et al. 2024): ends that are shifted already, evenly
    spaced, and shifted again, as SD3's reference has it; or `even` ones, shifted once."""
    count, total = request.steps, options.num_train_timesteps
    ends = np.array([total, 1], np.float32) / np.float32(total)
    if not options.use_dynamic_shifting:
        shift32 = np.float32(options.shift)
        ends = shift32 * ends / (1 + np.float32(options.shift - 1) * ends)
    high, low = (1.0, 1 / count) if request.even else (float(ends[0]), float(ends[1]))
    visited = np.linspace(high * total, low * total, count) / total
    visited = curves.shifted(visited, request.flow_shift or options.shift)
    if options.shift_terminal:
        visited = curves.stretched(visited, options.shift_terminal)
    curve = _curve(options, visited[0], visited[-1], count)
    sigma = _float32(np.append(visited if curve is None else curve, 0.0))
    return _flow_levels(_float32(sigma[:-1] * total), sigma)


def preserving(
    training: Training, timesteps: Floats, following: Floats, final_alpha: float
) -> Levels:
    """Levels at integer timesteps, x = √ᾱ·x₀ + √(1−ᾱ)·ε; below t = 0 lies ᾱ = `final_alpha`."""
    index, after = timesteps.astype(np.int64), following.astype(np.int64)
    table = training.alphas_cumprod
    start, end = table[index], np.where(after >= 0, table[np.maximum(after, 0)], final_alpha)
    return Levels(
        timesteps=timesteps,
        scale=np.ones(len(timesteps)),
        alpha=np.sqrt(start),
        sigma=np.sqrt(1 - start),
        alpha_next=np.sqrt(end),
        sigma_next=np.sqrt(1 - end),
    )


def _curve(options: Options, high: float, low: float, steps: int) -> Floats | None:
    """The curve between these ends (or the config's own) that the config asks for, if any."""
    ends = options.sigma_max or float(high), options.sigma_min or float(low)
    if options.use_karras_sigmas:
        return curves.karras(*ends, steps)
    if options.use_exponential_sigmas:
        return curves.exponential(*ends, steps)
    if options.use_beta_sigmas:
        return curves.beta(*ends, steps)
    return None


def _solver_levels(options: Options, timesteps: Floats, visited: Floats) -> Levels:
    sigma = _float32(visited)
    timesteps = np.trunc(timesteps)
    if options.use_flow_sigmas:
        return _flow_levels(timesteps, sigma)
    alpha = 1 / np.sqrt(sigma**2 + 1)
    noise = sigma * alpha
    return Levels(
        timesteps=timesteps,
        scale=np.ones(len(timesteps)),
        alpha=alpha[:-1],
        sigma=noise[:-1],
        alpha_next=alpha[1:],
        sigma_next=noise[1:],
    )


def _flow_levels(timesteps: Floats, sigma: Floats) -> Levels:
    return Levels(
        timesteps=timesteps,
        scale=np.ones(len(timesteps)),
        alpha=1 - sigma[:-1],
        sigma=sigma[:-1],
        alpha_next=1 - sigma[1:],
        sigma_next=sigma[1:],
    )


def _float32(values: Floats) -> Floats:
    return values.astype(np.float32).astype(np.float64)
