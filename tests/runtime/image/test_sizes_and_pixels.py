"""Sizes that the engines take, and pixels that agree with diffusers' VaeImageProcessor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers.image_processor import VaeImageProcessor
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from overpaint.bundle.errors import SessionError, UsageError
from overpaint.runtime.image import Sides, from_pixels, place, to_pixels

SIDES = Sides(multiple=8, minimum=64, maximum=1024)


def photo(width: int, height: int) -> Image.Image:
    generator = np.random.default_rng(width * 10_000 + height)
    return Image.fromarray(generator.integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize("size", [(64, 64), (130, 201), (517, 389), (1000, 64)])
def test_an_image_enters_exactly_as_in_diffusers(size: tuple[int, int]) -> None:
    image = photo(*size)
    expected = VaeImageProcessor(vae_scale_factor=8).preprocess(image).numpy()
    ours = to_pixels(place(size, SIDES.floor(size)).canvas(image))
    assert ours.dtype == np.float32
    assert np.array_equal(ours, expected)


def test_pixels_leave_exactly_as_in_diffusers() -> None:
    generator = np.random.default_rng(0)
    halves = (np.arange(3 * 64 * 64).reshape(1, 3, 64, 64) % 255 + 0.5) / 255 * 2 - 1
    noise = generator.normal(0, 1, (2, 3, 64, 64))
    for pixels in (halves.astype(np.float32), noise.astype(np.float32)):
        expected = VaeImageProcessor().postprocess(torch.from_numpy(pixels), output_type="pil")
        ours = from_pixels(pixels)
        assert len(ours) == len(pixels)
        for one, other in zip(ours, expected, strict=True):
            assert np.array_equal(np.asarray(one), np.asarray(other))


def test_values_that_are_not_numbers_are_an_error_and_never_a_black_picture() -> None:
    with pytest.raises(SessionError, match="float32"):
        from_pixels(np.full((1, 3, 8, 8), np.nan, np.float32))


@given(st.integers(64, 1024), st.integers(64, 1024))
def test_a_size_of_its_own_is_floored_to_the_multiple(width: int, height: int) -> None:
    floored = SIDES.floor((width, height))
    assert SIDES.check(floored) == floored
    assert 0 <= width - floored[0] < 8
    assert 0 <= height - floored[1] < 8


@pytest.mark.parametrize(
    ("size", "nearest"),
    [((7, 7), "64x64"), ((500, 333), "504x336"), ((64, 4096), "64x1024"), ((512, 8), "512x64")],
)
def test_an_impossible_size_is_refused_with_the_nearest_possible_one(
    size: tuple[int, int], nearest: str
) -> None:
    with pytest.raises(UsageError, match=nearest):
        SIDES.check(size)


def test_a_picture_beyond_the_limits_is_refused_with_a_size_to_ask_for() -> None:
    with pytest.raises(UsageError, match="64x64"):
        SIDES.floor((7, 7))
    with pytest.raises(UsageError, match="1024x512"):
        SIDES.floor((4000, 512))


def test_crop_keeps_proportions_and_cuts_the_overhang_evenly() -> None:
    image = Image.new("RGB", (300, 100), "red")
    image.paste((0, 0, 255), (100, 0, 200, 100))
    cropped = np.asarray(place(image.size, (64, 64), "crop").canvas(image))
    assert (cropped[:, 8:-8] == (0, 0, 255)).all()


def test_pad_shows_the_whole_picture_and_continues_its_border() -> None:
    image = Image.new("RGB", (200, 100), "red")
    image.paste((0, 0, 255), (0, 50, 200, 100))
    padded = np.asarray(place(image.size, (64, 64), "pad").canvas(image))
    assert (padded[:16] == (255, 0, 0)).all()
    assert (padded[48:] == (0, 0, 255)).all()


@pytest.mark.parametrize("mode", ["stretch", "crop", "pad"])
@given(
    own=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_every_resize_mode_gives_the_size_asked_for(
    mode: str, own: tuple[int, int], size: tuple[int, int]
) -> None:
    size = size[0] * 8, size[1] * 8
    for sides in (own, (5000, 1)):
        placement = place(sides, size, mode)
        canvas = placement.canvas(Image.new("RGB", sides))
        left, top, right, bottom = placement.box
        assert canvas.size == size
        assert placement.back(canvas).size == (right - left, bottom - top)
        assert 0 <= left < right <= sides[0]
        assert 0 <= top < bottom <= sides[1]
