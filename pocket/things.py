"""What stands in the landscape: a house, trees, a lake."""

import numpy as np

from pocket.brush import Brush, Floats
from pocket.land import Range
from pocket.palette import Colour, Palette, mix
from pocket.scene import Scene


def paint_thing(brush: Brush, scene: Scene, colours: Palette, layers: tuple[Range, ...]) -> None:
    """The scene's thing, on the ground of the nearest layers."""
    rng = np.random.default_rng([scene.seed, 7])
    if scene.thing == "house":
        _house(brush, rng, scene, colours)
    elif scene.thing == "trees":
        _trees(brush, rng, scene, colours)
    elif scene.thing == "lake":
        _lake(brush, rng, scene, colours)


def _box(x: Floats, y: Floats, cx: float, cy: float, half_w: float, half_h: float) -> Floats:
    return np.asarray(np.minimum(half_w - np.abs(x - cx), half_h - np.abs(y - cy)))


def _gable(x: Floats, y: Floats, cx: float, top: float, half_w: float, height: float) -> Floats:
    """A triangle: its tip at (cx, top), its foot `height` below and 2 `half_w` wide."""
    tall = float(np.hypot(half_w, height))
    side = ((y - top) * half_w - np.abs(x - cx) * height) / tall
    return np.asarray(np.minimum(side, top + height - y))


def _house(brush: Brush, rng: np.random.Generator, scene: Scene, colours: Palette) -> None:
    cx, foot = rng.uniform(0.22, 0.78), rng.uniform(0.80, 0.86)
    half, wall = rng.uniform(0.095, 0.125), rng.uniform(0.105, 0.125)
    roof, side = rng.uniform(0.085, 0.105), 1.0 if rng.uniform() < 0.5 else -1.0
    region = brush.around(cx - half * 1.4, foot - wall - 1.8 * roof, cx + half * 1.4, foot + 0.02)
    x, y = brush.x[region], brush.y[region]
    eaves = foot - wall
    chimney = _box(x, y, cx + side * half * 0.5, eaves - roof * 0.70, 0.014, roof * 0.45)
    brush.lay(chimney, mix(colours.wall, colours.trunk, 0.6), region=region)
    brush.lay(_box(x, y, cx, foot - wall / 2, half, wall / 2), colours.wall, region=region)
    shade = mix(colours.wall, colours.trunk, 0.22)
    brush.lay(
        _box(x, y, cx - side * half * 0.72, foot - wall / 2, half * 0.28, wall / 2),
        shade,
        region=region,
    )
    brush.lay(_gable(x, y, cx, eaves - roof, half * 1.25, roof * 1.06), colours.roof, region=region)
    door = mix(colours.trunk, colours.roof, 0.25)
    brush.lay(
        _box(x, y, cx - side * half * 0.42, foot - wall * 0.30, 0.018, wall * 0.30),
        door,
        region=region,
    )
    pane_x, pane_y = cx + side * half * 0.38, foot - wall * 0.52
    if scene.time == "night":
        glow = 0.06 - np.hypot(x - pane_x, y - pane_y)
        brush.lay(glow, colours.window, region=region, soft=0.10, opacity=0.35)
    brush.lay(_box(x, y, pane_x, pane_y, 0.026, 0.024), colours.window, region=region)


def _trees(brush: Brush, rng: np.random.Generator, scene: Scene, colours: Palette) -> None:
    count = int(rng.integers(4, 8))
    xs = (np.arange(count) + rng.uniform(0.1, 0.9, count)) / count
    feet = np.sort(rng.uniform(0.76, 0.93, count))
    order = rng.permutation(count)
    tall = rng.uniform(0.19, 0.27, count)
    tones = rng.integers(0, 3, count)
    bend = rng.uniform(-1, 1, (count, 4))
    for k in range(count):
        x, foot = float(xs[order[k]]), float(feet[k])
        height = float(tall[k]) * (0.75 + 2.0 * (foot - 0.76))
        leaf = colours.leaves[tones[k]]
        if scene.season == "desert":
            _cactus(brush, x, foot, height * 0.85, leaf, bend[k])
        elif scene.land == "mountains":
            _conifer(brush, scene, colours, x, foot, height, leaf)
        else:
            _broadleaf(brush, scene, colours, x, foot, height, leaf, bend[k])


def _conifer(
    brush: Brush, scene: Scene, colours: Palette, x: float, foot: float, height: float, leaf: Colour
) -> None:
    half = height * 0.30
    region = brush.around(x - half, foot - height, x + half, foot)
    px, py = brush.x[region], brush.y[region]
    brush.lay(
        _box(px, py, x, foot - height * 0.06, 0.011, height * 0.07), colours.trunk, region=region
    )
    for share, top, deep in ((1.0, 0.46, 0.44), (0.78, 0.72, 0.44), (0.55, 1.0, 0.46)):
        tier_top = foot - height * top
        tier = _gable(px, py, x, tier_top, half * share, height * deep * 0.9)
        brush.lay(tier, leaf, region=region)
        if scene.season == "winter":
            brush.lay(
                _gable(px, py, x, tier_top, half * share * 0.60, height * deep * 0.50),
                colours.snow,
                region=region,
            )
        else:
            lit_side = np.minimum(tier, x - px - 0.1 * half)
            brush.lay(lit_side, mix(leaf, colours.land[3], 0.30), region=region, opacity=0.7)


def _broadleaf(
    brush: Brush,
    scene: Scene,
    colours: Palette,
    x: float,
    foot: float,
    height: float,
    leaf: Colour,
    bend: Floats,
) -> None:
    radius = height * 0.34
    region = brush.around(x - 2 * radius, foot - 1.2 * height, x + 2 * radius, foot)
    px, py = brush.x[region], brush.y[region]
    brush.lay(
        _box(px, py, x, foot - height * 0.2, 0.013, height * 0.2), colours.trunk, region=region
    )
    crown = np.full_like(px, -1.0)
    top = foot - height * 0.64
    for dx, dy, size in (
        (-0.55, 0.25, 0.72),
        (0.55, 0.25, 0.72),
        (0.0, -0.30, 0.95),
        (0.0, 0.2, 0.9),
    ):
        size = size * (1 + 0.10 * float(bend[0]))
        away = np.hypot(px - x - (dx + 0.12 * float(bend[1])) * radius, py - top - dy * radius)
        crown = np.maximum(crown, size * radius - away)
    brush.lay(crown, leaf, region=region)
    light = 0.72 * radius - np.hypot(px - x + 0.30 * radius, py - top + 0.45 * radius)
    if scene.season == "winter":
        brush.lay(np.minimum(crown, top + 0.05 * radius - py), colours.snow, region=region)
    else:
        brush.lay(
            np.minimum(crown, light), mix(leaf, colours.land[3], 0.35), region=region, opacity=0.75
        )


def _cactus(brush: Brush, x: float, foot: float, height: float, leaf: Colour, bend: Floats) -> None:
    thick = height * 0.085
    region = brush.around(x - height * 0.4, foot - height, x + height * 0.4, foot)
    px, py = brush.x[region], brush.y[region]

    def limb(x0: float, top: float, bottom: float) -> Floats:
        return np.asarray(thick - np.hypot(px - x0, py - np.clip(py, top + thick, bottom)))

    shape = limb(x, foot - height, foot)
    for side, up in ((-1.0, 0.42 + 0.08 * float(bend[0])), (1.0, 0.55 + 0.08 * float(bend[1]))):
        arm = x + side * height * 0.22
        elbow = foot - height * up
        across = thick * 0.85 - np.hypot(px - np.clip(px, min(x, arm), max(x, arm)), py - elbow)
        shape = np.maximum(shape, np.maximum(across, limb(arm, elbow - height * 0.26, elbow)))
    shape = np.minimum(shape, foot - py)
    brush.lay(shape, leaf, region=region)
    brush.lay(np.minimum(shape, x - 0.2 * thick - px), mix(leaf, (1, 1, 1), 0.16), region=region)


def _lake(brush: Brush, rng: np.random.Generator, scene: Scene, colours: Palette) -> None:
    cx, cy = rng.uniform(0.35, 0.65), rng.uniform(0.85, 0.875)
    wide, deep = rng.uniform(0.33, 0.46), rng.uniform(0.085, 0.105)
    phase = rng.uniform(0, 6.28, 2)
    dx, dy = (brush.x - cx) / wide, (brush.y - cy) / deep
    shore = (
        1
        + 0.10 * np.sin(3 * np.arctan2(dy, dx) + phase[0])
        + 0.05 * np.sin(5 * np.arctan2(dy, dx) + phase[1])
    )
    inside = (shore - np.hypot(dx, dy)) * deep * 0.8
    top = cy - deep
    # the far shore upside down, stretched so that the sky comes into the water too
    up = np.clip((top - (brush.y[:, 0] - top) * 2.6) * brush.size, 0, brush.size - 1).astype(int)
    mirror = brush.picture[up]
    still = np.asarray(mix(colours.sky[1], colours.sky[0], 0.35), np.float32)
    water = mirror * 0.50 + still * 0.50
    if scene.season == "winter":
        water = water * 0.55 + np.asarray(colours.snow, np.float32) * 0.45 * np.float32(0.93)
    brush.lay(inside + 0.008, mix(colours.land[3], colours.land[1], 0.45))
    brush.lay(inside, water)
    ripple_at = np.random.default_rng([scene.seed, 8])
    for _ in range(4):
        rx, ry = cx + ripple_at.uniform(-0.6, 0.6) * wide, cy + ripple_at.uniform(-0.6, 0.7) * deep
        long = ripple_at.uniform(0.04, 0.09)
        region = brush.around(rx - long, ry - 0.01, rx + long, ry + 0.01)
        px, py = brush.x[region] - rx, brush.y[region] - ry
        streak = np.minimum(0.006 * (1 - np.square(px / long)) - np.abs(py), inside[region])
        brush.lay(streak, mix(colours.sky[2], (1, 1, 1), 0.3), region=region, opacity=0.75)
