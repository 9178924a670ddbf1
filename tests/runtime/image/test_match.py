"""A result with the input's colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from overpaint.bundle.errors import UsageError
from overpaint.runtime import Img2Img
from overpaint.runtime.image.match import from_lab, matched, to_lab

SUMMER = Path(__file__).parents[3] / "examples/summer.png"


def test_lab_is_the_one_of_the_standard_and_comes_back() -> None:
    """L*, a*, b* of sRGB's corners, as published (Lindbloom's calculator, D65)."""
    corners = Image.new("RGB", (3, 1))
    corners.putdata([(255, 0, 0), (0, 0, 255), (255, 255, 255)])
    wanted = [[53.24, 80.09, 67.20], [32.30, 79.19, -107.86], [100, 0, 0]]
    np.testing.assert_allclose(to_lab(corners)[0], wanted, atol=0.02)
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    assert np.array_equal(np.asarray(from_lab(to_lab(Image.fromarray(noise)))), noise)


def test_a_picture_matched_to_itself_stays() -> None:
    picture = Image.open(SUMMER).convert("RGB")
    for how in ("mean", "histogram"):
        again = np.asarray(matched(picture, picture, how)).astype(int)
        assert np.abs(again - np.asarray(picture)).max() <= 1


@pytest.mark.parametrize("how", ["mean", "histogram"])
def test_a_night_is_painted_in_the_colours_of_the_day(how: str) -> None:
    """The embedded model's winter night is 30 units of L*a*b* away from the summer picture on the
    mean; with its colours matched it is where that is (histogram: in a* and b*)."""
    with Img2Img.open() as pipe:
        asked = {"strength": 0.5, "seed": 3}
        plain = pipe(SUMMER, "winter mountains at night", **asked)  # type: ignore[arg-type]
        kept = pipe(SUMMER, "winter mountains at night", match_colour=how, **asked)  # type: ignore[arg-type]
    means = [
        to_lab(one).mean(axis=(0, 1))
        for one in (Image.open(SUMMER), plain.images[0], kept.images[0])
    ]
    seen = slice(0 if how == "mean" else 1, 3)
    before, after = (np.abs(one - means[0])[seen].max() for one in means[1:])
    assert before > 10
    assert after < 2.5


def test_text_to_image_has_no_colours_to_keep() -> None:
    with Img2Img.open() as pipe, pytest.raises(UsageError, match="match_colour needs an image"):
        pipe.text_to_image("mountains", size=(64, 64), match_colour="mean")
