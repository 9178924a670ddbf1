"""`overpaint watch`: pictures are repainted as they are written whole, until Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from overpaint.bundle.errors import UsageError
from overpaint.cli.app import app
from overpaint.cli.watch import painting_of

SUMMER = Path(__file__).parents[2] / "examples/summer.png"


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[Path, Path, subprocess.Popen[str]]]:
    come, painted = tmp_path / "come", tmp_path / "painted"
    come.mkdir()
    command = [sys.executable, "-m", "overpaint.cli", "watch", str(come), "winter"]
    command += ["-o", str(painted), "--steps", "2", "--seed", "3"]
    start = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    start += f"import sys; sys.argv = {command[3:]!r}; sys.argv.insert(0, 'overpaint'); "
    start += "from overpaint.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", start], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    yield come, painted, process
    process.kill()
    process.wait()


def test_a_picture_is_painted_once_it_is_whole_and_ctrl_c_ends_it(
    watched: tuple[Path, Path, subprocess.Popen[str]],
) -> None:
    come, painted, process = watched
    data = SUMMER.read_bytes()
    (come / "note.txt").write_text("no picture")
    (come / "broken.png").write_bytes(data[:200])
    with (come / "a.png").open("wb") as slow:
        slow.write(data[: len(data) // 2])
        slow.flush()
        time.sleep(0.2)  # a picture that is being written, between two looks
        slow.write(data[len(data) // 2 :])
    until(painted / "a.png")
    (come / "b.png").write_bytes(data)
    until(painted / "b.png")
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert [line.split()[0] for line in out.splitlines()] == [
        str(painted / "a.png"),
        str(painted / "b.png"),
    ]
    assert "broken.png" in errors
    assert sorted(one.name for one in painted.iterdir()) == ["a.png", "b.png"]


def until(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.1)


def test_what_is_watched_is_not_written_to(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["watch", str(tmp_path), "winter", "-o", str(tmp_path)])
    assert isinstance(done.exception, UsageError)
    assert "expected another folder" in str(done.exception)


def test_two_files_of_one_stem_are_two_paintings(tmp_path: Path) -> None:
    names = {painting_of(Path(name), tmp_path).name for name in ("a.png", "a.jpg", "a.b.webp")}
    assert names == {"a.png", "a-jpg.png", "a-b-webp.png"}
