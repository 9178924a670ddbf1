"""How long jobs take, and how long the next ones will."""

from __future__ import annotations

import pytest

from overpaint.serve.jobs.engines.times import JobTimes, expected_seconds


def test_the_times_follow_what_was_measured_last() -> None:
    slow, fast = JobTimes(job=10, step=1, other=0.5), JobTimes(job=2, step=0.2, other=0.1)
    assert slow.then(fast).job == pytest.approx(8.4)
    assert expected_seconds(slow, 3) == 30
    assert expected_seconds(None, 2) == 10
