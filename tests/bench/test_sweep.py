"""One axis is moved at a time, and growth is fitted along it."""

from __future__ import annotations

import msgspec
import pytest
from tests.bench.reports import WORK, run
from tests.bench.test_measure import TASK

from overpaint.bench.records import Point, Run
from overpaint.bench.sweep import Axes, growth, listed, points
from overpaint.bundle.errors import UsageError

AXES = Axes(
    size=((64, 64), (128, 96)),
    steps=(6, 12),
    strength=(0.5,),
    images=(1, 2),
    sampler=("default",),
    device=("cpu",),
    precision=("f32",),
)


def test_each_point_differs_from_the_base_in_one_value() -> None:
    assert [(axis, value) for axis, value, _ in points(AXES, TASK)] == [
        ("size", "128x96"),
        ("steps", "12"),
        ("images", "2"),
    ]
    for axis, _, task in points(AXES, TASK):
        changed = [n for n in Axes.__slots__ if getattr(task, n) != getattr(TASK, n)]
        assert changed == [axis]


def test_lists_are_read_and_refused_by_name() -> None:
    assert listed("--steps", "10, 20", int, "10,20") == (10, 20)
    assert listed("--steps", None, int, "10,20") == ()
    with pytest.raises(UsageError, match="--steps: expected values as 10,20, got '10;20'"):
        listed("--steps", "10;20", int, "10,20")
    with pytest.raises(UsageError, match="twice"):
        listed("--steps", "10,10", int, "10,20")


def taking(milliseconds: float, **changes: object) -> Run:
    return run([milliseconds] * 3, work=msgspec.structs.replace(WORK, **changes))


def test_latency_that_doubles_with_the_calls_has_exponent_one() -> None:
    base = taking(50, denoiser_calls=5)
    sweep = tuple(
        Point(axis="steps", value=str(2 * n), run=taking(10 * n, denoiser_calls=n))
        for n in (10, 20)
    )
    fitted = {(one.axis, one.quantity): one for one in growth(base, sweep)}
    assert fitted["denoiser_calls", "latency"].exponent == pytest.approx(1)
    assert fitted["denoiser_calls", "denoise"].exponent == pytest.approx(1, abs=1e-3)
    assert fitted["denoiser_calls", "peak_mb"].exponent == pytest.approx(0)
    assert {axis for axis, _ in fitted} == {"denoiser_calls"}, "the other axes were not moved"
