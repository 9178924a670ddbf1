"""`-` is stdin where a picture is read, and stdout where one is written."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tests.cli.typed import Command, pictures

from overpaint.runtime.metadata import read_parameters


def piped(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_a_picture_comes_from_stdin_and_goes_to_stdout_and_nothing_else_does(
    overpaint: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    overpaint("a.png", "red", "-o", "out.png", "--seed", 7)
    piped(monkeypatch, Path("a.png").read_bytes())
    done = overpaint("-", "red", "-o", "-", "--seed", 7)
    assert (done.code, done.written) == (0, Path("out.png").read_bytes())
    assert done.err.startswith("-  seed 7, 5 of 10 steps")
    with Image.open(io.BytesIO(done.written)) as image:
        assert "overpaint" in image.info


def test_stdin_goes_into_a_file_or_a_folder_too(
    overpaint: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Path("a.png").read_bytes()
    piped(monkeypatch, data)
    done = overpaint("-", "red", "-o", "out.png", "--json", "--seed", 7)
    assert json.loads(done.out)["results"][0]["image"] == "-"
    piped(monkeypatch, data)
    assert overpaint("-", "b.png", "red", "-o", "painted", "--seed", 7).code == 0
    assert pictures("painted") == {"stdin.png", "b.png"}
    assert Path("painted/stdin.png").read_bytes() == Path("out.png").read_bytes()


def test_a_painting_without_a_picture_goes_to_stdout(overpaint: Command) -> None:
    done = overpaint("--text-to-image", "red", "--size", "64x64", "-o", "-")
    Path("out.png").write_bytes(done.written)
    assert read_parameters("out.png")["prompt"] == "red"


@pytest.mark.parametrize("data", [b"", b"To whom it may concern"])
def test_what_is_no_picture_is_one_line(
    overpaint: Command, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    piped(monkeypatch, data)
    done = overpaint("-", "red", "-o", "-")
    assert (done.code, done.written, len(done.err.splitlines())) == (1, b"", 1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a.png", "red", "-o", "-", "--json"], "not both"),
        (["a.png", "red", "-o", "-", "-n", "2"], "stdout takes one picture"),
        (["a.png", "b.png", "red", "-o", "-"], "stdout takes one picture"),
        ([".", "red", "-o", "-"], "stdout takes one picture"),
        (["-", "-", "red", "-o", "painted"], "named twice"),
    ],
)
def test_what_a_pipe_cannot_do_is_refused(
    overpaint: Command, arguments: list[str], says: str
) -> None:
    done = overpaint(*arguments)
    assert (done.code, done.written) == (2, b"")
    assert says in done.err


def test_a_terminal_is_no_pipe(overpaint: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert "stdout is a terminal" in overpaint("a.png", "red", "-o", "-").err
    piped(monkeypatch, b"")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert "stdin is a terminal" in overpaint("-", "red", "-o", "out.png").err


def test_a_reader_that_left_is_one_line(tmp_path: Path) -> None:
    """The installed command, the embedded model, and a pipe whose other end is closed."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [
                *(
                    Path(sys.executable).with_name("overpaint"),
                    "run",
                    "--text-to-image",
                    "mountains",
                ),
                *("--size", "32x32", "--steps", "1", "-o", "-"),
            ],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
    finally:
        os.close(writer)
    assert done.returncode == 1
    assert done.stderr == "overpaint: -: cannot be written (Broken pipe)\n"
