"""A report as one picture: where the time goes, latency against steps, and its distribution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from overpaint.bundle.errors import MissingExtraError, OverpaintError

from .records import Report, Run


def plot(report: Report, path: Path) -> None:
    """Write a figure to `path`; its suffix is the format.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OverpaintError: the file cannot be written.
    """
    figure_class = import_matplotlib()
    measured = [run for run in report.runs if run.latency_ms is not None]
    figure = figure_class(figsize=(15, 4.5), layout="constrained")
    stages, steps, spread = figure.subplots(1, 3)
    _stages(stages, measured)
    _steps(steps, report, measured[0])
    _distribution(spread, measured)
    work = report.work
    assert work is not None
    figure.suptitle(
        f"{work.model}, {work.size[0]}x{work.size[1]}, {work.denoiser_calls} calls of the denoiser "
        f"({work.steps} steps asked for), {report.machine.processor}, "
        f"{report.machine.threads} threads",
        fontsize=10,
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise OverpaintError(f"{path}: the plot cannot be written: {error}") from None


def import_matplotlib() -> Any:
    """matplotlib's Figure, which draws without a display."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("bench", "matplotlib") from error
    return Figure


def _stages(axes: Any, measured: list[Run]) -> None:
    for row, run in enumerate(measured):
        assert run.latency_ms is not None
        left = 0.0
        mean = float(np.mean(run.latency_ms.samples))
        parts = [(stage.name, stage.share * mean) for stage in run.stages]
        for i, (name, width) in enumerate(parts or [("whole run", mean)]):
            colour = f"C{i}" if run.stages else "lightgrey"
            axes.barh(row, width, left=left, color=colour, label=name if not row else None)
            left += width
    axes.set_yticks(range(len(measured)), [run.peer for run in measured])
    axes.invert_yaxis()
    axes.set_xlabel("ms of a warm run, mean")
    axes.set_title("where the time goes")
    axes.legend(fontsize=8)


def _steps(axes: Any, report: Report, base: Run) -> None:
    runs = [base, *(p.run for p in report.sweep if p.axis == "steps" and p.run.latency_ms)]
    pairs = sorted(
        (run.work.denoiser_calls, run.latency_ms.p50) for run in runs if run.work and run.latency_ms
    )
    axes.plot([x for x, _ in pairs], [y for _, y in pairs], marker="o")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("calls of the denoiser")
    axes.set_ylabel("ms, median")
    axes.set_title("latency against steps" + ("" if len(pairs) > 1 else " (one point: no --steps)"))


def _distribution(axes: Any, measured: list[Run]) -> None:
    for run in measured:
        assert run.latency_ms is not None
        ordered = sorted(run.latency_ms.samples)
        share = np.arange(1, len(ordered) + 1) / len(ordered)
        axes.step(ordered, share, where="post", label=run.peer)
    axes.set_xscale("log")
    axes.set_xlabel("ms")
    axes.set_ylabel("share of runs at or below")
    axes.set_title("distribution")
    axes.legend(fontsize=8)
