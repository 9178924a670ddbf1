"""Curves of noise levels between a largest and a smallest, descending, float64, shape (n,)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def karras(high: float, low: float, steps: int, rho: float = 7.0) -> Floats:
    """Even in σ^(1/ρ) (Karras et al. 2022, eq. 5)."""
    top, bottom = high ** (1 / rho), low ** (1 / rho)
    curve: Floats = (top + np.linspace(0, 1, steps) * (bottom - top)) ** rho
    return curve


def exponential(high: float, low: float, steps: int) -> Floats:
    """Even in log σ."""
    curve: Floats = np.exp(np.linspace(math.log(high), math.log(low), steps))
    return curve


def beta(high: float, low: float, steps: int, shape: float = 0.6) -> Floats:
    """Quantiles of Beta(0.6, 0.6), dense at both ends (Lee et al. 2024, "Beta Sampling")."""
    curve: Floats = low + beta_quantile(1 - np.linspace(0, 1, steps), shape) * (high - low)
    return curve


def shifted(sigmas: Floats, shift: float) -> Floats:
    """Flow levels moved towards noise for a larger picture (Esser et al. 2024, eq. 23)."""
    moved: Floats = shift * sigmas / (1 + (shift - 1) * sigmas)
    return moved


def stretched(sigmas: Floats, terminal: float) -> Floats:
    """Flow levels stretched from 1 so that the last one is `terminal`; a level of 1 stays alone."""
    rest = 1 - sigmas
    if rest[-1] == 0:
        return sigmas
    longer: Floats = 1 - rest / (rest[-1] / (1 - terminal))
    return longer


def beta_quantile(probability: Floats, shape: float) -> Floats:
    """The inverse of the symmetric Beta(shape, shape) distribution's CDF, to about 1e-15.

    The CDF is its power series below ½ (the other half is its mirror image), inverted by Newton
    steps in y = x^shape, in which it is nearly a straight line.
    """
    tail = np.minimum(probability, 1 - probability)
    scale = shape * math.gamma(shape) ** 2 / math.gamma(2 * shape)
    powers = np.arange(1, 64)
    # x^-a · a·B(a, a) · CDF(x) = Σₖ (1−a)ₖ/k! · a/(a+k) · xᵏ
    weights = np.cumprod((powers - shape) / powers) * shape / (shape + powers)
    y = tail * scale
    for _ in range(8):
        x = y ** (1 / shape)
        value = y * (1 + (x[..., None] ** powers) @ weights)
        y -= (value - tail * scale) * (1 - x) ** (1 - shape)
    x = y ** (1 / shape)
    return np.where(probability <= 0.5, x, 1 - x)


def timestep_of(sigmas: Floats, log_sigmas: NDArray[np.float32]) -> Floats:
    """The fractional training timestep of each σ, linear in log σ between training timesteps.

    Follows the reference's operations one by one: what is truncated afterwards forgives nothing.
    """
    logs = np.log(np.maximum(sigmas, 1e-10))
    low = np.clip(np.searchsorted(log_sigmas, logs, "right") - 1, 0, len(log_sigmas) - 2)
    below, above = log_sigmas[low], log_sigmas[low + 1]
    weight = np.clip((below - logs) / (below - above), 0, 1)
    return (1 - weight) * low + weight * (low + 1)
