"""The same place twice: a scene, and the scene in another season at another time of day.

Image to image starts from a picture that contradicts the prompt, which training on single scenes
never shows. Here what is left of the other picture is part of the noise to be removed: at the
start, time t0, of a run x = a0 y + s0 e; with n = e + a0/s0 (y - x0) that is a0 x0 + s0 n, and on
the deterministic trajectory to x0 (DDIM; Song et al., 2021) n stays what it is.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pocket.scene import SEASONS, STYLES, TIMES, Scene, random_scene

NAMED = frozenset({"season", "time"})
"""What a caption must say about a pair: all that a reader could not take from the other picture."""


KEEPS, OBEYS = 200.0, 400.0
"""A run that starts before the first time keeps its picture, whatever the caption says; one that
starts after the second ends in the caption's. This is what strength means to the model."""


def obedience(time: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share, 0 to 1, of the runs from each time, 0 to 1000, that end in the caption's scene."""
    return np.clip((time - KEEPS) / (OBEYS - KEEPS), 0.0, 1.0)


def counterpart(scene: Scene) -> Scene:
    """The scene elsewhere in the year and the day; a third of them in the other style too."""
    rng = np.random.default_rng([scene.seed, 10])
    return replace(
        scene,
        season=SEASONS[(SEASONS.index(scene.season) + rng.integers(1, 4)) % 4],
        time=TIMES[(TIMES.index(scene.time) + rng.integers(1, 3)) % 3],
        style=STYLES[rng.integers(2)] if rng.uniform() < 2 / 3 else scene.style,
    )


def pair(row: int, swapped: bool) -> tuple[Scene, Scene]:
    """The scene that a run should end in, and the one that it starts from."""
    scene = random_scene(row)
    other = counterpart(scene)
    return (other, scene) if swapped else (scene, other)


def must_name(goal: Scene, start: Scene) -> frozenset[str]:
    """The properties that a caption of `goal` has to hold."""
    return NAMED | ({"style"} if goal.style != start.style else set())
