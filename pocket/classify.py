"""Measurements on a picture: which season and time its colours are, which style its texture is,
and whether two pictures have their outlines in the same places. No learning: the references are
the painter's own palettes and geometry."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from pocket.brush import PAPER
from pocket.land import HORIZONS, ranges
from pocket.palette import SKIES, palette
from pocket.scene import LANDS, Scene, Season, Style, Time

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]

SKY_ROWS = (0.06, 0.12, 0.18, 0.24, 0.30)
GROUND_ROWS = ((0.70, 0.76), (0.93, 0.965))
GROUND_WEIGHT = 2.0


def season_and_time(picture: Picture) -> tuple[Season, Time]:
    """The (season, time) whose palette is nearest to the sky's and the ground's colours."""
    seen = _colours(picture)
    distance = {key: _distance(seen, key) for key in SKIES}
    return min(distance, key=distance.__getitem__)


def _distance(seen: Floats, key: tuple[Season, Time]) -> float:
    weights = np.array([1.0] * len(SKY_ROWS) + [GROUND_WEIGHT] * len(GROUND_ROWS))
    return min(
        float((weights[:, None] * np.square(seen - expected)).sum())
        for expected in _references(*key)
    )


def _colours(picture: Picture) -> Floats:
    """Median colours of thin strips of sky and of ground, (rows, 3) in [0, 1]."""
    size = picture.shape[0]
    inner = picture[:, size // 16 : -size // 16].astype(np.float32) / 255.0
    strips = [(y - 0.02, y + 0.02) for y in SKY_ROWS] + list(GROUND_ROWS)
    return np.stack(
        [
            np.median(inner[int(a * size) : int(b * size) + 1].reshape(-1, 3), axis=0)
            for a, b in strips
        ]
    )


@cache
def _references(season: Season, time: Time) -> tuple[Floats, ...]:
    """What `_colours` should see, for both lands and both styles."""
    colours = palette(season, time)
    references = []
    for land in LANDS:
        end = HORIZONS[land] + 0.05
        knots = np.array([0.0, end / 2, end])
        sky = np.stack(
            [
                [np.interp(y, knots, [stop[c] for stop in colours.sky]) for c in range(3)]
                for y in SKY_ROWS
            ]
        )
        ground = np.array([colours.land[2], colours.land[3]])
        poster = np.concatenate([sky, ground]).astype(np.float32)
        references += [poster, PAPER - (PAPER - poster) * np.float32(0.90)]
    return tuple(references)


def margin(picture: Picture) -> float:
    """Mean distance of the outermost pixels to bare paper, 0 to 255: small for a watercolour."""
    p = picture.astype(np.float32)
    ring = np.concatenate([p[0], p[-1], p[:, 0], p[:, -1]])
    return float(np.abs(ring - 255.0 * PAPER).mean())


def style(picture: Picture) -> Style:
    """Which style a picture is in, by its margin of bare paper."""
    return "watercolour" if margin(picture) < 24.0 else "poster"


def gradient_energy(picture: Picture) -> float:
    """Mean squared difference of neighbouring pixels, across and down: little where it is blurred
    (energy of gradient: Subbarao et al., 1993)."""
    p = picture.astype(np.float32)
    return float(np.square(np.diff(p, axis=1)).mean() + np.square(np.diff(p, axis=0)).mean())


def edges(picture: Picture) -> Floats:
    """(size, size) strength of outlines: the gradient over all channels, slightly blurred."""
    p = picture.astype(np.float32)
    across = np.abs(np.gradient(p, axis=1)).sum(axis=2)
    down = np.abs(np.gradient(p, axis=0)).sum(axis=2)
    return np.asarray(gaussian_filter(np.sqrt(np.hypot(across, down)), 1.2), np.float32)


def edge_correlation(a: Picture, b: Picture, scene: Scene) -> float:
    """Pearson correlation of the outlines of two pictures near the scene's skyline, -1 to 1."""
    size = a.shape[0]
    crest = np.minimum.reduce([layer.crest for layer in ranges(scene, size)])
    rows = (np.arange(size)[:, None] + 0.5) / size
    near = np.abs(rows - crest[None, :]) < 0.12
    near[:, : size // 12] = near[:, -size // 12 :] = False
    return float(np.corrcoef(edges(a)[near], edges(b)[near])[0, 1])
