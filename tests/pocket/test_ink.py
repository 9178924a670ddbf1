"""The LoRA that ships: ink, a style that the embedded model was not taught, by its weight."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pocket.ink import in_ink
from pocket.painter import paint
from pocket.scene import held_out_scene

from overpaint.runtime import Img2Img

COUNT = 4


@pytest.fixture(scope="module")
def pipe() -> Iterator[Img2Img]:
    with Img2Img.open() as opened:
        yield opened


def shown(pipe: Img2Img, weight: float) -> NDArray[np.float64]:
    """Held-out scenes (N,H,W,3), repainted as what they are."""
    made = []
    for index in range(COUNT):
        scene = held_out_scene(index)
        prompt = f"{scene.season} {scene.land} at {scene.time}"
        picture = Image.fromarray(paint(scene))
        result = pipe(picture, prompt, strength=0.5, seed=index, lora={"ink": weight})
        made.append(np.asarray(result.images[0].convert("RGB"), np.float64))
    return np.stack(made)


def colourfulness(pictures: NDArray[np.float64]) -> float:
    """Mean spread of the three channels."""
    return float((pictures.max(-1) - pictures.min(-1)).mean())


def test_more_of_it_leaves_less_colour(pipe: Img2Img) -> None:
    spread = [colourfulness(shown(pipe, weight)) for weight in (0.0, 0.5, 1.0)]
    assert spread[0] > spread[1] > spread[2]
    assert spread[2] < 0.4 * spread[0]


def test_at_1_it_is_nearer_to_the_painters_ink_than_without(pipe: Img2Img) -> None:
    drawn = np.stack([in_ink(paint(held_out_scene(index))) for index in range(COUNT)])
    with_it, without = (np.abs(shown(pipe, weight) - drawn).mean() for weight in (1.0, 0.0))
    assert with_it < 0.6 * without
