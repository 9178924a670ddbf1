"""New figures against old ones: slower, faster, or no change beyond what noise explains."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import msgspec

from overpaint.bundle.errors import UsageError

from . import quantiles
from .records import FORMAT, Machine, Report, Run, Verdict
from .task import differences

MARGIN: Final = 0.05
SLOWER_EXIT: Final = 3


def read_report(path: Path) -> Report:
    """Raises UsageError for a file that is not a report of this version."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise UsageError(
            f"{path}: expected what overpaint bench --json wrote, but {error}"
        ) from None


def is_report(path: Path) -> bool:
    """Whether a JSON file says of itself that it is a report."""
    try:
        said = msgspec.json.decode(path.read_bytes())
    except msgspec.DecodeError:
        return False
    return isinstance(said, dict) and said.get("format") == FORMAT


def compare(new: Report, old: Report, margin: float = MARGIN) -> tuple[Verdict, ...]:
    """A verdict for each contender that both reports have.

    A run is slower where the whole 95 % interval of the ratio of medians lies above 1 + margin.
    The interval knows the noise within two runs; the margin stands for what drifts between them.

    Raises:
        UsageError: another machine or other work, so that a ratio would say nothing.
    """
    check_machine(new.machine, old.machine)
    before = {run.peer: run for run in old.runs if run.latency_ms is not None}
    both = [run for run in new.runs if run.latency_ms is not None and run.peer in before]
    if not both:
        raise UsageError("--compare: the old report has none of the contenders measured now")
    return tuple(_verdict(run, before[run.peer], margin) for run in both)


def check_machine(here: Machine, there: Machine) -> None:
    """Raises UsageError where figures of one say nothing about the other."""
    for name in ("processor", "cores", "threads", "accelerators"):
        one, other = getattr(here, name), getattr(there, name)
        if one != other:
            raise UsageError(f"--compare: measured on another machine: {name} {other}, here {one}")


def _verdict(new: Run, old: Run, margin: float) -> Verdict:
    assert new.work is not None
    assert old.work is not None
    if unlike := differences(old.work, new.work):
        raise UsageError(f"--compare: {new.peer} did other work then: {'; '.join(unlike)}")
    assert new.latency_ms is not None
    assert old.latency_ms is not None
    now, then = new.latency_ms.samples, old.latency_ms.samples
    low, high = quantiles.ratio_interval(now, then, paired=False)
    return Verdict(
        peer=new.peer,
        device=new.device,
        verdict=judged(low, high, margin),
        ratio=round(new.latency_ms.p50 / old.latency_ms.p50, 4),
        interval=(round(low, 4), round(high, 4)),
        margin=margin,
    )


def judged(low: float, high: float, margin: float) -> Literal["slower", "faster", "no_change"]:
    """What an interval of new / old says."""
    if low > 1 + margin:
        return "slower"
    return "faster" if high < 1 / (1 + margin) else "no_change"
