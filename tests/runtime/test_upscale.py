"""Enlarging: a picture grows and keeps what it shows; text to image has a second pass."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from overpaint.bundle.errors import UsageError
from overpaint.runtime import Img2Img
from overpaint.runtime.metadata import read_parameters
from overpaint.runtime.request import Request
from overpaint.runtime.result import Complete, Step
from overpaint.runtime.settings import Settings

SUMMER = Path(__file__).parents[2] / "examples/summer.png"


@pytest.fixture(scope="module")
def pipe() -> Iterator[Img2Img]:
    with Img2Img.open() as opened:
        yield opened


def test_a_picture_is_enlarged_and_repainted_a_little(pipe: Img2Img) -> None:
    picture = Image.open(SUMMER).convert("RGB")
    larger = pipe(picture, "summer mountains", upscale=2, seed=3)
    assert larger.images[0].size == (256, 256)
    assert larger.parameters.resolved.strength == 0.3
    back = np.asarray(larger.images[0].resize((128, 128))).astype(int)
    assert np.abs(back - np.asarray(picture)).mean() < 30
    same = pipe(picture, "summer mountains", size=(256, 256), strength=0.3, tile="auto", seed=3)
    assert same.images[0].tobytes() == larger.images[0].tobytes()


def test_text_to_image_is_painted_small_and_then_large(pipe: Img2Img, tmp_path: Path) -> None:
    asked = Settings(
        size=(128, 96), upscale=2, upscale_strength=0.5, upscale_steps=3, steps=5, seed=4, n=2
    )
    *steps, last = pipe.events(Request(None, "winter mountains", asked))
    assert isinstance(last, Complete)
    counted = [(one.index, one.total) for one in steps if isinstance(one, Step)]
    assert [index for index, _ in counted] == list(range(1, len(counted) + 1))
    assert counted[-1][0] == counted[-1][1]
    result = last.result
    assert [one.size for one in result.images] == [(256, 192)] * 2
    assert (result.seeds, result.steps_run) == ((4, 5), 5 + 3)

    small = pipe.text_to_image("winter mountains", size=(128, 96), steps=5, seed=5).images[0]
    by_hand = pipe(
        small,
        "winter mountains",
        size=(256, 192),
        strength=0.5,
        steps=3,
        steps_mode="exact",
        seed=5,
        tile="auto",
    )
    assert result.images[1].tobytes() == by_hand.images[0].tobytes()

    result.images[1].save(tmp_path / "out.png")
    said = read_parameters(tmp_path / "out.png")
    assert (said["size"], said["upscale"], said["strength"]) == ([128, 96], 2, None)
    told = result.images[1].parameters.infotext()
    assert "Denoising strength: 0.5, Hires upscale: 2, Hires steps: 3" in told


def test_what_is_about_enlarging_says_so() -> None:
    with pytest.raises(UsageError, match="upscale_steps: it is about upscale"):
        Settings(upscale_steps=3)


def test_a_mask_keeps_the_pictures_size(pipe: Img2Img) -> None:
    with pytest.raises(UsageError, match="upscale: a mask keeps the picture's own size"):
        pipe(SUMMER, "mountains", upscale=2, mask=Image.new("L", (128, 128), 255))
