"""Sky, sun or moon, stars and clouds."""

import numpy as np

from pocket.brush import Brush, Floats
from pocket.palette import Palette, mix
from pocket.scene import Scene

BANDS = 7


def paint_sky(brush: Brush, scene: Scene, colours: Palette, horizon: float) -> None:
    """Everything above `horizon` (0 to 1 from the top)."""
    rng = np.random.default_rng([scene.seed, 2])
    body_x, high, low = rng.uniform(0.18, 0.82), rng.uniform(0.12, 0.22), rng.uniform(0.0, 0.05)
    body_y = horizon - 0.16 - low if scene.time == "sunset" else high
    radius = rng.uniform(0.050, 0.068)
    away = np.hypot(brush.x - body_x, brush.y - body_y)

    brush.lay(np.ones_like(brush.y), _gradient(brush, colours, horizon))
    _glow(brush, scene, colours, away, radius)
    if scene.time == "night":
        _stars(brush, np.random.default_rng([scene.seed, 3]), horizon, away)
    brush.lay(radius - away, colours.body, opacity=0.98)
    if scene.time == "night":
        _craters(brush, colours, body_x, body_y, radius)
    _clouds(brush, np.random.default_rng([scene.seed, 4]), scene, colours, horizon)


def _gradient(brush: Brush, colours: Palette, horizon: float) -> Floats:
    down = np.clip(brush.y / (horizon + 0.05), 0.0, 1.0)
    if brush.flat():
        down = (np.floor(down * BANDS) + 0.5) / BANDS
    top, middle, bottom = (np.asarray(c, np.float32) for c in colours.sky)
    t = down[..., None]
    upper = top + (middle - top) * np.clip(2 * t, 0, 1)
    lower = middle + (bottom - middle) * np.clip(2 * t - 1, 0, 1)
    return np.asarray(np.where(t < 0.5, upper, lower))


def _glow(brush: Brush, scene: Scene, colours: Palette, away: Floats, radius: float) -> None:
    strong = {"noon": 0.45, "sunset": 0.55, "night": 0.28}[scene.time]
    if brush.flat():
        for ring, share in ((3.0, 0.3), (1.9, 0.5)):
            brush.lay(ring * radius - away, colours.body, opacity=strong * share)
        return
    halo = strong * np.exp(-np.square(away / (3.2 * radius)))[..., None]
    picture = brush.picture
    picture += (np.asarray(colours.body, np.float32) - picture) * halo


def _craters(brush: Brush, colours: Palette, x: float, y: float, radius: float) -> None:
    for dx, dy, size in ((-0.35, -0.25, 0.26), (0.30, 0.30, 0.20), (0.15, -0.45, 0.14)):
        away = np.hypot(brush.x - x - dx * radius, brush.y - y - dy * radius)
        brush.lay(size * radius - away, mix(colours.body, colours.sky[2], 0.30), opacity=0.8)


def _stars(brush: Brush, rng: np.random.Generator, horizon: float, away: Floats) -> None:
    """Few and round, a pixel or two wide: what a small autoencoder can keep."""
    for _ in range(26):
        x, y = rng.uniform(0.02, 0.98), rng.uniform(0.02, horizon - 0.06)
        radius = 0.0045 + 0.0055 * rng.uniform() ** 2
        region = brush.around(x - 0.015, y - 0.015, x + 0.015, y + 0.015)
        if away[region].size == 0 or away[region].min() < 0.10:
            continue
        distance = np.hypot(brush.x[region] - x, brush.y[region] - y)
        shine = np.clip((radius - distance) * brush.size + 0.5, 0.0, 1.0)[..., None]
        picture = brush.picture[region]
        picture += (np.array((1.0, 0.98, 0.88), np.float32) - picture) * shine


def _clouds(
    brush: Brush, rng: np.random.Generator, scene: Scene, colours: Palette, horizon: float
) -> None:
    count = rng.integers(0, 4)
    for _ in range(count):
        x, y = rng.uniform(0.05, 0.95), rng.uniform(0.10, max(0.16, horizon - 0.22))
        length, height = rng.uniform(0.09, 0.16), rng.uniform(0.028, 0.045)
        puffs = rng.uniform(-1, 1, 4)
        region = brush.around(x - 1.6 * length, y - 2.8 * height, x + 1.6 * length, y + height)
        px, py = brush.x[region] - x, brush.y[region] - y
        shape = np.full_like(px, -1.0)
        for k, puff in enumerate(puffs):
            cx, size = (k - 1.5) / 1.5 * 0.75 * length, height * (1.35 + 0.45 * puff)
            if k in (0, 3):
                size *= 0.72
            shape = np.maximum(shape, size - np.hypot((px - cx) * 0.62, py + 0.35 * height))
        shape = np.minimum(shape, 0.5 * height - py)  # a flat underside
        soft = 0.0 if brush.flat() else 0.022
        thick = {"noon": 0.92, "sunset": 0.75, "night": 0.60}[scene.time]
        brush.lay(shape, colours.cloud, region=region, soft=soft, opacity=thick)
