"""A picture says how it was made: to us, and in the words of AUTOMATIC1111's web UI."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin
from tests.runtime.test_metadata import painting, parameters
from typer.testing import CliRunner

from overpaint.bundle.errors import ImageError
from overpaint.cli.app import app
from overpaint.runtime.infotext import parse, read_said
from overpaint.runtime.settings import Settings

THEIRS = """a lighthouse, (storm:1.2)
at sea
Negative prompt: blurry, low quality
Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.5, Seed: 1234567890, \
Size: 768x512, Model hash: 6ce0161689, Model: "v1, 5: pruned", Variation seed: 99, \
Variation seed strength: 0.2, Denoising strength: 0.45, \
Clip skip: 2, Hires upscale: 2, Version: v1.10.1"""


def test_the_web_uis_lines_are_read() -> None:
    said = parse(THEIRS)
    assert said.prompt == "a lighthouse, (storm:1.2)\nat sea"
    assert said.settings == {
        "negative_prompt": "blurry, low quality",
        "steps": 20,
        "sampler": "dpmpp-2m",
        "sigmas": "karras",
        "guidance_scale": 7.5,
        "seed": 1234567890,
        "variation_seed": 99,
        "variation_strength": 0.2,
        "size": (768, 512),
        "clip_skip": 1,
        "upscale": 2.0,
        "upscale_strength": 0.45,
        "prompt_weights": True,
    }
    assert said.other["Model"] == "v1, 5: pruned"
    Settings(**said.settings)  # as it stands, it is what a run takes


def test_the_older_way_to_name_a_schedule_is_read() -> None:
    said = parse("a lake\nSteps: 5, Sampler: Euler a Karras, Seed: 1")
    assert (said.settings["sampler"], said.settings["sigmas"]) == ("euler-a", "karras")


def test_long_nonsense_is_read_in_no_time_and_numbers_are_finite() -> None:
    began = time.process_time()
    for piece in ("a", " ", 'a:"', "a,", 'a:"\\', "a: "):
        parse("x\nSteps: 5, " + piece * (50_000 // len(piece)))
    assert time.process_time() - began < 5
    assert "guidance_scale" not in parse("x\nSteps: 5, CFG scale: nan").settings
    assert parse("x\nSteps: 5, Version: overpaint 1.0").settings == {"steps": 5}


@pytest.mark.parametrize("text", ["a lake", "Steps", "a: b, c", 'x\nSteps: many, Seed: "'])
def test_whatever_is_no_such_line_is_the_prompt_or_left_as_it_is(text: str) -> None:
    assert "steps" not in parse(text).settings


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_our_own_pictures_are_read_back(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"out.{suffix}"
    made = parameters(Settings(steps=7, seed=3, strength=0.5, clip_skip=1))
    painting(made).save(file)
    said = read_said(file)
    assert said.by == ("overpaint" if suffix == "png" else "AUTOMATIC1111")
    assert said.prompt.startswith(made.prompt)
    assert (said.settings["steps"], said.settings["clip_skip"]) == (7, 1)


def test_the_command_tells_it(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("parameters", THEIRS)
    Image.new("RGB", (8, 8)).save(tmp_path / "theirs.png", pnginfo=info)
    told = CliRunner().invoke(app, ["png-info", str(tmp_path / "theirs.png")]).output
    assert "painted by AUTOMATIC1111" in told
    assert "768x512" in told
    assert "dpmpp-2m" in told


def test_a_picture_that_says_nothing_is_told(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    with pytest.raises(ImageError, match="says nothing of how it was made"):
        read_said(tmp_path / "plain.png")
