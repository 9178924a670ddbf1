"""How long jobs take, and how long the next ones will."""

from __future__ import annotations

import pytest

from overpaint.serve.jobs.engines.times import JobTimes, expected_seconds


def test_the_times_follow_what_was_measured_last() -> None:
    slow = JobTimes(job=10, step=1, other=0.5, pixels=4096)
    fast = JobTimes(job=2, step=0.2, other=0.1, pixels=4096)
    assert slow.then(fast).job == pytest.approx(8.4)
    assert expected_seconds(None, [4096, 4096]) == 10


def test_larger_pictures_are_expected_to_take_longer() -> None:
    times = JobTimes(job=10, step=1, other=0.5, pixels=4096)
    assert expected_seconds(times, [4096, 4096, 2048]) == 25
    assert expected_seconds(times, [16 * 4096]) == 160
    large = JobTimes(job=40, step=4, other=2, pixels=4 * 4096)
    assert times.then(large).pace.step_s / times.then(large).pace.pixels == pytest.approx(1 / 4096)
