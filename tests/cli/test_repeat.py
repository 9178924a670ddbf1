"""`overpaint run --repeat`: a picture says how it was painted, and is painted again from that."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from overpaint.cli import main
from overpaint.runtime.default_bundle import EMBEDDED
from overpaint.runtime.metadata import read_parameters


class Outcome(NamedTuple):
    code: Any
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command on the embedded model, where photo.png and other.png lie."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("photo", "other"):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(f"{name}.png")

    def command(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["overpaint", "run", *map(str, arguments)])
        code: Any = 0
        try:
            main.main()
        except SystemExit as exit:
            code = exit.code
        return Outcome(code, *capsys.readouterr())

    return command


@pytest.mark.parametrize(
    ("arguments", "again"),
    [
        (("photo.png", "winter at dusk", "--mode", "modify", "--steps", 3), ("photo.png",)),
        (("photo.png", "winter", "--denoising-start", 0.6, "--sampler", "euler-a"), ("photo.png",)),
        (("photo.png", "winter", "--steps", 4, "--negative-prompt", ""), ("photo.png",)),
        (("--text-to-image", "winter", "--steps", 2, "--size", "64x48"), ()),
    ],
    ids=["mode", "start", "negative", "text"],
)
def test_what_is_repeated_is_the_same_file_to_the_byte(
    run: Run, arguments: tuple[object, ...], again: tuple[str, ...]
) -> None:
    assert run(*arguments, "-o", "painted.png").code == 0
    done = run("--repeat", "painted.png", *again, "-o", "again.png")
    assert (done.code, done.err) == (0, "")
    assert "warning" not in done.out
    before, after = read_parameters("painted.png"), read_parameters("again.png")
    for name in ("mode", "preset"):
        before.pop(name), after.pop(name)
    assert before == after
    assert Image.open("painted.png").tobytes() == Image.open("again.png").tobytes()


def test_one_of_several_is_repeated_alone(run: Run) -> None:
    run("photo.png", "winter", "--steps", 3, "-n", 3, "--seed", 5, "-o", "many")
    assert run("--repeat", "many/photo-6.png", "photo.png", "-o", "again.png").code == 0
    assert Path("many/photo-6.png").read_bytes() == Path("again.png").read_bytes()


def test_another_picture_is_told_of(run: Run) -> None:
    run("photo.png", "winter", "--steps", 3, "-o", "painted.png")
    told = run("--repeat", "painted.png", "other.png", "-o", "again.png").err
    assert len(told.splitlines()) == 1
    assert "painted.png was painted with image_sha256" in told


def test_another_model_engine_and_version_are_told_of(run: Run) -> None:
    run("photo.png", "winter", "--steps", 3, "-o", "painted.png")
    said = read_parameters("painted.png")
    for name, value in {
        "model_sha256": "f" * 64,
        "loras": [{"name": "ink", "sha256": "1" * 64, "weight": 0.8}],
        "device": "TensorRT 11.4 on H200",
        "precision": "bfloat16",
        "version": "0.0.1",
    }.items():
        with Image.open("photo.png") as image:
            info = PngImagePlugin.PngInfo()
            info.add_itxt("overpaint", json.dumps(said | {name: value}))
            image.save("elsewhere.png", pnginfo=info)
        arguments = ("--repeat", "elsewhere.png", "photo.png", "-o", "again.png", "--force")
        [result] = json.loads(run(*arguments, "--json").out)["results"]
        [warning] = result["warnings"]
        assert warning.startswith(f"--repeat: elsewhere.png was painted with {name} {value!r}")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--repeat", "painted.png"), "the one picture that was painted over; got 0"),
        (("--repeat", "painted.png", "photo.png", "winter"), "got 2"),
        (("--repeat", "painted.png", "photo.png", "--steps", 9), "leave options out"),
        (("--repeat", "painted.png", "photo.png", "--hand-over", 0.5), "leave them out"),
        (("--repeat", "photo.png", "photo.png"), "carries no parameters of overpaint"),
        (("--repeat", "absent.png", "photo.png"), "absent.png: cannot be read: No such file"),
        ((), "expected IMAGE... PROMPT, or --repeat"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_repeated_is_refused_in_one_line(
    run: Run, arguments: tuple[object, ...], says: str
) -> None:
    run("photo.png", "winter", "--steps", 3, "-o", "painted.png")
    done = run(*arguments, "-o", "again.png")
    assert done.code in (1, 2)
    assert len(done.err.splitlines()) == 1
    assert says in done.err
    assert not Path("again.png").exists()


def test_everything_that_changes_pixels_is_in_the_picture_and_in_json(run: Run) -> None:
    shutil.copytree(EMBEDDED, "bundle")
    loras = [{"name": "ink", "sha256": "1" * 64, "weight": 0.8}]
    manifest = Path("bundle/overpaint.json")
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"loras": loras}))
    arguments = ("photo.png", "winter", "--steps", 3, "--bundle", "bundle", "-o", "out.png")
    [told] = json.loads(run(*arguments, "--guidance-scale", 2, "--json").out)["results"]
    carried = read_parameters("out.png")
    for found in (told, carried):
        assert found["loras"] == loras
        assert found["sampler"] == "default"
        assert found["sampler_run"] == "dpmpp-2m"
        assert found["guidance"] == "classifier-free"
        assert found["precision"] == "float32"
        assert found["device"].startswith("onnxruntime ")
        assert len(found["image_sha256"]) == 64
        assert found["version"]
    run(*arguments, "--force", "--guidance-scale", 1)
    assert read_parameters("out.png")["guidance"] == "none"
