"""Mountains and hills: layer behind layer, paler with distance."""

from dataclasses import dataclass

import numpy as np

from pocket.brush import Brush, Floats, smooth_line
from pocket.palette import Palette, mix
from pocket.scene import Land, Scene

HORIZONS: dict[Land, float] = {"mountains": 0.58, "hills": 0.52}
"""Where the land meets the sky, 0 to 1 from the top."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """One layer. `crest` (size,) is its outline from the top; `peak` (size,) the abscissa of the
    peak that a column belongs to (mountains only, else None); `summit` the height of that peak."""

    crest: Floats
    peak: Floats | None
    summit: Floats | None


def ranges(scene: Scene, size: int) -> tuple[Range, ...]:
    """The four layers of a scene, the farthest first."""
    rng = np.random.default_rng([scene.seed, 5])
    x = ((np.arange(size) + 0.5) / size).astype(np.float32)
    if scene.land == "mountains":
        far = _mountains(rng, x, base=0.60, low=0.16, high=0.34, peaks=int(rng.integers(3, 5)))
        near = _mountains(rng, x, base=0.66, low=0.10, high=0.22, peaks=int(rng.integers(3, 6)))
        return far, near, _hills(rng, x, 0.665, 0.028, 5), _hills(rng, x, 0.765, 0.018, 3)
    return (
        _hills(rng, x, 0.50, 0.055, 5),
        _hills(rng, x, 0.575, 0.045, 4),
        _hills(rng, x, 0.66, 0.040, 4),
        _hills(rng, x, 0.765, 0.022, 3),
    )


def _hills(rng: np.random.Generator, x: Floats, level: float, height: float, knots: int) -> Range:
    crest = level + height * smooth_line(rng, x.size, knots) + rng.uniform(-0.015, 0.015)
    return Range(crest=crest, peak=None, summit=None)


def _mountains(
    rng: np.random.Generator, x: Floats, *, base: float, low: float, high: float, peaks: int
) -> Range:
    centres = (np.arange(peaks) + rng.uniform(0.15, 0.85, peaks)) / peaks
    heights = rng.uniform(low, high, peaks)
    steep = rng.uniform(0.85, 1.35, (2, peaks))
    offset = x[:, None] - centres[None, :]
    slope = np.where(offset < 0, steep[0], steep[1])
    tents = heights - slope * np.abs(offset)
    which = tents.argmax(axis=1)
    ragged = 0.008 * smooth_line(rng, x.size, 26) + 0.012 * smooth_line(rng, x.size, 12)
    crest = base - np.maximum(tents.max(axis=1), 0.02) + ragged
    return Range(
        crest=crest.astype(np.float32),
        peak=centres[which].astype(np.float32),
        summit=(base - heights[which]).astype(np.float32),
    )


def paint_land(brush: Brush, scene: Scene, colours: Palette) -> tuple[Range, ...]:
    """Every layer on the sheet; returns them, for things to stand on."""
    layers = ranges(scene, brush.size)
    rng = np.random.default_rng([scene.seed, 6])
    for depth, layer in enumerate(layers):
        if layer.peak is None:
            _paint_hill(brush, colours, layer, depth, rng)
        else:
            _paint_mountains(brush, scene, colours, layer, depth, rng)
    return layers


def below(brush: Brush, crest: Floats) -> Floats:
    """(size, size) distance under an outline, corrected for its slope."""
    slope = np.gradient(crest) * brush.size
    return np.asarray((brush.y - crest[None, :]) / np.sqrt(1.0 + slope * slope)[None, :])


def _haze(brush: Brush, colours: Palette, depth: int, under: Floats) -> Floats:
    """The layer's colour, drowning in the horizon's light towards its foot."""
    colour = np.asarray(colours.land[depth], np.float32)
    if brush.flat():
        return np.broadcast_to(colour, (*under.shape, 3))
    air = np.asarray(colours.sky[2], np.float32)
    most = (0.55, 0.42, 0.25, 0.0)[depth]
    share = most * np.clip(under / 0.22, 0.0, 1.0)[..., None]
    return np.asarray(colour + (air - colour) * share)


def _paint_hill(
    brush: Brush, colours: Palette, layer: Range, depth: int, rng: np.random.Generator
) -> None:
    under = below(brush, layer.crest)
    brush.lay(under, _haze(brush, colours, depth, under))
    fold = layer.crest + 0.045 + 0.030 * smooth_line(rng, brush.size, 4)
    shade = mix(colours.land[depth], colours.land[max(0, depth - 1)], 0.35)
    if depth == 3:
        shade = mix(colours.land[3], colours.land[2], 0.30)
        fold = fold + 0.05
    brush.lay(below(brush, fold), shade, opacity=0.55 if brush.flat() else 0.35)


def _paint_mountains(
    brush: Brush,
    scene: Scene,
    colours: Palette,
    layer: Range,
    depth: int,
    rng: np.random.Generator,
) -> None:
    assert layer.peak is not None
    assert layer.summit is not None
    under = below(brush, layer.crest)
    body = _haze(brush, colours, depth, under)
    brush.lay(under, body)

    # the side away from the light, behind a ragged ridge that runs down from each peak
    zigzag = 0.030 * smooth_line(rng, brush.size, 22) + 0.02 * smooth_line(rng, brush.size, 9)
    ridge = (
        brush.x
        - layer.peak[None, :]
        + zigzag[:, None] * np.clip((brush.y - layer.summit[None, :]) * 6, 0.0, 1.0)
    )
    shadow = np.minimum(under, ridge * 0.8)
    brush.lay(shadow, body * np.float32(0.80), opacity=0.85)

    line = {"winter": 0.17, "summer": 0.055, "autumn": 0.075, "desert": 0.0}[scene.season]
    if (line and depth == 0) or scene.season == "winter":
        teeth = 0.016 * smooth_line(rng, brush.size, 24) + 0.012 * smooth_line(rng, brush.size, 40)
        floor = layer.summit.min() + 0.05 + line + teeth[None, :]
        cap = np.minimum(under, np.float32(1) * (floor - brush.y))
        brush.lay(cap, colours.snow)
        brush.lay(np.minimum(cap, ridge * 0.8), mix(colours.snow, colours.land[depth], 0.55))
