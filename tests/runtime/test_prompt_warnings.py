"""Whoever types what has no effect is told so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from tests.doubles.engines import fake_pipeline

from overpaint.runtime import Img2Img
from overpaint.runtime.result import Result


def warnings(result: Result) -> str:
    return "\n".join(result.warnings)


PICTURE = Image.new("RGB", (64, 64), "teal")


@pytest.fixture
def fakes(tmp_path: Path) -> Img2Img:
    return fake_pipeline(tmp_path / "bundle")[0]


@pytest.fixture(scope="module")
def embedded() -> Iterator[Img2Img]:
    with Img2Img.open() as pipe:
        yield pipe


@pytest.mark.parametrize("prompt", ["a (stormy:1.3) sea", "a sea, [boats]", "a sea BREAK a cat"])
def test_weights_that_are_not_read_are_told(fakes: Img2Img, prompt: str) -> None:
    told = "is read as it stands; prompt_weights reads it as a weight"
    assert told in warnings(fakes(PICTURE, prompt))


def test_weights_that_are_read_are_not(fakes: Img2Img) -> None:
    assert "as a weight" not in warnings(fakes(PICTURE, "a (sea:1.3)", prompt_weights=True))


@pytest.mark.parametrize("prompt", ["a sea (stormy)", "a sea: a break", "12:30, a harbour"])
def test_what_is_no_weight_is_not_taken_for_one(fakes: Img2Img, prompt: str) -> None:
    assert "as a weight" not in warnings(fakes(PICTURE, prompt))


def test_a_negative_prompt_that_has_no_say_is_told(fakes: Img2Img) -> None:
    [told] = fakes(PICTURE, "a sea", negative_prompt="rain", guidance_scale=1).warnings
    assert told == "negative_prompt: it has no say: guidance_scale is 1; give one above 1"
    assert fakes(PICTURE, "a sea", negative_prompt="rain", guidance_scale=2).warnings == ()
    assert fakes(PICTURE, "a sea", negative_prompt="", guidance_scale=1).warnings == ()


def test_words_that_the_embedded_model_does_not_know_are_told(embedded: Img2Img) -> None:
    [told] = embedded(PICTURE, "A castle in Winter, by kraken's castle", steps=3).warnings
    assert told.startswith("prompt: the embedded model does not know castle, kraken; ")
    known = "snowy mountains at sunset, a watercolour of a village"
    assert embedded(PICTURE, known, steps=3).warnings == ()
    negative = {"negative_prompt": "a squid", "guidance_scale": 2}
    told, *_ = embedded(PICTURE, known, steps=3, **negative).warnings
    assert "squid" in told
