"""What is read is never written, what is written is whole, and no two runs write the same file."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image
from tests.cli.typed import Command, files, pictures
from tests.doubles.engines import FakeEngines

from overpaint.cli.claim import put
from overpaint.runtime import Img2Img


def contents() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()}


def test_a_picture_that_is_read_is_never_written_over_force_or_not(
    overpaint: Command, opened: list[FakeEngines]
) -> None:
    Path("pp").mkdir()
    Image.new("RGB", (64, 64), "navy").save("pp/a.jpg")
    Image.new("RGB", (64, 64), "teal").save("pp/a.png")
    before = Path("pp/a.png").read_bytes()
    done = overpaint("pp/", "red", "-o", "pp/", "--force")
    assert (done.code, done.out) == (2, "")
    assert "pp/a.png: would be written over" in done.err
    assert Path("pp/a.png").read_bytes() == before
    assert opened == []


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_an_input_is_known_by_any_path_and_link(overpaint: Command, force: list[str]) -> None:
    Path("deep").mkdir()
    os.link("a.png", "hard.png")
    Path("soft.png").symlink_to("a.png")
    Path("linked").symlink_to(".")
    before = contents()
    for output in ("a.png", "./deep/../a.png", Path("a.png").absolute(), "linked/a.png"):
        assert "which is to be read" in overpaint("a.png", "red", "-o", output, *force).err
    for output in ("hard.png", "soft.png"):
        assert "which is to be read" in overpaint("a.png", "red", "-o", output, *force).err
    assert "which is to be read" in overpaint("soft.png", "red", "-o", "a.png", *force).err
    assert contents() == before


def test_an_input_is_known_in_another_case_on_a_disk_that_sees_none(
    overpaint: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Path.stat

    def stat(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        return usual(path.with_name(path.name.lower()), follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", stat)
    assert "which is to be read" in overpaint("a.png", "red", "-o", "A.PNG", "--force").err
    assert files() == {"a.png", "b.png", "c.png"}


def test_names_that_differ_in_case_alone_are_kept_apart(overpaint: Command) -> None:
    """On many disks they are one."""
    Path("in").mkdir()
    for name in ("in/A.jpg", "in/a.png", "in/\u00e9.png", "in/e\u0301.png"):
        Image.new("RGB", (64, 64), "navy").save(name)
    assert overpaint("in", "red", "-o", "painted").code == 0
    assert pictures("painted") == {"A.png", "a-2.png", "e\u0301.png", "\u00e9-2.png"}


def test_of_two_that_want_a_name_one_gets_it_and_the_file_is_whole(tmp_path: Path) -> None:
    wanted = [bytes([i]) * 100_000 for i in range(16)]
    for path in (tmp_path / f"{i}.png" for i in range(20)):

        def claim(data: bytes, path: Path = path) -> bool:
            try:
                put(data, path, replace=False)
            except FileExistsError:
                return False
            return True

        with ThreadPoolExecutor(16) as pool:
            got = list(pool.map(claim, wanted))
        assert got.count(True) == 1
        assert path.read_bytes() == wanted[got.index(True)]
    assert len(files(tmp_path)) == 20


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="this system has no nameless files")
@pytest.mark.parametrize("replace", [False, True])
def test_a_process_that_is_killed_while_it_writes_leaves_nothing(
    tmp_path: Path, replace: bool
) -> None:
    killed = (
        "import os, pathlib, signal\n"
        "from overpaint.cli.claim import put\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"put(b'half', pathlib.Path({str(tmp_path / 'a.png')!r}), replace={replace})"
    )
    assert subprocess.run([sys.executable, "-c", killed]).returncode == -signal.SIGKILL
    assert files(tmp_path) == set()


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_disk_without_links_is_claimed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", no_links)
    put(b"first", tmp_path / "a.png", replace=False)
    with pytest.raises(FileExistsError):
        put(b"second", tmp_path / "a.png", replace=False)
    assert (tmp_path / "a.png").read_bytes() == b"first"

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="full"):
        put(b"third", tmp_path / "b.png", replace=False)
    assert files(tmp_path) == {"a.png"}


def test_a_name_taken_while_we_painted_stays_with_whoever_took_it(
    overpaint: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Img2Img.events

    def taken(pipe: Img2Img, *arguments: object) -> Iterator[object]:
        Path("out.png").write_bytes(b"another run's")
        yield from usual(pipe, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Img2Img, "events", taken)
    done = overpaint("a.png", "red", "-o", "out.png")
    assert (done.code, done.out) == (1, "")
    assert "out.png: exists already" in done.err
    assert Path("out.png").read_bytes() == b"another run's"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB, which takes a few pictures; root can have one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_on_a_full_disk_it_is_said_what_was_written_and_what_was_not(
    overpaint: Command, small_disk: Path
) -> None:
    (small_disk / "filling").write_bytes(bytes(40 * 1024))
    done = overpaint("a.png", "red", "-o", small_disk, "-n", 8, "--seed", 1)
    assert done.code == 1
    written = [line.split("  ")[0] for line in done.out.splitlines()]
    *refused, summary = done.err.splitlines()
    assert 0 < len(written) < 8
    assert {Path(name).name for name in written} == files(small_disk) - {"filling"}
    assert all("cannot be written (No space left on device)" in line for line in refused)
    assert {*written, *(line.split(": ")[1] for line in refused)} == {
        str(small_disk / f"a-{seed}.png") for seed in range(1, 9)
    }
    assert summary == f"overpaint: {len(refused)} of 8 pictures failed"
    for name in written:
        Image.open(name).load()


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_a_full_disk_ends_a_folder_run(
    overpaint: Command,
    opened: list[FakeEngines],
    monkeypatch: pytest.MonkeyPatch,
    as_json: list[str],
) -> None:
    usual = os.link

    def full_at_b(source: str, path: str, **folder: int) -> None:
        if Path(path).name == "b.png":
            raise OSError(errno.ENOSPC, "No space left on device")
        usual(source, path, **folder)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "link", full_at_b)
    done = overpaint("a.png", "b.png", "c.png", "red", "-o", "painted", *as_json)
    assert done.code == 1
    assert pictures("painted") == {"a.png"}
    assert opened[0].runs("vae_decoder") == 2
    assert "painted/b.png: cannot be written (No space left on device)" in done.err
    assert "stopped, since the disk is full; not begun: c.png" in done.err
    if as_json:
        told = json.loads(done.out)
        assert [one["outputs"] for one in told["results"]] == [["painted/a.png"]]
        assert [one["output"] for one in told["failed"]] == ["painted/b.png"]
        assert told["not_begun"] == ["c.png"]


def test_every_message_of_several_pictures_names_its_own(overpaint: Command) -> None:
    Image.new("RGB", (7, 7)).save("tiny.png")
    done = overpaint("a.png", "tiny.png", "red", "-o", "painted", "--strength", "0.01")
    warning, failure, _ = done.err.splitlines()
    assert warning.startswith("overpaint: warning: a.png: strength 0.01 of 10 steps")
    assert failure.startswith("overpaint: tiny.png: expected a picture")
