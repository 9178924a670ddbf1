"""Enlarging: a picture grows and keeps what it shows; text to image has a second pass."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from overpaint.bundle.errors import UsageError
from overpaint.runtime import Img2Img
from overpaint.runtime.infotext import said_in
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


def test_latents_are_enlarged_instead_of_the_picture(pipe: Img2Img) -> None:
    picture = Image.open(SUMMER).convert("RGB").resize((96, 64))
    how = {"upscale": 2, "strength": 0.6, "seed": 3}
    pixels, latents = (
        pipe(picture, "summer mountains", resize=resize, **how).images[0]
        for resize in ("stretch", "latents")
    )
    assert latents.size == pixels.size == (192, 128)
    apart = np.abs(np.asarray(latents).astype(int) - np.asarray(pixels)).mean()
    assert 1 < apart < 40  # the same scene, by another way
    asked = Settings(size=(128, 96), upscale=2, resize="latents", steps=2, seed=4)
    *_, last = pipe.events(Request(None, "winter mountains", asked))
    assert isinstance(last, Complete)
    told = last.result.images[0].parameters.infotext()
    assert "Hires upscaler: Latent" in told
    assert said_in({"parameters": told}).settings["resize"] == "latents"


def test_latents_take_any_size_at_once_or_in_tiles(pipe: Img2Img) -> None:
    """With nothing to run, what comes back is the VAE's of the stretched latents."""
    photo = Image.open(SUMMER).convert("RGB").resize((101, 70))
    for size, tile in (((160, 96), None), ((64, 64), None), ((320, 192), "128x128")):
        asked = {"size": size, "resize": "latents", "strength": 0.0, "tile": tile}
        back = pipe(photo, "mountains", **asked).images[0]
        assert back.size == size
        given = np.asarray(photo.resize(size, Image.Resampling.BICUBIC)).astype(int)
        assert np.abs(np.asarray(back) - given).mean() < 16


def test_pixels_are_resized_where_they_have_to_be(pipe: Img2Img) -> None:
    with pytest.raises(UsageError, match="resize: with a mask, pixels are"):
        pipe(SUMMER, "mountains", resize="latents", mask=Image.new("L", (128, 128), 255))
    with pytest.raises(UsageError, match="resize: a live run's frames"):
        pipe.live("mountains", resize="latents")


def test_what_is_about_enlarging_says_so() -> None:
    with pytest.raises(UsageError, match="upscale_steps: it is about upscale"):
        Settings(upscale_steps=3)


def test_a_mask_keeps_the_pictures_size(pipe: Img2Img) -> None:
    with pytest.raises(UsageError, match="upscale: a mask keeps the picture's own size"):
        pipe(SUMMER, "mountains", upscale=2, mask=Image.new("L", (128, 128), 255))
