"""How paint meets paper: shapes are signed distances, and a style says how one is filled."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket.palette import Colour
from pocket.scene import Style

Floats = NDArray[np.floating[Any]]
Region = tuple[slice, slice]
EVERYWHERE: Region = (slice(None), slice(None))
PAPER = np.array((0.97, 0.95, 0.90), np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Brush:
    """A sheet in the making and what a style does to each layer laid on it.

    `picture` (size, size, 3) in [0, 1] is painted in place. `x`, `y` (size, size) are the pixel
    centres, 0 to 1 from the left and from the top. `wobble` moves outlines and `wash` (about
    zero) varies how much pigment lies where: both are smooth, and zero for a poster.
    """

    style: Style
    size: int
    picture: Floats
    x: Floats
    y: Floats
    wobble: Floats
    wash: Floats

    def around(self, left: float, top: float, right: float, bottom: float) -> Region:
        """The pixels of a box with a small margin, so that small shapes cost little."""
        low, high = 3, 4
        rows = slice(max(0, int(top * self.size) - low), max(0, int(bottom * self.size) + high))
        columns = slice(max(0, int(left * self.size) - low), max(0, int(right * self.size) + high))
        return rows, columns

    def lay(
        self,
        inside: Floats,
        colour: Colour | Floats,
        *,
        region: Region = EVERYWHERE,
        soft: float = 0.0,
        opacity: float = 1.0,
    ) -> None:
        """Fill where `inside` (signed distance to the outline, positive inside) is positive.

        `soft` is the width of a soft edge in the same unit (0: one pixel, anti-aliased).
        """
        if self.style == "watercolour":
            inside = inside + self.wobble[region]
        width = max(soft, 1.0 / self.size)
        cover = np.clip(inside / width + 0.5, 0.0, 1.0)
        paint = np.asarray(colour, np.float32)
        if paint.ndim == 1:
            paint = np.broadcast_to(paint, (*cover.shape, 3))
        if self.style == "watercolour":
            # pigment gathers at a wet edge, and thins out where the wash ran
            edge = np.exp(-np.square(inside * (1.0 / 0.016))) * (0.0 if soft else 0.20)
            pigment = (1.0 + self.wash[region] + edge)[..., None]
            paint = PAPER - (PAPER - paint) * pigment
        picture = self.picture[region]
        picture += (paint - picture) * (cover * opacity)[..., None]

    def flat(self) -> bool:
        """Whether areas are filled with one colour."""
        return self.style == "poster"


@lru_cache(maxsize=32)
def _basis(size: int, knots: int) -> Floats:
    """(size, knots) weights of a smooth interpolation through evenly spaced knots."""
    at = (np.arange(size) + 0.5) / size * (knots - 1)
    distance = np.abs(at[:, None] - np.arange(knots)[None, :])
    weight = np.exp(-np.square(distance) * 1.6)
    weight /= weight.sum(axis=1, keepdims=True)
    return np.asarray(weight, np.float32)


def smooth_noise(rng: np.random.Generator, size: int, knots: int) -> Floats:
    """(size, size) smooth noise about zero, of unit order, with `knots` bumps a side."""
    values = rng.standard_normal((knots, knots)).astype(np.float32)
    return np.asarray(_basis(size, knots) @ values @ _basis(size, knots).T)


def smooth_line(rng: np.random.Generator, size: int, knots: int) -> Floats:
    """(size,) smooth noise about zero."""
    return np.asarray(_basis(size, knots) @ rng.standard_normal(knots).astype(np.float32))


def fresh_sheet(style: Style, size: int, seed: int) -> Brush:
    """An empty sheet of `size` x `size` pixels."""
    line = ((np.arange(size) + 0.5) / size).astype(np.float32)
    y, x = np.meshgrid(line, line, indexing="ij")
    wobble = np.zeros((size, size), np.float32)
    wash = wobble
    if style == "watercolour":
        rng = np.random.default_rng([seed, 1])
        wobble = 0.004 * smooth_noise(rng, size, 18)
        wash = -0.10 + 0.13 * smooth_noise(rng, size, 7) + 0.07 * smooth_noise(rng, size, 16)
    picture = np.empty((size, size, 3), np.float32)
    picture[:] = PAPER
    return Brush(style=style, size=size, picture=picture, x=x, y=y, wobble=wobble, wash=wash)
