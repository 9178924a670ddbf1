"""A report as text and sheets of text: what the terminal and the documentation both show."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from .records import Footprint, Interval, Limits, Point, Report, Run, Work


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table of strings. The first column names the rows."""

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]

    @classmethod
    def of(cls, *columns: str) -> Self:
        return cls(columns, [])

    def add(self, *cells: str) -> None:
        self.rows.append(cells)


def sheets(report: Report) -> Iterator[str | Sheet]:
    """The report from top to bottom: where, what, how fast, and what follows from it."""
    yield _machine(report)
    if report.work is not None:
        yield _work(report.work)
        times = "each warm run encodes its prompt anew; 95 % intervals from order statistics"
        yield f"{report.repeats} runs each after {report.warmup} of warm-up; {times}"
        yield _runs(report.runs)
        yield from _notes(report.runs)
        yield from (_stages(run) for run in report.runs if run.stages)
    if report.sweep:
        yield _sweep(report.sweep)
    if report.growth:
        yield _growth(report)
    if report.limits:
        yield _limits(report.limits)
    if report.footprint:
        yield _footprint(report.footprint)
    for one in report.compared:
        low, high = one.interval
        yield (
            f"{one.peer}: {one.verdict.replace('_', ' ')}, {one.ratio:.3f} times the old median "
            f"[{low:.3f}, {high:.3f}]; less than {one.margin:.0%} is not called a change"
        )


def _machine(report: Report) -> str:
    one = report.machine
    clock = f", {one.clock_mhz:.0f} MHz" if one.clock_mhz else ""
    governor = f", governor {one.governor}" if one.governor else ""
    load = "" if one.load_average is None else f", load {one.load_average}"
    versions = ", ".join(f"{name} {version}" for name, version in one.versions.items())
    devices = "".join(f"\n{name}" for name in one.accelerators)
    return (
        f"{one.processor}: {one.threads} threads on {one.cores} cores{clock}{governor}, "
        f"{one.memory_gb:.0f} GB, {one.system}{load}{devices}\nPython {one.python}, {versions}"
    )


def _work(work: Work) -> str:
    guidance = f"guidance {work.guidance_scale:g}" if work.guidance else "no guidance"
    arithmetic = _grouped(work.precision)
    stored = _grouped(work.stored)
    return (
        f"{work.model} ({work.family}), {work.size[0]}x{work.size[1]}, {work.images} image"
        f"{'s' * (work.images > 1)}; {work.steps} steps asked for, strength {work.strength:g}: "
        f"{work.denoiser_calls} calls of the denoiser; {guidance}, sampler {work.sampler}, "
        f"seed {work.seed}\ncomputed in {arithmetic}; weights stored in {stored}"
    )


def _grouped(precision: dict[str, str]) -> str:
    """`float32`, or `float16 (unet), float32 (vae_decoder)`."""
    kinds = dict[str, list[str]]()
    for component, kind in precision.items():
        kinds.setdefault(kind or "none", []).append(component)
    if len(kinds) == 1:
        return next(iter(kinds))
    return ", ".join(f"{kind} ({', '.join(names)})" for kind, names in kinds.items())


def _runs(runs: tuple[Run, ...]) -> Sheet:
    """Contenders side by side; what nobody has is left out."""
    table = Sheet.of("", *(run.peer for run in runs))
    levels = len({run.fidelity for run in runs}) > 1
    cells = [({"fidelity": run.fidelity} if levels else {}) | _cells(run) for run in runs]
    for name in dict.fromkeys(name for one in cells for name in one):
        table.add(name, *(one.get(name, "") for one in cells))
    return table


def _cells(run: Run) -> dict[str, str]:
    latency, cold, ratio = run.latency_ms, run.cold_start, run.ratio
    cells = {"": run.status.replace("_", " ")} if run.status != "ok" else {}
    if latency:
        cells |= {
            "p50 ms": with_interval(latency.p50, latency.p50_interval),
            "p90 ms": with_interval(latency.p90, latency.p90_interval),
            "p99 ms": with_interval(latency.p99, latency.p99_interval),
        }
    if ratio:
        cells["times overpaint's p50"] = with_interval(ratio.value, ratio.interval)
    if run.images_per_second:
        cells["images/s"] = f"{run.images_per_second:.3g}"
    if cold:
        for name, starts in (
            ("cold start, imported s", cold.imported_s),
            ("cold start, opened s", cold.opened_s),
            ("cold start, first image s", cold.first_image_s),
        ):
            cells[name] = f"{statistics.median(starts):.2f}"
    for name, megabytes in (
        ("resident MB, opened", run.resident_mb),
        ("resident MB, peak", run.peak_mb),
        ("device MB", run.device_mb),
    ):
        if megabytes is not None:
            cells[name] = f"{megabytes:.0f}"
    if run.evaluations is not None:
        cells["evaluations"] = str(run.evaluations)
    if run.psnr_db is not None:
        cells["picture against ours"] = f"{run.psnr_db:.1f} dB, {run.max_difference}/255"
    if run.device:
        cells["runs on"] = run.device
    return cells


def with_interval(value: float, interval: Interval) -> str:
    """`12.3 [12.1, –]`: an end that is open is a dash."""
    low, high = ("–" if end is None else _number(end) for end in interval)
    return f"{_number(value)} [{low}, {high}]"


def _number(value: float) -> str:
    return f"{value:.4g}" if value < 1e4 else f"{value:.0f}"


def _notes(runs: tuple[Run, ...]) -> Iterator[str]:
    for run in runs:
        if run.why:
            yield f"{run.peer} {run.status.replace('_', ' ')}: {run.why}"
        if run.install:
            yield f"  install it with: {run.install}"


def _stages(run: Run) -> Sheet:
    table = Sheet.of(f"{run.peer}, stage", "calls", "p50 ms of a call", "p90 ms", "share")
    for stage in run.stages:
        table.add(
            stage.name,
            str(stage.calls),
            with_interval(stage.p50_ms, stage.p50_interval),
            f"{stage.p90_ms:.4g}",
            f"{stage.share:.1%}",
        )
    return table


def _sweep(points: tuple[Point, ...]) -> Sheet:
    table = Sheet.of(
        *("axis", "value", "calls", "p50 ms", "images/s", "first image s", "peak MB", "")
    )
    for point in points:
        run = point.run
        latency, cold, work = run.latency_ms, run.cold_start, run.work
        table.add(
            point.axis,
            point.value,
            str(work.denoiser_calls) if work else "",
            with_interval(latency.p50, latency.p50_interval) if latency else run.status,
            f"{run.images_per_second:.3g}" if run.images_per_second else "",
            f"{cold.first_image_s[0]:.2f}" if cold else "",
            f"{run.peak_mb:.0f}" if run.peak_mb else "",
            run.why or "",
        )
    return table


def _growth(report: Report) -> Sheet:
    table = Sheet.of("grows with", "quantity", "exponent, 95 %", "misfit", "points")
    for one in report.growth:
        low, high = one.interval
        exponent = f"{one.exponent:.2f} [{low:.2f}, {high:.2f}]"
        table.add(one.axis, one.quantity, exponent, f"{one.misfit:.1%}", str(one.points))
    return table


def _limits(limits: Limits) -> Sheet:
    rates = f"{limits.matrix_gflops:.0f} GFLOP/s, {limits.bandwidth_gbs:.1f} GB/s"
    table = Sheet.of(
        f"limit at {rates}", "GFLOP", "weights MB", "floor ms", "measured ms", "reached"
    )
    for one in limits.engines:
        table.add(
            one.component,
            f"{one.gflop:.4g}",
            f"{one.weights_mb:.4g}",
            f"{one.floor_ms:.4g}",
            f"{one.measured_ms:.4g}",
            f"{one.share:.0%}",
        )
    return table


def _footprint(rows: tuple[Footprint, ...]) -> Sheet:
    table = Sheet.of(
        *("environment", "installed MB", "import s", "first image s", "resident MB", "peak MB", "")
    )
    for one in rows:
        table.add(
            one.environment,
            f"{one.installed_mb:.0f}" if one.installed_mb else one.status,
            f"{one.import_s:.2f}" if one.import_s else "",
            f"{one.first_image_s:.2f}" if one.first_image_s else "",
            f"{one.resident_mb:.0f}" if one.resident_mb else "",
            f"{one.peak_mb:.0f}" if one.peak_mb else "",
            one.why or "",
        )
    return table
