"""`overpaint bench --live`: frames through our live run, our calls, and peers called in a loop."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np

from overpaint.bundle.errors import OverpaintError, UsageError
from overpaint.engines.host.cores import usable_cores
from overpaint.runtime.live.line import AHEAD

from .contenders import Contender, ours
from .conversation import ContenderError, Conversation
from .machine import this_machine
from .measure import LIMITS_DB, Plan, Progress
from .pictures import psnr, write_input
from .records import Machine
from .sheets import Sheet
from .task import Task, job

WARM_UP: Final = 5
CAMERA: Final = 25.0
"""Frames a second of the camera that everybody is held up to."""

LIVE: Final = "overpaint, live"
LIVE_ALONE: Final = "overpaint, live, one at a time"
CALLS: Final = "overpaint, a call for each"


class LiveRun(msgspec.Struct, frozen=True, kw_only=True):
    """One contender. Latencies in milliseconds, from when a frame was there until it was repainted:
    at full speed, and behind a camera, where `dropped` frames were late. `psnr_db`: its first
    picture beside that of our call."""

    peer: str
    status: Literal["ok", "skipped", "not_comparable"]
    why: str = ""
    install: str | None = None
    psnr_db: float | None = None
    frames_per_second: float | None = None
    processor_ms: float | None = None
    latency_p50_ms: float | None = None
    latency_p99_ms: float | None = None
    camera_p50_ms: float | None = None
    camera_p99_ms: float | None = None
    dropped: int | None = None


class LiveReport(msgspec.Struct, frozen=True, kw_only=True):
    """`steps` are run for each of `frames` frames of `size`; `camera`: its frames a second."""

    format: Literal["overpaint-bench-live"] = "overpaint-bench-live"
    machine: Machine
    model: str
    size: tuple[int, int]
    steps: int
    strength: float
    guidance_scale: float
    sampler: str
    device: str
    precision: str
    frames: int
    camera: float
    runs: tuple[LiveRun, ...]


_MEASURES: Final = {
    "frames_per_second": "frames a second",
    "processor_ms": "processor, ms a frame",
    "latency_p50_ms": "latency p50, ms",
    "latency_p99_ms": "latency p99, ms",
    "camera_p50_ms": "behind a camera of {camera:g} a second: p50, ms",
    "camera_p99_ms": "p99, ms",
    "dropped": "frames dropped",
    "psnr_db": "first picture, dB to our call's (100: the same)",
}


def measure_live(peers: list[Contender], task: Task, plan: Plan, progress: Progress) -> LiveReport:
    """One contender after the other, each in a process of its own: frames that overlap would make
    use of the time in which another is asked.

    Raises:
        UsageError: a guidance or a strength at which nothing is live.
        OverpaintError: ours itself cannot be opened or run.
    """
    if task.images != 1 or not task.strength:
        raise UsageError("--live: repaints one picture of each frame, at a strength above 0")
    frames = plan.repeats
    scheduled = int(task.steps / task.strength)
    contenders: list[tuple[Contender, Task, dict[str, Any]]] = [
        (replace(ours(), name=CALLS), task, {"steps_mode": "exact"}),
        (replace(ours(), name=LIVE), task, {"steps_mode": "exact", "ahead": AHEAD}),
        (replace(ours(), name=LIVE_ALONE), task, {"steps_mode": "exact", "ahead": 1}),
        *((one, replace(task, steps=scheduled), {}) for one in peers),
    ]
    runs: list[LiveRun] = []
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "input.png"
        write_input(image, task.size, plan.image)
        for done, (contender, asked, told) in enumerate(contenders):
            progress(done, len(contenders), contender.name)
            runs.append(_run(contender, asked, told, plan, image, frames))
    return LiveReport(
        machine=this_machine(),
        model=plan.bundle.manifest.name,
        size=task.size,
        steps=task.steps,
        strength=task.strength,
        guidance_scale=task.guidance_scale,
        sampler=task.sampler,
        device=task.device,
        precision=task.precision,
        frames=frames,
        camera=CAMERA,
        runs=tuple(runs),
    )


def _run(
    contender: Contender, task: Task, told: dict[str, Any], plan: Plan, image: Path, frames: int
) -> LiveRun:
    threads = usable_cores()
    picture = image.with_name(f"{contender.name}.png")
    line = job(task, plan.bundle, plan.checkpoint, image, picture, threads) | told
    with ExitStack() as opened:
        try:
            talk = opened.enter_context(Conversation(contender, line, threads))
            talk.play(WARM_UP)
            full, camera = talk.play(frames), talk.play(frames, CAMERA)
        except ContenderError as error:
            if contender.name in (CALLS, LIVE, LIVE_ALONE):
                raise OverpaintError(str(error)) from None
            install = contender.install if error.missing else None
            return LiveRun(peer=contender.name, status="skipped", why=str(error), install=install)
        decibels, _ = psnr(image.with_name(f"{CALLS}.png"), picture)
    denoiser = plan.bundle.manifest.components[plan.bundle.manifest.denoiser]
    like = decibels >= LIMITS_DB["bfloat16" if task.precision == "bf16" else denoiser.compute_dtype]
    return LiveRun(
        peer=contender.name,
        status="ok" if like else "not_comparable",
        why="" if like else f"its picture differs: {decibels:.1f} dB",
        psnr_db=decibels,
        frames_per_second=round(len(full.latencies) / full.seconds, 2),
        processor_ms=round(full.processor_seconds / len(full.latencies) * 1e3, 2),
        latency_p50_ms=_ms(full.latencies, 50),
        latency_p99_ms=_ms(full.latencies, 99),
        camera_p50_ms=_ms(camera.latencies, 50),
        camera_p99_ms=_ms(camera.latencies, 99),
        dropped=camera.dropped,
    )


def _ms(seconds: list[float], percent: float) -> float:
    return round(float(np.percentile(seconds, percent)) * 1e3, 2)


def live_sheets(report: LiveReport) -> list[Sheet | str]:
    """The report as a heading, a table, and what was left out."""
    width, height = report.size
    heading = (
        f"{report.model}, {width}x{height}, {report.steps} step{'s' * (report.steps > 1)} at "
        f"strength {report.strength:g}, guidance {report.guidance_scale:g}, {report.sampler}; "
        f"{report.frames} frames on {report.machine.processor}, {report.machine.threads} cores"
    )
    done = [run for run in report.runs if run.frames_per_second is not None]
    sheet = Sheet.of("", *(run.peer for run in done))
    for name, told in _MEASURES.items():
        sheet.add(told.format(camera=report.camera), *(_cell(getattr(run, name)) for run in done))
    notes = [f"{run.peer}: {run.why}" for run in report.runs if run.why]
    notes += [f"  {run.install}" for run in report.runs if run.install]
    return [heading, sheet, *notes]


def _cell(value: float) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)
