"""Exponents, and how well they are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from overpaint.bench import growth
from overpaint.bench.growth import power_law


def test_an_exact_power_law_is_found_exactly() -> None:
    law = power_law([1, 2, 4, 8], [3 * x**1.5 for x in (1, 2, 4, 8)])
    assert law is not None
    assert law.exponent == pytest.approx(1.5)
    assert law.factor == pytest.approx(3)
    assert law.misfit == pytest.approx(0, abs=1e-9)


def test_the_interval_holds_the_true_exponent_as_often_as_it_says() -> None:
    rng, xs, trials = np.random.default_rng(0), [1.0, 2.0, 4.0, 8.0, 16.0], 1000
    held = 0
    for _ in range(trials):
        ys = [x**2 * rng.lognormal(0, 0.1) for x in xs]
        law = power_law(xs, ys)
        assert law is not None
        held += law.low <= 2 <= law.high
    assert 0.93 <= held / trials <= 0.97


def test_a_fixed_part_shows_as_an_exponent_below_one_and_a_misfit() -> None:
    law = power_law([1, 4, 16, 64], [10 + x for x in (1, 4, 16, 64)])
    assert law is not None
    assert 0 < law.exponent < 1
    assert law.misfit > 0.1


def test_two_points_are_no_law() -> None:
    assert power_law([1, 2, 2], [1, 2, 2]) is None
    assert power_law([1, 2, 3], [1, 0, 2]) is None


def test_students_t_is_scipys() -> None:
    assert pytest.approx([stats.t.ppf(0.975, df) for df in range(1, 11)], abs=5e-4) == growth._T
