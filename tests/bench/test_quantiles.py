"""Intervals hold what they promise, and say so where they cannot."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from overpaint.bench import quantiles


@pytest.mark.parametrize("q", [0.0, 0.25, 0.5, 0.9, 0.99, 1.0])
def test_a_quantile_is_the_one_that_numpy_gives(q: float) -> None:
    values = np.random.default_rng(0).exponential(size=37)
    assert quantiles.quantile(list(values), q) == pytest.approx(np.quantile(values, q))


@pytest.mark.parametrize(("q", "n"), [(0.5, 20), (0.5, 21), (0.9, 60)])
def test_an_interval_holds_the_true_quantile_as_often_as_it_says(q: float, n: int) -> None:
    """On a skewed distribution, as latencies have: 95 % or more, and not always."""
    rng, truth, trials = np.random.default_rng(1), stats.expon.ppf(q), 2000
    held = 0
    for _ in range(trials):
        low, high = quantiles.interval(list(rng.exponential(size=n)), q)
        assert low is not None
        assert high is not None
        held += low <= truth <= high
    assert 0.94 <= held / trials <= 0.99


@pytest.mark.parametrize(("q", "enough"), [(0.5, 6), (0.9, 36), (0.99, 368)])
def test_an_end_is_open_until_there_are_enough_measurements(q: float, enough: int) -> None:
    values = [float(i) for i in range(enough)]
    assert quantiles.interval(values[:-1], q)[1] is None
    assert quantiles.interval(values, q)[1] == enough - 1


def test_the_ratio_of_medians_lies_in_its_interval_as_often_as_it_says() -> None:
    rng, trials = np.random.default_rng(2), 300
    held = 0
    for _ in range(trials):
        ours, theirs = rng.exponential(1, 40), rng.exponential(2, 40)
        low, high = quantiles.ratio_interval(list(theirs), list(ours), paired=False)
        held += low <= 2 <= high
    assert 0.9 <= held / trials <= 0.995


def test_pairs_take_out_what_slowed_both() -> None:
    rng = np.random.default_rng(3)
    slow = rng.uniform(1, 3, 30)  # the machine's mood, round by round
    ours, theirs = slow * rng.normal(1, 0.01, 30), 2 * slow * rng.normal(1, 0.01, 30)
    paired = quantiles.ratio_interval(list(theirs), list(ours), paired=True)
    alone = quantiles.ratio_interval(list(theirs), list(ours), paired=False)
    assert paired[0] <= 2 <= paired[1]
    assert paired[1] - paired[0] < (alone[1] - alone[0]) / 2


def test_pairs_need_as_many_of_one_as_of_the_other() -> None:
    with pytest.raises(ValueError, match="3, 2"):
        quantiles.ratio_interval([1, 2, 3], [1, 2], paired=True)
