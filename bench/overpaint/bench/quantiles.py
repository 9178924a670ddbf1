"""Quantiles of repeated measurements, with intervals that assume nothing about their distribution.

The interval of a quantile is a pair of order statistics: how many of n independent measurements
fall below the q-quantile is binomial(n, q), whatever they are distributed like (David & Nagaraja,
Order Statistics, 3rd ed., 7.1). A tail too thin to be bounded by n measurements has an open end:
with fewer than 36 of them p90 has no upper bound at 95 %, and p99 none with fewer than 368.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

CONFIDENCE = 0.95
_RESAMPLES = 4000

Interval = tuple[float | None, float | None]


def quantile(values: Sequence[float], q: float) -> float:
    """The q-quantile, interpolated between neighbours (Hyndman and Fan's type 7)."""
    ordered = sorted(values)
    at = q * (len(ordered) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


def interval(values: Sequence[float], q: float, confidence: float = CONFIDENCE) -> Interval:
    """Order statistics between which the q-quantile lies with `confidence` or more; None: open."""
    ordered, tail = sorted(values), (1 - confidence) / 2
    below = np.cumsum([_binomial(len(ordered), k, q) for k in range(len(ordered) + 1)])
    # The l-th smallest is above the quantile when fewer than l fall below it, and so on.
    low = max((k for k in range(1, len(ordered) + 1) if below[k - 1] <= tail), default=None)
    high = min((k for k in range(1, len(ordered) + 1) if below[k - 1] >= 1 - tail), default=None)
    return (
        None if low is None else ordered[low - 1],
        None if high is None else ordered[high - 1],
    )


def _binomial(n: int, k: int, q: float) -> float:
    return float(math.comb(n, k) * q**k * (1 - q) ** (n - k))


def ratio_interval(
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    paired: bool,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap of median(ours) / median(theirs) (Efron and Tibshirani, 1993, ch. 13).

    `paired`: the i-th of both were measured one after the other, so rounds are drawn, and what
    slowed the machine in one of them slows both.

    Raises:
        ValueError: `paired`, and their numbers differ.
    """
    if paired and len(ours) != len(theirs):
        raise ValueError(f"expected as many of one as of the other, got {len(ours)}, {len(theirs)}")
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(ours), (_RESAMPLES, len(ours)))
    other = drawn if paired else rng.integers(0, len(theirs), (_RESAMPLES, len(theirs)))
    ratios = np.median(np.asarray(ours)[drawn], 1) / np.median(np.asarray(theirs)[other], 1)
    low, high = np.quantile(ratios, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
