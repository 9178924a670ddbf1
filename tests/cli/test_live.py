"""`overpaint live`: films, folders and animations, repainted frame by frame."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence
from tests.cli.typed import Command, Outcome, files

from overpaint.bundle.errors import SessionError
from overpaint.cli import main
from overpaint.runtime import Img2Img
from overpaint.runtime.live import live as live_module

FEW = ("--strength", 0.5, "--steps", 1, "--seed", 3, "--size", "64x64")
COUNT = 4


@pytest.fixture
def overpaint(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Command:
    """The embedded model, and no double."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["overpaint", *map(str, arguments)])
        code = 0
        try:
            main.main()
        except SystemExit as exit:
            code = int(exit.code or 0)
        captured = capsysbinary.readouterr()
        return Outcome(code, captured.out, captured.err.decode())

    return run


@pytest.fixture
def frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Image.Image]:
    """A field that turns from green to white, in a folder, an animation and a film."""
    monkeypatch.chdir(tmp_path)
    shades = np.linspace(60, 250, COUNT).astype(np.uint8)
    made = [Image.new("RGB", (64, 64), (int(s), 200, int(s))) for s in shades]
    Path("frames").mkdir()
    for k, one in enumerate(made):
        one.save(f"frames/{k}.png")
    made[0].save("field.gif", save_all=True, append_images=made[1:], duration=100)
    return made


def called(frame: Image.Image, prompt: str = "hills") -> Image.Image:
    with Img2Img.open() as pipe, pipe.live(prompt, strength=0.5, steps=1, seed=3) as live:
        return live(frame)


def test_a_folder_of_frames_becomes_another(overpaint: Command, frames: list[Image.Image]) -> None:
    done = overpaint("live", "frames", "hills", "-o", "out", *FEW, "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["frames"] == COUNT
    assert 0 < told["latency_p50"] <= told["latency_p99"]
    assert files("out") == {f"{k:05}.png" for k in range(1, COUNT + 1)}
    for k in (0, COUNT - 1):
        written = Image.open(f"out/{k + 1:05}.png")
        assert np.array_equal(np.asarray(written), np.asarray(called(frames[k])))


def test_an_animation_becomes_one(overpaint: Command, frames: list[Image.Image]) -> None:
    done = overpaint("live", "field.gif", "hills", "-o", "out.webp", *FEW)
    assert done.code == 0, done.err
    assert f"out.webp  {COUNT} frames" in done.out
    with Image.open("out.webp") as image:
        assert image.n_frames == COUNT  # type: ignore[attr-defined]
        assert image.size == (64, 64)


def test_a_film_becomes_one_at_its_own_rate(overpaint: Command, frames: list[Image.Image]) -> None:
    av = pytest.importorskip("av")
    assert overpaint("live", "frames", "hills", "-o", "film.mp4", "--rate", 10, *FEW).code == 0
    done = overpaint("live", "film.mp4", "hills", "-o", "again.webm", *FEW, "--json")
    assert done.code == 0, done.err
    with av.open("again.webm") as film:
        stream = film.streams.video[0]
        assert float(stream.average_rate) == 10
        assert sum(1 for _ in film.decode(stream)) == COUNT
    assert not [name for name in files() if name.startswith(".overpaint")]


def test_like_frames_are_counted(overpaint: Command, frames: list[Image.Image]) -> None:
    Path("still").mkdir()
    for k in range(3):
        frames[0].save(f"still/{k}.png")
    done = overpaint("live", "still", "hills", "-o", "out", *FEW, "--similar", 0.5)
    assert "2 shown as the one before" in done.out
    assert len(files("out")) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("gone.mp4", "hills", "-o", "out"), "no such file"),
        (("frames", "hills", "-o", "out.xyz"), "ends in"),
        (("frames", "hills", "-o", "out", "-n", 2), "one picture of each"),
        (("frames", "hills", "-o", "out", "--mask-blur", 3), "mask"),
        (("notes.txt", "hills", "-o", "out"), "cannot be read as a film"),
        (("camera:93", "hills", "-o", "out"), "cannot be read as a film"),
    ],
)
def test_what_cannot_be_done_ends_in_one_line(
    overpaint: Command, frames: list[Image.Image], words: tuple[object, ...], said: str
) -> None:
    Path("notes.txt").write_text("no film")
    done = overpaint("live", *words)
    assert done.code != 0
    assert said in done.err
    assert len(done.err.splitlines()) == 1
    assert not Path("out").exists()


def test_what_is_there_is_kept(overpaint: Command, frames: list[Image.Image]) -> None:
    Path("out.gif").write_bytes(b"mine")
    assert "exists already" in overpaint("live", "frames", "hills", "-o", "out.gif", *FEW).err
    assert Path("out.gif").read_bytes() == b"mine"
    Path("out").mkdir()
    Path("out/00001.png").write_bytes(b"mine")
    assert "already" in overpaint("live", "frames", "hills", "-o", "out", *FEW).err
    assert overpaint("live", "frames", "hills", "-o", "out.gif", *FEW, "--force").code == 0
    with Image.open("out.gif") as image:
        assert sum(1 for _ in ImageSequence.Iterator(image)) == COUNT


def test_nothing_is_left_of_a_film_that_failed(
    overpaint: Command, frames: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("av")
    usual, calls = live_module.decode, []

    def failing(*words: object) -> object:
        calls.append(words)
        if len(calls) == 3:
            raise SessionError("the engine failed")
        return usual(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(live_module, "decode", failing)
    done = overpaint("live", "frames", "hills", "-o", "film.mp4", *FEW)
    assert done.code == 1
    assert "the engine failed" in done.err
    assert files() == {"frames", "field.gif"}


def test_a_film_without_pyav_says_what_to_install(
    overpaint: Command, frames: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    Path("film.mp4").write_bytes(b"x")
    assert "[video]" in overpaint("live", "film.mp4", "hills", "-o", "out").err
