"""Further settings come from the server's schema, and a painting's own settings from its file."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from playwright.sync_api import expect
from tests.serve.engine import Knobs, fake_served
from tests.serve.page.conftest import Open
from tests.serve.page.easel import Easel, decoded, flat, halves
from tests.serve.running import serving

from overpaint.serve.api.native.schema import JobRequest
from overpaint.serve.config import Config

PAINTED: dict[str, Any] = {
    "prompt": "wild é",
    "strength": 0.4,
    "mode": None,
    "steps": 30,
    "steps_mode": "diffusers",
    "guidance_scale": 2.5,
    "negative_prompt": "fog",
    "sampler": "euler",
    "sigmas": "karras",
    "eta": 0.0,
    "seed": 77,
    "size": [96, 64],
    "model": "fake",
    "refiner": None,
}


def painting(settings: Any, chunk: str = "overpaint", *, zipped: bool = False) -> bytes:
    """A PNG whose text chunk says that it was made with `settings`."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt("parameters", "not this one")
    text = settings if isinstance(settings, str) else json.dumps(settings)
    info.add_itxt(chunk, text, zip=zipped)
    file = io.BytesIO()
    Image.open(io.BytesIO(halves())).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def asked(easel: Easel) -> dict[str, Any]:
    """What the page asked for last."""
    return dict(easel.jobs[-1].request.post_data_json)


@pytest.mark.parametrize("way", ["bring", "drop"])
def test_a_painting_offers_its_settings(easel: Easel, way: str) -> None:
    getattr(easel, way)(painting(PAINTED))
    easel.says("#notice", "made with: “wild é”, seed 77.")
    easel.at("#take").click()
    easel.says("#notice", "Its settings are in the form.")
    expect(easel.at("#take")).to_be_hidden()
    np.testing.assert_array_equal(easel.shown("#before"), decoded(halves()))
    easel.repaint(None)
    names = ("prompt", "strength", "steps", "guidance_scale", "negative_prompt", "sampler")
    names += ("sigmas", "seed", "model")
    assert {name: asked(easel)[name] for name in names} == {name: PAINTED[name] for name in names}
    assert asked(easel)["styles"] == {}  # the prompt has them already
    assert "eta" not in asked(easel)


THEIRS = """wild é
Negative prompt: fog
Steps: 12, Sampler: Euler, Schedule type: Karras, CFG scale: 2.5, Seed: 77, Size: 96x64, \
Model: dreams, Denoising strength: 0.4, Version: v1.10.1"""


@pytest.mark.parametrize("chunk", ["tEXt", "iTXt"])
def test_a_picture_of_automatic1111s_offers_its_settings(easel: Easel, chunk: str) -> None:
    info = PngImagePlugin.PngInfo()
    if chunk == "tEXt":
        info.add_text("parameters", THEIRS)
    else:
        info.add_itxt("parameters", THEIRS)
    file = io.BytesIO()
    Image.open(io.BytesIO(halves())).save(file, "PNG", pnginfo=info)
    easel.drop(file.getvalue())
    easel.says("#notice", "made with: “wild é”, seed 77.")
    easel.at("#take").click()
    easel.says("#notice", "Not to be had here: model dreams.")
    easel.repaint(None)
    names = ("prompt", "strength", "guidance_scale", "negative_prompt", "sampler", "sigmas", "seed")
    assert {name: asked(easel)[name] for name in names} == {name: PAINTED[name] for name in names}
    assert (asked(easel)["steps"], asked(easel)["prompt_weights"]) == (12, True)


def test_the_time_that_is_told_is_that_of_the_pictures_own_size(
    tmp_path: Path, visit: Open
) -> None:
    """A server that knows only large pictures, and one that is small."""
    knobs = Knobs(step_seconds=0.5)
    with serving(Config(port=0), [fake_served(tmp_path, "fake", knobs)]) as server:
        server.ended(server.submit(size="256x256", steps=4)["id"])
        easel = visit(server.url)
        easel.bring(flat((0, 90, 0), 256, 256))
        easel.says("#reading", "5 of 10 steps · about 3 s")
        easel.bring(flat((0, 90, 0), 64, 64))
        easel.says("#reading", "5 of 10 steps · about a second")


def test_a_painting_of_words_alone_is_painted_again_to_the_same_pixels(easel: Easel) -> None:
    easel.at("#words").click()
    easel.at("#size").select_option(index=1)
    first = easel.repaint("blue")
    file = easel.file()
    easel.page.evaluate("sessionStorage.clear()")
    easel.page.reload()
    easel.results = 1
    easel.drop(file)
    easel.at("#take").click()
    easel.says("#notice", "it was painted from words alone")
    easel.see("empty")
    np.testing.assert_array_equal(easel.repaint(None), first)


def test_what_cannot_be_asked_for_here_is_told(easel: Easel) -> None:
    strange = {"model": "another", "sampler": "unheard", "steps_mode": "exact", "seed": 2**60}
    easel.drop(painting(PAINTED | strange))
    easel.at("#take").click()
    told = "model another, steps_mode exact, seed 1152921504606846976, sampler unheard"
    easel.says("#notice", f"Not to be had here: {told}.")
    easel.repaint(None)
    assert asked(easel)["prompt"] == "wild é"


@pytest.mark.parametrize(
    "file",
    [
        painting("{"),
        painting("[1]"),
        painting("null"),
        painting({"prompt": 7}),
        painting(PAINTED, chunk="elsewhere"),
        painting(PAINTED)[:120],
        painting(PAINTED, zipped=True),
    ],
)
def test_a_file_that_says_nothing_readable_is_a_picture_or_none(easel: Easel, file: bytes) -> None:
    easel.bring(file)
    easel.page.wait_for_timeout(300)
    expect(easel.at("#take")).to_be_hidden()
    easel.repaint("red")


def test_nonsense_in_a_painting_leaves_the_form_as_it_was(easel: Easel) -> None:
    before = easel.reading()
    nonsense: dict[str, Any] = {
        name: {"<b>": [1]} for name in PAINTED if name not in ("prompt", "mode", "strength")
    }
    easel.drop(painting(nonsense | {"prompt": "<b>x</b>" * 99, "strength": 9e9, "seed": -5}))
    easel.says("#notice", "<b>x</b>")
    easel.at("#take").click()
    assert easel.reading() == before
    assert easel.at("#seed").input_value() == ""
    easel.repaint(None)


def test_every_simple_option_of_the_schema_has_a_control(easel: Easel) -> None:
    easel.settings()
    named = {one.replace(" ", "_") for one in easel.at("#further span").all_inner_texts()}
    named = {one.lower() for one in named}
    options = set(JobRequest.model_json_schema()["properties"])
    assert {"sigmas", "eta", "guidance_rescale", "prompt_weights"} <= named <= options
    expect(easel.at("#further label").first).to_have_attribute("title", "".join(_help(named)))


def _help(named: set[str]) -> list[str]:
    properties = JobRequest.model_json_schema()["properties"]
    return [next(one["description"] for name, one in properties.items() if name in named)]


def test_a_further_setting_is_asked_for_told_and_kept(easel: Easel) -> None:
    easel.bring(halves())
    easel.settings()
    easel.at("#further-eta").fill("0.3")
    easel.at("#further-rng").select_option("numpy")
    easel.at("#further-prompt_weights").check()
    easel.at("#sampler").select_option("ddim")
    first = easel.repaint("red")
    further = {name: asked(easel)[name] for name in ("eta", "rng", "prompt_weights")}
    assert further == {"eta": 0.3, "rng": "numpy", "prompt_weights": True}
    easel.says("#made-of", "eta 0.3 · rng numpy · prompt weights")
    easel.at("#further-eta").fill("")
    easel.at("#further-rng").select_option("")
    easel.repaint("red")
    assert not {"eta", "rng"} & set(asked(easel))
    easel.at("#results button").nth(1).click()
    easel.at("#settings").click()
    expect(easel.at("#further-rng")).to_have_value("numpy")
    np.testing.assert_array_equal(easel.repaint(None), first)
    easel.page.reload()
    easel.settings()
    expect(easel.at("#further-rng")).to_have_value("numpy")


def test_a_further_setting_out_of_range_is_not_sent(easel: Easel) -> None:
    easel.settings()
    easel.at("#further-eta").fill("7")
    easel.at("#run").click()
    expect(easel.at("#further-eta")).to_be_focused()
    assert easel.jobs == []
