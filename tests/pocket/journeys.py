"""Held-out scenes on their way to another season at another time of day, by the shipped bundle."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pocket.painter import paint
from pocket.scene import SEASONS, TIMES, Scene, held_out_scene

from overpaint.runtime import Img2Img

Picture = NDArray[np.uint8]
COUNT = 32
STEPS = 14
WHEN = {"noon": "at noon", "sunset": "at sunset", "night": "at night"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Journey:
    """A painted scene, and the one that the prompt asks for: the same place, repainted."""

    origin: Scene
    goal: Scene
    seed: int

    @property
    def picture(self) -> Picture:
        return paint(self.origin)

    @property
    def prompt(self) -> str:
        return f"{self.goal.season} {self.goal.land} {WHEN[self.goal.time]}"


def journeys() -> tuple[Journey, ...]:
    """32 held-out scenes; every season leads to every other one, every time to every other."""
    out = []
    for index in range(COUNT):
        origin = held_out_scene(index)
        season = SEASONS[(SEASONS.index(origin.season) + 1 + index % 3) % 4]
        time = TIMES[(TIMES.index(origin.time) + 1 + index % 2) % 3]
        out.append(
            Journey(origin=origin, goal=replace(origin, season=season, time=time), seed=index)
        )
    return tuple(out)


JOURNEYS = journeys()


@cache
def pipe() -> Img2Img:
    """The embedded model, opened once."""
    return Img2Img.open(device="cpu")


@cache
def repainted(
    index: int,
    strength: float,
    style: str = "",
    guidance: float | None = None,
    negative: str | None = None,
) -> Picture:
    """Journey `index` at a strength; `style` is appended to the prompt."""
    journey = JOURNEYS[index]
    result = pipe()(
        Image.fromarray(journey.picture),
        journey.prompt + style,
        strength=strength,
        steps=STEPS,
        guidance_scale=guidance,
        negative_prompt=negative,
        seed=journey.seed,
    )
    return np.asarray(result.images[0].convert("RGB"))
