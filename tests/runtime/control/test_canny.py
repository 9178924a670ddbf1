"""Edges as Canny finds them: thin, closed gaps, no noise."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from overpaint.runtime.control.canny import canny


def picture(levels: np.ndarray) -> Image.Image:  # type: ignore[type-arg]
    return Image.fromarray(levels.astype(np.uint8))


@pytest.mark.parametrize("turned", [0, 1], ids=["upright", "lying"])
def test_a_step_is_one_line_as_long_as_it_is(turned: int) -> None:
    levels = np.full((32, 24), 40)
    levels[:, 10:] = 200
    edges = np.asarray(canny(picture(np.rot90(levels, turned)))) > 0
    lines = np.rot90(edges, -turned)
    assert lines.sum(axis=1).tolist() == [1] * 32, "one pixel thick, from border to border"
    assert set(np.nonzero(lines)[1]) <= {9, 10}


def test_nothing_is_found_where_nothing_is() -> None:
    assert canny(picture(np.full((16, 16), 128))).getbbox() is None
    ramp = np.repeat(np.linspace(0, 255, 64)[None], 64, axis=0)
    assert canny(picture(ramp)).getbbox() is None, "a slope is no edge"


def test_a_weak_part_stays_where_it_goes_on_from_a_strong_one() -> None:
    levels = np.zeros((40, 40))
    levels[:20, 20:] = 120  # strong
    levels[20:, 20:] = 30  # weak: |gradient| 120, between the thresholds
    edges = np.asarray(canny(picture(levels))) > 0
    assert edges[25:38, 18:22].any(axis=1).all()
    levels[:20] = 0
    levels[18:22] = 0
    assert not np.asarray(canny(picture(levels)))[25:38, 18:22].any(), "alone it is noise"


def test_a_circle_is_closed_and_thin() -> None:
    y, x = np.mgrid[:64, :64]
    disc = np.where((x - 32) ** 2 + (y - 32) ** 2 < 400, 220, 20)
    edges = np.asarray(canny(picture(disc))) > 0
    inside = np.zeros_like(edges)
    inside[32, 32] = True
    while True:  # flood: what leaks out of the circle reaches the border
        grown = inside.copy()
        for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
            grown |= np.roll(inside, step, axis)
        grown &= ~edges
        if np.array_equal(grown, inside):
            break
        inside = grown
    assert not inside[0].any()
    assert edges.sum() < 2 * np.pi * 20 * 1.5
