"""How cost grows: the exponent of a power law, and how well it is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Student's t at 97.5 % for 1 to 10 degrees of freedom; the last also stands for more, on the safe
# side.
_T: tuple[float, ...] = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
FEWEST_POINTS = 3


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """y = factor * x**exponent; 95 % interval of the exponent; `misfit`: worst |y/fit - 1|."""

    exponent: float
    low: float
    high: float
    factor: float
    misfit: float
    points: int


def power_law(xs: Sequence[float], ys: Sequence[float]) -> PowerLaw | None:
    """Least squares through (log x, log y); None with fewer than three different x, or a y <= 0.

    A fixed part (text, VAE) bends the line: the exponent of a whole run's latency against its steps
    is below 1 for that reason, and `misfit` says how far the law is from the measurements.
    """
    if len(set(xs)) < FEWEST_POINTS or min(ys) <= 0:
        return None
    u, v = [math.log(x) for x in xs], [math.log(y) for y in ys]
    n, mean_u, mean_v = len(u), sum(u) / len(u), sum(v) / len(v)
    spread = sum((a - mean_u) ** 2 for a in u)
    slope = sum((a - mean_u) * (b - mean_v) for a, b in zip(u, v, strict=True)) / spread
    offset = mean_v - slope * mean_u
    residuals = [b - offset - slope * a for a, b in zip(u, v, strict=True)]
    error = math.sqrt(sum(r * r for r in residuals) / (n - 2) / spread)
    reach = _T[min(n - 2, len(_T)) - 1] * error
    misfit = max(abs(math.expm1(r)) for r in residuals)
    return PowerLaw(slope, slope - reach, slope + reach, math.exp(offset), misfit, n)
