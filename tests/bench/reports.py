"""Reports as a measurement makes them, without a measurement."""

from __future__ import annotations

from collections.abc import Sequence

from overpaint.bench.machine import this_machine
from overpaint.bench.records import ColdStart, Point, Report, Run, Work
from overpaint.bench.summary import latency_of, stages_of

WORK = Work(
    model="pocket",
    model_sha256="0" * 64,
    family="sd1",
    prompt="a lighthouse",
    image_sha256="1" * 64,
    size=(128, 128),
    images=1,
    steps=10,
    denoiser_calls=5,
    strength=0.5,
    guidance_scale=4.0,
    guidance=True,
    sampler="default",
    seed=0,
    precision={"unet": "float32"},
    stored={"unet": "F16"},
)


def run(times: Sequence[float], peer: str = "overpaint", work: Work = WORK) -> Run:
    latency = latency_of(times)
    stages = {"step, engine": [[time / 2e3 / 5] * 5 for time in times]}
    return Run(
        peer=peer,
        status="ok",
        device="cpu",
        work=work,
        latency_ms=latency,
        stages=stages_of(stages, times),
        images_per_second=1e3 / latency.p50,
        cold_start=ColdStart(imported_s=(0.1,), opened_s=(0.2,), first_image_s=(0.5,)),
        resident_mb=100.0,
        peak_mb=150.0,
    )


def report(*runs: Run, sweep: tuple[Point, ...] = ()) -> Report:
    return Report(
        machine=this_machine(),
        work=runs[0].work,
        warmup=1,
        repeats=len(runs[0].latency_ms.samples) if runs[0].latency_ms else 0,
        runs=runs,
        sweep=sweep,
    )
