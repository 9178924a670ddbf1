"""From a scene to its picture."""

import numpy as np
from numpy.typing import NDArray

from pocket.brush import PAPER, Brush, fresh_sheet, smooth_line
from pocket.land import HORIZONS, paint_land
from pocket.palette import palette
from pocket.scene import Scene
from pocket.sky import paint_sky
from pocket.things import paint_thing

SIZE = 128


def paint(scene: Scene, size: int = SIZE) -> NDArray[np.uint8]:
    """The picture of a scene, (size, size, 3) uint8: the same bytes for the same scene."""
    brush = fresh_sheet(scene.style, size, scene.seed)
    colours = palette(scene.season, scene.time)
    paint_sky(brush, scene, colours, HORIZONS[scene.land])
    layers = paint_land(brush, scene, colours)
    paint_thing(brush, scene, colours, layers)
    if scene.style == "watercolour":
        _leave_a_margin(brush, scene.seed)
    return np.asarray(np.clip(brush.picture, 0.0, 1.0) * 255.0 + 0.5, np.uint8)


def _leave_a_margin(brush: Brush, seed: int) -> None:
    """Bare paper along the sides, where the brush stopped short."""
    rng = np.random.default_rng([seed, 9])
    left, right, top, bottom = (0.018 + 0.008 * smooth_line(rng, brush.size, 9) for _ in range(4))
    inside = np.minimum(
        np.minimum(brush.x - left[:, None], 1 - brush.x - right[:, None]),
        np.minimum(brush.y - top[None, :], 1 - brush.y - bottom[None, :]),
    )
    bare = np.clip(0.5 - inside / 0.010, 0.0, 1.0)[..., None]
    brush.picture[:] += (PAPER - brush.picture) * bare
