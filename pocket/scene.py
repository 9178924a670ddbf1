"""What a picture shows, as data: the words that a caption may say and the seed of its geometry."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

Season = Literal["summer", "autumn", "winter", "desert"]
Time = Literal["noon", "sunset", "night"]
Land = Literal["mountains", "hills"]
Thing = Literal["house", "trees", "lake", "nothing"]
Style = Literal["poster", "watercolour"]

SEASONS: tuple[Season, ...] = get_args(Season)
TIMES: tuple[Time, ...] = get_args(Time)
LANDS: tuple[Land, ...] = get_args(Land)
THINGS: tuple[Thing, ...] = get_args(Thing)
STYLES: tuple[Style, ...] = get_args(Style)

HELD_OUT = 1_000_000_000
"""Seeds from here on are never painted for training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One landscape. The geometry hangs on `seed`, `land` and `thing` alone, so that
    `dataclasses.replace(scene, season="winter")` is the same place in another season."""

    season: Season
    time: Time
    land: Land
    thing: Thing
    style: Style
    seed: int


def random_scene(seed: int) -> Scene:
    """The scene number `seed`: every property drawn evenly and independently."""
    rng = np.random.default_rng([seed, 0])
    return Scene(
        season=SEASONS[rng.integers(len(SEASONS))],
        time=TIMES[rng.integers(len(TIMES))],
        land=LANDS[rng.integers(len(LANDS))],
        thing=THINGS[rng.integers(len(THINGS))],
        style=STYLES[rng.integers(len(STYLES))],
        seed=seed,
    )


def held_out_scene(index: int) -> Scene:
    """Scene `index` (from 0) of the held-out set."""
    return random_scene(HELD_OUT + index)
