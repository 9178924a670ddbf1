"""`overpaint run`, from the words on the command line to files, messages and exit code."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.cli.typed import Command, files, pictures
from tests.doubles.engines import FakeEngines
from tests.random_lora import random_lora

from overpaint.bundle.errors import SessionError
from overpaint.cli import main
from overpaint.runtime import Img2Img
from overpaint.runtime.metadata import read_parameters


def test_a_picture_and_a_prompt_become_a_picture(overpaint: Command) -> None:
    done = overpaint("a.png", "red", "-o", "out.png", "--seed", 7)
    assert (done.code, done.err) == (0, "")
    assert "out.png" in done.out
    assert "seed 7" in done.out
    assert "5 of 10 steps" in done.out
    assert Image.open("out.png").size == (64, 48)
    assert read_parameters("out.png")["prompt"] == "red"


def test_a_seed_that_was_not_given_is_printed_and_makes_the_picture_again(
    overpaint: Command,
) -> None:
    first = overpaint("a.png", "red", "-o", "one.png")
    seed = first.out.split("seed ")[1].split(",")[0]
    overpaint("a.png", "red", "-o", "two.png", "--seed", seed)
    assert Image.open("one.png").tobytes() == Image.open("two.png").tobytes()


def test_every_option_reaches_the_pipeline(overpaint: Command) -> None:
    overpaint(
        *("a.png", "red", "-o", "out.png", "--strength", 0.7, "--steps", 12),
        *("--guidance-scale", 3, "--negative-prompt", "blue", "--sampler", "ddim"),
        *("--sigmas", "default", "--seed", 5, "--rng", "numpy", "--size", "80x40"),
        *("--resize", "crop", "--steps-mode", "exact", "--preset", "fast", "--low-memory"),
    )
    found = read_parameters("out.png")
    expected = {
        "strength": 0.7,
        "steps": 12,
        "steps_run": 12,
        "guidance_scale": 3.0,
        "negative_prompt": "blue",
        "sampler": "ddim",
        "seed": 5,
        "rng": "numpy",
        "size": [80, 40],
        "resize": "crop",
        "steps_mode": "exact",
        "preset": "fast",
    }
    assert {name: found[name] for name in expected} == expected


def test_several_pictures_and_folders_go_into_a_folder(overpaint: Command) -> None:
    Path("more").mkdir()
    Image.new("RGB", (64, 64), "pink").save("more/a.jpg")
    Path("more/notes.txt").write_text("not a picture, and not named like one")
    done = overpaint("a.png", "b.png", "more", "red", "-o", "painted")
    assert done.code == 0
    assert pictures("painted") == {"a.png", "b.png", "a-2.png"}
    assert len(done.out.splitlines()) == 3


def test_n_pictures_are_named_by_their_seeds(overpaint: Command) -> None:
    assert overpaint("a.png", "red", "-o", "painted", "-n", 3, "--seed", 8).code == 0
    assert pictures("painted") == {"a-8.png", "a-9.png", "a-10.png"}
    refused = overpaint("a.png", "red", "-o", "out.png", "-n", 3)
    assert refused.code == 2
    assert "folder" in refused.err


def test_one_bad_file_does_not_stop_the_rest_and_is_told_at_the_end(overpaint: Command) -> None:
    Path("bad.png").write_text("this is text")
    done = overpaint("a.png", "bad.png", "absent.png", "c.png", "red", "-o", "painted")
    assert done.code == 1
    assert pictures("painted") == {"a.png", "c.png"}
    bad, absent, summary = done.err.splitlines()
    assert "bad.png: not a picture" in bad
    assert "absent.png: no such file" in absent
    assert "2 of 4" in summary


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("absent.png", None, "no such file"),
        ("empty.png", b"", "0 bytes"),
        ("text.jpg", b"To whom it may concern", "not a picture"),
        ("cut.png", "half", "damaged or cut short"),
        ("bomb.png", "bomb", "million pixels"),
        ("tiny.png", "tiny", "8"),
    ],
)
def test_a_bad_picture_ends_in_one_line_and_nothing_is_written(
    overpaint: Command, name: str, content: bytes | str | None, says: str
) -> None:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(buffer, "PNG")
    if content == "half":
        content = buffer.getvalue()[:6000]
    elif content == "bomb":
        Image.new("1", (9000, 9000)).save(name)
    elif content == "tiny":
        Image.new("RGB", (7, 7)).save(name)
    if isinstance(content, bytes):
        Path(name).write_bytes(content)
    before = files()
    done = overpaint(name, "red", "-o", "out.png")
    assert done.code != 0
    assert done.out == ""
    assert len(done.err.splitlines()) == 1
    assert says in done.err
    assert files() == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--strength", "nan"], "strength"),
        (["--strength", "-0.1"], "strength"),
        (["--strength", "1.1"], "strength"),
        (["--steps", "0"], "steps"),
        (["-n", "0"], "n:"),
        (["--seed", "-1"], "seed"),
        (["--size", "7x7"], "8x8"),
        (["--size", "big"], "WIDTHxHEIGHT"),
        (["--sampler", "eular"], "did you mean euler"),
        (["--strength", "0.5", "--reference-strength", "0.5"], "one of them"),
        (["--mode", "copy", "--strength", "0.5"], "copy mode"),
        (["--text-to-image"], "prompt alone"),
        (["--steps", "1001"], "1000"),
    ],
)
def test_a_setting_out_of_range_ends_in_one_line_and_exit_code_2(
    overpaint: Command, arguments: list[str], says: str
) -> None:
    before = files()
    done = overpaint("a.png", "red", "-o", "out.png", *arguments)
    assert (done.code, done.out) == (2, "")
    assert len(done.err.splitlines()) == 1
    assert says in done.err
    assert files() == before


def test_settings_are_refused_before_an_engine_is_opened(
    overpaint: Command, opened: list[FakeEngines]
) -> None:
    overpaint("a.png", "red", "-o", "out.png", "--strength", "2")
    overpaint("a.png", "red", "-o", "a.png")
    assert opened == []


def test_nothing_is_overwritten_without_force(overpaint: Command) -> None:
    before = Path("b.png").read_bytes()
    refused = overpaint("a.png", "red", "-o", "b.png")
    assert refused.code == 1
    assert "--force" in refused.err
    assert Path("b.png").read_bytes() == before
    assert overpaint("a.png", "red", "-o", "b.png", "--force").code == 0
    assert Path("b.png").read_bytes() != before


def test_a_forgotten_prompt_is_noticed(overpaint: Command) -> None:
    assert "IMAGE... PROMPT" in overpaint("a.png", "-o", "out.png").err
    assert "looks like a picture" in overpaint("a.png", "b.png", "-o", "out.png").err
    assert overpaint("a.png", "a photo like b.png", "-o", "out.png").code == 0


def test_an_output_that_is_no_picture_file_is_refused(overpaint: Command) -> None:
    done = overpaint("a.png", "red", "-o", "out.gif")
    assert done.code == 2
    assert ".png" in done.err


def test_an_output_that_cannot_be_written_is_refused_before_an_engine_is_opened(
    overpaint: Command, opened: list[FakeEngines]
) -> None:
    Path("file").write_text("in the way")
    done = overpaint("a.png", "red", "-o", "file/out.png")
    assert done.code == 2
    assert "cannot be written" in done.err
    assert opened == []


def test_a_disk_that_fails_is_one_line_and_leaves_no_half_file(
    overpaint: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    before = files()
    done = overpaint("a.png", "red", "-o", "out.png")
    assert done.code == 1
    assert done.err == "overpaint: out.png: cannot be written (No space left on device)\n"
    assert files() == before


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_jpeg_and_webp_are_written_by_the_name_asked_for(overpaint: Command, suffix: str) -> None:
    assert overpaint("a.png", "red", "-o", f"out.{suffix}").code == 0
    assert Image.open(f"out.{suffix}").format == {"jpg": "JPEG", "webp": "WEBP"}[suffix]


def test_text_to_image_needs_no_picture(overpaint: Command) -> None:
    done = overpaint("--text-to-image", "red", "--size", "64x64", "-o", "out.png")
    assert done.code == 0
    assert Image.open("out.png").size == (64, 64)
    assert "512x512" in overpaint("--text-to-image", "red", "-o", "two.png").err


def test_json_is_one_object_on_stdout_and_nothing_else(overpaint: Command) -> None:
    Path("bad.png").write_text("this is text")
    done = overpaint("a.png", "bad.png", "red", "-o", "painted", "--json", "--seed", 4)
    assert done.code == 1
    told = json.loads(done.out)
    [result], [failure] = told["results"], told["failed"]
    assert result["outputs"] == [str(Path("painted/a.png"))]
    assert result["seeds"] == [4]
    assert result["steps_run"] == len(result["timings"]["steps"]) == 5
    assert result["timings"]["total"] > 0
    assert failure["image"] == "bad.png"
    assert "not a picture" in failure["error"]


def test_warnings_go_to_stderr(overpaint: Command) -> None:
    done = overpaint("a.png", "red", "-o", "out.png", "--strength", "0.01")
    assert done.code == 0
    assert "rounds to none" in done.err


def test_control_c_leaves_nothing_behind(
    overpaint: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Img2Img, "events", interrupted)
    before = files()
    done = overpaint("a.png", "red", "-o", "out.png")
    assert done.code == 130
    assert "Traceback" not in done.err
    assert files() == before


def test_a_bundle_that_cannot_run_is_one_line(
    overpaint: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise SessionError("unet: /x/unet/model.onnx cannot be loaded")

    monkeypatch.setattr(Img2Img, "open", broken)
    done = overpaint("a.png", "red", "-o", "out.png")
    assert (done.code, done.out) == (1, "")
    assert done.err == "overpaint: unet: /x/unet/model.onnx cannot be loaded\n"


def test_a_lora_turns_beside_the_weights_and_paints_as_the_fused_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """On the embedded model: by its file, by its name in a folder, and by the prompt."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Image.effect_mandelbrot((96, 96), (-2, -1, 1, 1), 40).convert("RGB").save("a.png")
    random_lora(tmp_path / "loras" / "ink.safetensors")

    def painted(*arguments: object) -> np.ndarray[Any, Any]:
        typed = ["overpaint", "run", "a.png", *arguments, "--seed", 3, "-o", "out.png", "--force"]
        monkeypatch.setattr(sys, "argv", [*map(str, typed)])
        with pytest.raises(SystemExit) as ended:
            main.main()
        assert not ended.value.code
        return np.asarray(Image.open("out.png")).astype(int)

    base = painted("winter mountains")
    fused = painted("winter mountains", "--lora", "loras/ink.safetensors:0.7")
    live = painted(
        "winter mountains", "--lora", "ink:0.7", "--lora-mode", "live", "--lora-folder", "loras"
    )
    [told] = read_parameters("out.png")["loras"]
    assert (told["name"], told["weight"], len(told["sha256"])) == ("ink", 0.7, 64)
    named = painted("winter mountains <lora:ink:.7>", "--prompt-weights", "--lora-folder", "loras")
    assert np.abs(fused - base).max() > 5
    assert np.abs(fused - live).max() <= 1
    assert np.array_equal(live, named)
    assert np.array_equal(base, painted("winter mountains", "--lora-folder", "loras"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--lora", "a/i.safetensors", "--lora", "i", "--lora-mode", "live"), "the same name"),
        (("--lora-mode", "quick"), "--lora-mode: expected fused or live, got 'quick'"),
        (("--lora", "oil"), "'oil' is no LoRA that is known here"),
        (("--lora", "oil", "--lora-folder", "nowhere"), "--lora-folder: expected a folder"),
    ],
)
def test_a_lora_that_cannot_be_meant_is_refused(
    arguments: tuple[str, ...], says: str, overpaint: Command
) -> None:
    done = overpaint("a.png", "red", "-o", "out.png", *arguments)
    assert done.code
    assert says in done.err
    assert "out.png" not in files()
