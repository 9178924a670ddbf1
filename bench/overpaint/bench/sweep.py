"""One axis at a time around the first value of each, every point in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from overpaint.bundle.errors import UsageError

from .growth import power_law
from .records import Growth, Point, Run
from .task import Task

T = TypeVar("T")

AXES: Final = ("size", "steps", "strength", "images", "sampler", "device", "precision")


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """The values of each axis; the first of each is the base."""

    size: tuple[tuple[int, int], ...]
    steps: tuple[int, ...]
    strength: tuple[float, ...]
    images: tuple[int, ...]
    sampler: tuple[str, ...]
    device: tuple[str, ...]
    precision: tuple[str, ...]


def listed(option: str, text: str | None, read: Callable[[str], T], example: str) -> tuple[T, ...]:
    """ "10,20,40" -> (10, 20, 40); None -> (). Raises UsageError for what `read` does not take."""
    if text is None:
        return ()
    try:
        values = tuple(read(part.strip()) for part in text.split(","))
    except UsageError:
        raise
    except ValueError:
        raise UsageError(f"{option}: expected values as {example}, got {text!r}") from None
    if len(set(values)) < len(values):
        raise UsageError(f"{option}: {text!r} names a value twice")
    return values


def points(axes: Axes, base: Task) -> list[tuple[str, str, Task]]:
    """(axis, value, task) of every point but the base."""
    return [
        (axis, written(value), replace(base, **{axis: value}))
        for axis in AXES
        for value in getattr(axes, axis)[1:]
    ]


def written(value: object) -> str:
    """A size as 512x384, a number as short as it goes."""
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def growth(base: Run, sweep: Sequence[Point]) -> tuple[Growth, ...]:
    """Fitted exponents of latency and memory against calls of the denoiser, pixels and images."""
    found = []
    for axis, name in (("steps", "denoiser_calls"), ("size", "pixels"), ("images", "images")):
        runs = [base, *(point.run for point in sweep if point.axis == axis)]
        runs = [run for run in runs if run.status == "ok"]
        xs = [float(_amount(run, axis)) for run in runs]
        for quantity, values in _quantities(runs).items():
            if law := power_law(xs, values):
                found.append(
                    Growth(
                        axis=name,
                        quantity=quantity,
                        exponent=round(law.exponent, 4),
                        interval=(round(law.low, 4), round(law.high, 4)),
                        misfit=round(law.misfit, 4),
                        points=law.points,
                    )
                )
    return tuple(found)


def _amount(run: Run, axis: str) -> int:
    work = run.work
    assert work is not None
    if axis == "steps":
        return work.denoiser_calls
    return work.images if axis == "images" else work.size[0] * work.size[1]


def _quantities(runs: Sequence[Run]) -> dict[str, list[float]]:
    """Of each run: latency, the denoiser's part of it, and memory beyond the opened engines."""
    told: dict[str, list[float]] = {"latency": [], "denoise": [], "peak_mb": []}
    for run in runs:
        assert run.latency_ms is not None
        assert run.peak_mb is not None
        told["latency"].append(run.latency_ms.p50)
        told["denoise"].append(sum(s.share for s in run.stages if "step" in s.name))
        told["denoise"][-1] *= sum(run.latency_ms.samples) / len(run.latency_ms.samples)
        told["peak_mb"].append(run.peak_mb)
    return told
