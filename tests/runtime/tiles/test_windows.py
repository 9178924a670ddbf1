"""Windows over a grid: together they are all of it, and their weights add up to one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from overpaint.runtime.tiles.windows import blend, cover


@pytest.mark.parametrize("size", [(9, 9), (33, 40), (64, 100), (375, 500)])
@pytest.mark.parametrize(("tile", "overlap"), [((16, 16), 4), ((32, 24), 8), ((64, 64), 16)])
def test_windows_cover_every_cell_and_reach_into_each_other(
    size: tuple[int, int], tile: tuple[int, int], overlap: int
) -> None:
    windows = cover(size, tile, overlap)
    seen = np.zeros(size)
    for one in windows:
        assert (one.height, one.width) == (min(size[0], tile[0]), min(size[1], tile[1]))
        seen[one.of()] += 1
    assert seen.min() == 1 or len(windows) == 1
    lefts = sorted({one.left for one in windows})
    assert all(a + windows[0].width - b >= overlap for a, b in itertools.pairwise(lefts))


@pytest.mark.parametrize("scale", [1, 4])
@pytest.mark.parametrize("quiet", [0, 2])
def test_weights_add_up_to_one_and_fall_to_nothing_at_inner_borders(quiet: int, scale: int) -> None:
    size = (50, 70)
    windows = cover(size, (32, 32), 8)
    whole = np.zeros((size[0] * scale, size[1] * scale))
    weights = blend(windows, size, quiet=quiet, scale=scale)
    for window, weight in zip(windows, weights, strict=True):
        whole[window.of(scale)] += weight
    np.testing.assert_allclose(whole, 1, atol=1e-6)
    inner = next(
        weight
        for window, weight in zip(windows, weights, strict=True)
        if window.left and window.top
    )
    assert inner[:, : max(1, quiet * scale)].max() <= 0.5 / (8 * scale) + 1e-6
