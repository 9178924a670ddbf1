"""The control network that ships: outlines stay at strengths at which nothing else does."""

from __future__ import annotations

from pocket import journeys

from overpaint.bundle.format.verify import verify_bundle
from overpaint.runtime.control.opening import EMBEDDED_NETWORKS

STRENGTH = 0.8


def test_the_skyline_is_kept_where_season_and_time_change() -> None:
    assert journeys.outline_kept(STRENGTH) >= 0.5
    assert journeys.outline(STRENGTH) <= 0.35
    assert journeys.arrived_kept(STRENGTH) >= (0.9, 0.9)


def test_it_is_whole() -> None:
    assert verify_bundle(EMBEDDED_NETWORKS / "edges").whole
