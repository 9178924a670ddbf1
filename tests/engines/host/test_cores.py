"""A session takes the cores that it may use: not those of the machine around its container."""

from __future__ import annotations

from pathlib import Path

import pytest

from overpaint.engines.host import cores


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_two_threads_of_one_core_count_once(tmp_path: Path) -> None:
    for processor, siblings in enumerate(["0,2", "1,3", "0,2", "1,3"]):
        write(tmp_path / f"cpu{processor}/topology/thread_siblings_list", siblings + "\n")
    assert cores._physical({0, 1, 2, 3}, str(tmp_path)) == 2
    assert cores._physical({0, 2}, str(tmp_path)) == 1
    assert cores._physical({0, 9}, str(tmp_path)) == 2


@pytest.mark.parametrize(
    ("text", "count"),
    [("max 100000", None), ("150000 100000", 2), ("400000 100000", 4), ("1000 100000", 1)],
)
def test_a_containers_quota_counts(tmp_path: Path, text: str, count: int | None) -> None:
    write(tmp_path / "cpu.max", text + "\n")
    assert cores._quota(str(tmp_path)) == count


def test_the_older_kind_of_quota_counts_too(tmp_path: Path) -> None:
    write(tmp_path / "cpu/cpu.cfs_period_us", "100000\n")
    write(tmp_path / "cpu/cpu.cfs_quota_us", "200000\n")
    assert cores._quota(str(tmp_path)) == 2
    write(tmp_path / "cpu/cpu.cfs_quota_us", "-1\n")
    assert cores._quota(str(tmp_path)) is None


def test_without_any_quota_there_is_none(tmp_path: Path) -> None:
    assert cores._quota(str(tmp_path / "absent")) is None


@pytest.mark.parametrize(("text", "most"), [("1", 1), ("", 10**6), ("0", 10**6), ("x", 10**6)])
def test_omp_num_threads_is_honoured(monkeypatch: pytest.MonkeyPatch, text: str, most: int) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert 1 <= cores.usable_cores() <= most
