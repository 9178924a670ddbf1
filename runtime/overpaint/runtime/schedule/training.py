"""The noise schedule a denoiser was trained with, bit for bit as the reference computes it.

Everything is float32 where the reference is float32: a plain float64 version differs by 9e-7, which
is enough to flip rounded timesteps. cumprod alone accumulates in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .options import Options

Floats = NDArray[np.float64]

ZERO_SNR_ALPHA = 2.0**-24
"""What stands for ᾱ = 0 where a sampler needs a finite σ (4096)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """ᾱ and σ = √((1−ᾱ)/ᾱ) per training timestep, ascending in noise, shape (T,).

    `log_sigmas` stays float32, for the same reason as above.
    """

    alphas_cumprod: Floats
    sigmas: Floats
    log_sigmas: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.alphas_cumprod)


def training_schedule(options: Options, *, finite: bool) -> Training:
    """The schedule of a scheduler config. `finite` keeps σ below infinity at zero terminal SNR."""
    betas = training_betas(options)
    if options.rescale_betas_zero_snr:
        betas = zero_terminal_snr(betas)
    alphas = _cumulative(betas)
    if finite and options.rescale_betas_zero_snr:
        alphas[-1] = ZERO_SNR_ALPHA
    with np.errstate(divide="ignore"):
        sigmas = np.sqrt((np.float32(1) - alphas) / alphas)
    return Training(
        alphas_cumprod=alphas.astype(np.float64),
        sigmas=sigmas.astype(np.float64),
        log_sigmas=np.log(sigmas),
    )


def training_betas(options: Options) -> NDArray[np.float32]:
    """β per training timestep, shape (T,), float32."""
    if options.trained_betas is not None:
        return np.asarray(options.trained_betas, np.float32)
    count, start, end = options.num_train_timesteps, options.beta_start, options.beta_end
    match options.beta_schedule:
        case "linear":
            return _linspace(start, end, count)
        case "scaled_linear":
            return _linspace(start**0.5, end**0.5, count) ** 2
        case "sigmoid":
            ramp = 1 / (1 + np.exp(-_linspace(-6, 6, count)))
            return (ramp * np.float32(end - start) + np.float32(start)).astype(np.float32)
        case "squaredcos_cap_v2":
            return _betas_of(lambda t: math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2, count)
        case "exp":
            return _betas_of(lambda t: math.exp(-12.0 * t), count)
        case "laplace":
            return _betas_of(_laplace, count)


def zero_terminal_snr(betas: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shift and scale √ᾱ so that the last is 0 and the first stays (Lin et al. 2023, alg. 1)."""
    roots = np.sqrt(_cumulative(betas))
    first, last = roots[0], roots[-1]
    alphas = ((roots - last) * (first / (first - last))) ** 2
    return np.float32(1) - np.concatenate([alphas[:1], alphas[1:] / alphas[:-1]])


def _cumulative(betas: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.cumprod((np.float32(1) - betas).astype(np.float64)).astype(np.float32)


def _linspace(start: float, end: float, count: int) -> NDArray[np.float32]:
    """float32 linspace as torch has it: from both ends towards the middle, by a float32 step."""
    low, high = np.float32(start), np.float32(end)
    step = float((high - low) / np.float32(max(count - 1, 1)))
    index = np.arange(count, dtype=np.float64)
    rising = float(low) + step * index
    falling = float(high) - step * (count - 1 - index)
    return np.where(index < max(count // 2, 1), rising, falling).astype(np.float32)


def _betas_of(alpha_bar: Callable[[float], float], count: int) -> NDArray[np.float32]:
    """β from a continuous ᾱ(t) on [0, 1], at most 0.999 (Nichol & Dhariwal 2021)."""
    ends = [alpha_bar(i / count) for i in range(count + 1)]
    betas = [min(1 - after / before, 0.999) for before, after in pairwise(ends)]
    return np.asarray(betas, np.float32)


def _laplace(t: float) -> float:
    snr = math.exp(-0.5 * math.copysign(1, 0.5 - t) * math.log(1 - 2 * math.fabs(0.5 - t) + 1e-6))
    return math.sqrt(snr / (1 + snr))
