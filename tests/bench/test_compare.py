"""A slower run is called slower, noise is not, and apples are not compared with pears."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.bench.reports import WORK, report, run

from overpaint.bench.compare import compare, read_report
from overpaint.bench.records import Report, Run
from overpaint.bundle.errors import UsageError


def noisy(median: float, seed: int, spread: float = 0.03) -> Run:
    samples = median * np.random.default_rng(seed).lognormal(0, spread, 20)
    return run([float(one) for one in samples])


def verdict(new: Run, old: Run) -> str:
    [one] = compare(report(new), report(old))
    return one.verdict


def test_a_run_that_takes_a_quarter_more_is_slower() -> None:
    assert verdict(noisy(125, 0), noisy(100, 1)) == "slower"
    assert verdict(noisy(100, 0), noisy(125, 1)) == "faster"


def test_the_same_run_measured_again_is_no_change() -> None:
    verdicts = [verdict(noisy(100, seed), noisy(100, seed + 1000)) for seed in range(60)]
    assert set(verdicts) == {"no_change"}


def test_noise_that_hides_a_difference_makes_no_verdict() -> None:
    assert verdict(noisy(110, 0, spread=0.5), noisy(100, 1, spread=0.5)) == "no_change"


def test_other_work_is_refused() -> None:
    other = run([1.0, 2.0], work=msgspec.structs.replace(WORK, steps=20, denoiser_calls=10))
    with pytest.raises(UsageError, match="steps: 20 and 10; denoiser_calls: 10 and 5"):
        compare(report(noisy(1, 0)), report(other))


def test_another_machine_is_refused() -> None:
    old = report(noisy(1, 0))
    there = msgspec.structs.replace(old.machine, processor="Z80")
    with pytest.raises(UsageError, match="processor Z80"):
        compare(report(noisy(1, 0)), msgspec.structs.replace(old, machine=there))


def test_a_report_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    written: Report = report(noisy(1, 0))
    path = tmp_path / "report.json"
    path.write_bytes(msgspec.json.encode(written))
    assert read_report(path) == written


@pytest.mark.parametrize("text", ["", "{}", '{"format": "overpaint-bench", "version": 2}'])
def test_a_file_that_is_no_report_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="overpaint bench --json"):
        read_report(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_report(tmp_path / "absent.json")
