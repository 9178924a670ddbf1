"""A drawing as it is drawn: broad strokes of flat colour, a little further in each frame."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, ImageDraw

SIZE = 128
SKY = (150, 190, 225)
FINER = 3
"""Strokes are drawn so many times as large, for soft edges."""


@dataclass(frozen=True, slots=True)
class Stroke:
    """A brush of a colour and a width led through points (x, y), all in pixels."""

    colour: tuple[int, int, int]
    width: int
    points: tuple[tuple[float, float], ...]

    @property
    def length(self) -> float:
        """Of the way, in pixels; a dab counts as one as long as it is wide."""
        return sum(map(math.dist, self.points, self.points[1:])) or float(self.width)


ROCK, GRASS, SUN, ROOF, WALL = (
    (120, 115, 150),
    (96, 140, 70),
    (240, 225, 120),
    (140, 60, 50),
    (225, 210, 190),
)
LANDSCAPE = (
    Stroke(SUN, 22, ((96, 26),)),
    Stroke(ROCK, 14, ((0, 78), (22, 48), (40, 74), (60, 38), (84, 72), (104, 50), (128, 80))),
    Stroke(ROCK, 16, ((0, 86), (22, 62), (40, 82), (60, 56), (84, 82), (104, 66), (128, 86))),
    Stroke(GRASS, 26, ((0, 102), (60, 97), (128, 104))),
    Stroke(GRASS, 26, ((128, 121), (0, 121))),
    Stroke(WALL, 13, ((37, 102), (49, 102))),
    Stroke(ROOF, 7, ((30, 97), (43, 86), (56, 97))),
)


def frames(count: int) -> Iterator[Image.Image]:
    """So many moments of `LANDSCAPE`, from the empty sheet to the last stroke, (128, 128) RGB."""
    whole = sum(stroke.length for stroke in LANDSCAPE)
    for k in range(count):
        yield _sheet(whole * k / (count - 1))


def _sheet(drawn: float) -> Image.Image:
    """The drawing after so many pixels of way."""
    sheet = Image.new("RGB", (SIZE * FINER, SIZE * FINER), SKY)
    pen = ImageDraw.Draw(sheet)
    for stroke in LANDSCAPE:
        if drawn <= 0:
            break
        _draw(pen, stroke, _until(stroke, drawn))
        drawn -= stroke.length
    return sheet.resize((SIZE, SIZE), Image.Resampling.BOX)


def _until(stroke: Stroke, drawn: float) -> list[tuple[float, float]]:
    """The points that a stroke has passed after so much of its way, the last one on its way."""
    passed = [stroke.points[0]]
    for before, after in zip(stroke.points, stroke.points[1:], strict=False):
        share = min(drawn / math.dist(before, after), 1.0)
        x, y = (a + (b - a) * share for a, b in zip(before, after, strict=True))
        passed.append((x, y))
        drawn -= math.dist(before, after)
        if drawn <= 0:
            break
    return passed


def _draw(pen: ImageDraw.ImageDraw, stroke: Stroke, points: list[tuple[float, float]]) -> None:
    large = [(x * FINER, y * FINER) for x, y in points]
    radius = stroke.width * FINER / 2
    if len(large) > 1:
        pen.line(large, fill=stroke.colour, width=stroke.width * FINER)
    for x, y in large:
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=stroke.colour)
