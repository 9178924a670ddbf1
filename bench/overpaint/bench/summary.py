"""Samples -> the figures of a report: latency, stages, and a ratio where there may be one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from overpaint.bundle.errors import OverpaintError

from . import quantiles
from .records import Latency, Ratio, Run, Stage
from .task import differences

FEWEST_ROUNDS: Final = 6  # fewer say nothing of their spread, as for a median


def ratio(run: Run, times: Sequence[float], base: Run, base_times: Sequence[float]) -> Ratio:
    """Median over median.

    Raises:
        OverpaintError: they did not do the same work, so there is none.
    """
    assert run.work is not None
    assert base.work is not None
    if unlike := differences(run.work, base.work):
        raise OverpaintError(
            f"no ratio of {run.peer} to {base.peer}, which did other work: {'; '.join(unlike)}"
        )
    low: float | None = None
    high: float | None = None
    if len(times) >= FEWEST_ROUNDS:
        low, high = (round(x, 4) for x in quantiles.ratio_interval(times, base_times, paired=True))
    value = quantiles.quantile(times, 0.5) / quantiles.quantile(base_times, 0.5)
    return Ratio(value=round(value, 4), interval=(low, high))


def latency_of(times: Sequence[float]) -> Latency:
    def at(q: float) -> float:
        return round(quantiles.quantile(times, q), 3)

    return Latency(
        p50=at(0.5),
        p90=at(0.9),
        p99=at(0.99),
        p50_interval=_interval(times, 0.5),
        p90_interval=_interval(times, 0.9),
        p99_interval=_interval(times, 0.99),
        samples=tuple(round(one, 3) for one in times),
    )


def stages_of(stages: dict[str, list[list[float]]], times: Sequence[float]) -> tuple[Stage, ...]:
    """Seconds by stage and run -> milliseconds of one call. What no stage has is `other`."""
    whole = sum(times) / 1e3
    rows = {name: runs for name, runs in stages.items() if any(runs)}
    if rows:
        counted = [sum(sum(runs[i]) for runs in rows.values()) for i in range(len(times))]
        pairs = zip(times, counted, strict=True)
        rows["other"] = [[total / 1e3 - stage] for total, stage in pairs]
    made = []
    for name, runs in rows.items():
        calls = [seconds * 1e3 for run in runs for seconds in run]
        made.append(
            Stage(
                name=name,
                calls=len(runs[0]),
                p50_ms=round(quantiles.quantile(calls, 0.5), 4),
                p50_interval=_interval(calls, 0.5),
                p90_ms=round(quantiles.quantile(calls, 0.9), 4),
                share=round(sum(calls) / 1e3 / whole, 4),
            )
        )
    return tuple(made)


def _interval(values: Sequence[float], q: float) -> tuple[float | None, float | None]:
    low, high = quantiles.interval(values, q)
    return None if low is None else round(low, 4), None if high is None else round(high, 4)
