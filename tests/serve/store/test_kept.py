"""What is kept: for a time, up to a size, over a restart, and on a disk that is full."""

from __future__ import annotations

import os
import resource
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.serve.engine import fake_served
from tests.serve.running import png, serving

from overpaint.serve.config import Config
from overpaint.serve.ids import new_id
from overpaint.serve.store.kept import GoneError, Kept, UnknownKeyError, lock


def kept(folder: Path | None = None, **options: float) -> Kept:
    settings = {"seconds": 60.0, "max_bytes": 1000} | options
    return Kept(
        seconds=settings["seconds"],
        max_bytes=int(settings["max_bytes"]),
        folder=folder,
        suffix=".bin",
    )


@pytest.mark.parametrize("on_disk", [False, True])
def test_the_oldest_goes_first_where_the_size_is_over(folder: Path, on_disk: bool) -> None:
    shelf = kept(folder / "kept" if on_disk else None)
    keys = [new_id() for _ in range(5)]
    for key in keys:
        shelf.put(key, bytes(300))
    assert shelf.size == 900
    for key in keys[:2]:
        with pytest.raises(GoneError):
            shelf.get(key)
    assert [len(shelf.get(key)) for key in keys[2:]] == [300] * 3
    if on_disk:
        assert len(list((folder / "kept").iterdir())) == 3


def test_one_thing_is_kept_even_if_it_is_larger_than_the_size() -> None:
    shelf, key = kept(), new_id()
    shelf.put(key, bytes(5000))
    assert len(shelf.get(key)) == 5000


def test_what_never_was_is_unknown_and_what_was_is_gone() -> None:
    shelf, key = kept(seconds=0.05), new_id()
    with pytest.raises(UnknownKeyError):
        shelf.get(key)
    shelf.put(key, b"a")
    time.sleep(0.1)
    with pytest.raises(GoneError):
        shelf.get(key)


def test_a_restart_finds_what_was_kept_and_throws_half_files_away(folder: Path) -> None:
    first, key = kept(folder / "kept"), new_id()
    first.put(key, b"picture")
    (folder / "kept" / ".half.part").write_bytes(b"pict")
    (folder / "kept" / "notes.bin").write_bytes(b"not ours")
    second = kept(folder / "kept")
    assert second.get(key) == b"picture"
    assert len(second) == 1
    assert sorted(os.listdir(folder / "kept")) == sorted([f"{key}.bin", "notes.bin"])


def test_a_restart_does_not_lengthen_a_life(folder: Path) -> None:
    kept(folder / "kept", seconds=0.2).put(key := new_id(), b"a")
    time.sleep(0.3)
    with pytest.raises(GoneError):
        kept(folder / "kept", seconds=0.2).get(key)
    assert list((folder / "kept").iterdir()) == []


def test_others_on_the_machine_cannot_look(folder: Path) -> None:
    kept(folder / "kept").put(new_id(), b"a")
    assert (folder / "kept").stat().st_mode & 0o077 == 0


def test_threads_do_not_tread_on_each_other(folder: Path) -> None:
    shelf, failures = kept(folder / "kept", max_bytes=5000), []

    def work() -> None:
        for _ in range(100):
            shelf.put(key := new_id(), bytes(50))
            try:
                assert len(shelf.get(key)) == 50
            except GoneError:
                continue
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert shelf.size == sum(path.stat().st_size for path in (folder / "kept").iterdir()) <= 5000


@contextmanager
def full_disk(at_bytes: int) -> Iterator[None]:
    """No file of this process may grow beyond `at_bytes`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (at_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_no_half_file_and_loses_no_result(folder: Path) -> None:
    with serving(Config(port=0, folder=folder), [fake_served(folder / "bundles")]) as server:
        with full_disk(100):
            job = server.ended(server.submit(size="256x256", steps=2)["id"])
        assert job["status"] == "completed"
        assert list((folder / "media").iterdir()) == []
        assert server.pixels(job["result"]["media"][0]).shape == (256, 256, 3)
        assert "overpaint_results_not_saved_total 2.0" in server.client.get("/metrics").text
        after = server.ended(server.submit(size="256x256", steps=2)["id"])
        assert len(list((folder / "media").iterdir())) == 1
        assert server.pixels(after["result"]["media"][0]).shape == (256, 256, 3)


def test_finished_work_outlives_the_server(folder: Path) -> None:
    config = Config(port=0, folder=folder)
    with serving(config, [fake_served(folder / "one")]) as server:
        done = server.ended(server.submit(size="64x64", seed=5)["id"])
        pixels = server.pixels(done["result"]["media"][0])
    with serving(config, [fake_served(folder / "two")]) as server:
        again = server.job(done["id"])
        assert again == done
        assert (server.pixels(again["result"]["media"][0]) == pixels).all()


def test_where_the_folder_cannot_be_made_results_stay_in_memory(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "file").write_bytes(b"")
    config = Config(port=0, folder=folder / "file" / "results")
    with serving(config, [fake_served(folder / "bundles")]) as server:
        done = server.ended(server.submit(image=server.upload(png()), steps=2)["id"])
        assert server.pixels(done["result"]["media"][0]).shape == (64, 64, 3)
    assert "stay in memory" in caplog.text


@pytest.mark.parametrize("jump", [-10_000_000, 10_000_000])
def test_a_clock_that_is_set_neither_stops_nor_hastens_the_end(
    monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    shelf, key = kept(seconds=0.3), new_id()
    shelf.put(key, b"a")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    assert shelf.get(key) == b"a"
    time.sleep(0.4)
    with pytest.raises(GoneError):
        shelf.get(key)


def test_a_file_from_the_future_is_kept_no_longer_than_others(folder: Path) -> None:
    key = new_id()
    path = folder / f"{key}.bin"
    path.write_bytes(b"a")
    os.utime(path, (time.time() + 10**6,) * 2)
    shelf = kept(folder, seconds=0.2)
    assert shelf.get(key) == b"a"
    time.sleep(0.3)
    with pytest.raises(GoneError):
        shelf.get(key)


def test_a_folder_that_is_deleted_is_made_again(folder: Path) -> None:
    shelf, first, second = kept(folder / "kept"), new_id(), new_id()
    shelf.put(first, b"a")
    shutil.rmtree(folder / "kept")
    with pytest.raises(GoneError):
        shelf.get(first)
    shelf.put(second, b"b")
    assert shelf.get(second) == b"b"
    assert (folder / "kept" / f"{second}.bin").read_bytes() == b"b"


def test_a_folder_belongs_to_one_process_at_a_time(folder: Path) -> None:
    with lock(folder / "mine"), pytest.raises(BlockingIOError):
        lock(folder / "mine")
    lock(folder / "mine").close()


def test_a_second_server_leaves_the_results_of_the_first_alone(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = Config(port=0, folder=folder / "results", result_seconds=60)
    with serving(config, [fake_served(folder, "one")]) as first:
        job = first.ended(first.submit(size="64x64", steps=1)["id"])
        short = replace(config, result_seconds=0.1)
        with serving(short, [fake_served(folder, "two")]) as second:
            second.ended(second.submit(size="64x64", steps=1)["id"])
            time.sleep(0.3)
            second.state.media.sweep()
        said = [one.getMessage() for one in caplog.records if "another server" in one.getMessage()]
        assert len(said) == 1
        assert "--results" in said[0]
        assert first.client.get(f"/v1/media/{job['result']['media'][0]}.png").status_code == 200
    with serving(config, [fake_served(folder, "three")]) as third:
        assert third.job(job["id"])["status"] == "completed"
