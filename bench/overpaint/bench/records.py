"""What a benchmark says, as data: docs/benchmark.md explains every field. Unknown ones are errors.

Milliseconds, seconds, MB (10^6 bytes) and images a second, as each name says. An interval is 95 %;
an end that this many repeats cannot bound is null.
"""

from __future__ import annotations

from typing import Literal

import msgspec

FORMAT = "overpaint-bench"
Status = Literal["ok", "skipped", "not_comparable"]
Interval = tuple[float | None, float | None]


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The closed, immutable base of every entry."""


class Machine(Record, frozen=True, kw_only=True):
    """What it ran on, and nothing that names the host. `clock_mhz`: as read at the start."""

    processor: str
    cores: int
    threads: int
    memory_gb: float
    clock_mhz: float | None
    governor: str | None
    load_average: float | None
    accelerators: tuple[str, ...]
    system: str
    python: str
    versions: dict[str, str]


class Work(Record, frozen=True, kw_only=True):
    """What was done. Two runs whose Work differs are never put into a ratio.

    `steps` were requested; `denoiser_calls` were executed, each on `images` latents, or on twice as
    many where `guidance` is on. `precision`: of each component's arithmetic. `stored`: of weights.
    """

    model: str
    model_sha256: str
    family: str
    prompt: str
    image_sha256: str
    size: tuple[int, int]
    images: int
    steps: int
    denoiser_calls: int
    strength: float
    guidance_scale: float
    guidance: bool
    sampler: str
    seed: int
    precision: dict[str, str]
    stored: dict[str, str]


class Latency(Record, frozen=True, kw_only=True):
    """Of one warm run, prompt encoding included. `samples` in the order they were taken."""

    p50: float
    p90: float
    p99: float
    p50_interval: Interval
    p90_interval: Interval
    p99_interval: Interval
    samples: tuple[float, ...]


class Stage(Record, frozen=True, kw_only=True):
    """One part of a warm run. `calls`: how often it happens in one run; times are of one call."""

    name: str
    calls: int
    p50_ms: float
    p50_interval: Interval
    p90_ms: float
    share: float


class ColdStart(Record, frozen=True, kw_only=True):
    """Seconds from the start of a process until: libraries are there, engines open, a picture."""

    imported_s: tuple[float, ...]
    opened_s: tuple[float, ...]
    first_image_s: tuple[float, ...]


class Ratio(Record, frozen=True, kw_only=True):
    """Median latency over overpaint's, on the same work in the same run; above 1 is slower."""

    value: float
    interval: Interval


class Run(Record, frozen=True, kw_only=True):
    """One contender. What is skipped says why and how to install it; the rest is then empty.

    Who makes another picture by its make has a `why`, and no ratio.
    `fidelity`: the level it painted at. `evaluations`: of the denoiser, one for each branch of
    guidance of each picture, where it tells.
    """

    peer: str
    status: Status
    device: str | None = None
    why: str | None = None
    install: str | None = None
    work: Work | None = None
    fidelity: str = "exact"
    evaluations: int | None = None
    latency_ms: Latency | None = None
    stages: tuple[Stage, ...] = ()
    images_per_second: float | None = None
    cold_start: ColdStart | None = None
    resident_mb: float | None = None
    peak_mb: float | None = None
    device_mb: float | None = None
    psnr_db: float | None = None
    max_difference: int | None = None
    ratio: Ratio | None = None
    versions: dict[str, str] = {}


class Point(Record, frozen=True, kw_only=True):
    """One point of a sweep: which axis was moved, to what, and the run in a process of its own."""

    axis: str
    value: str
    run: Run


class Growth(Record, frozen=True, kw_only=True):
    """quantity ~ axis ** exponent. `misfit`: the largest relative distance from that law."""

    axis: str
    quantity: str
    exponent: float
    interval: tuple[float, float]
    misfit: float
    points: int


class EngineLimit(Record, frozen=True, kw_only=True):
    """One call of an engine: its arithmetic, the weights it must read, the floor and the fact."""

    component: str
    gflop: float
    weights_mb: float
    floor_ms: float
    measured_ms: float
    share: float


class Limits(Record, frozen=True, kw_only=True):
    """The machine's measured rates, and the share of them that each engine reached."""

    matrix_gflops: float
    bandwidth_gbs: float
    engines: tuple[EngineLimit, ...]


class Footprint(Record, frozen=True, kw_only=True):
    """An environment that can run one contender. `installed_mb`: without pip and setuptools."""

    environment: str
    status: Status
    why: str | None = None
    installed_mb: float | None = None
    import_s: float | None = None
    first_image_s: float | None = None
    resident_mb: float | None = None
    peak_mb: float | None = None
    versions: dict[str, str] = {}


class Verdict(Record, frozen=True, kw_only=True):
    """New over old, on the same work and machine. `margin`: what is not called a change."""

    peer: str
    device: str | None
    verdict: Literal["slower", "faster", "no_change"]
    ratio: float
    interval: tuple[float, float]
    margin: float


class Report(Record, frozen=True, kw_only=True):
    """The whole of `overpaint bench --json`."""

    format: Literal["overpaint-bench"] = "overpaint-bench"
    version: Literal[1] = 1
    machine: Machine
    work: Work | None
    warmup: int
    repeats: int
    runs: tuple[Run, ...]
    sweep: tuple[Point, ...] = ()
    growth: tuple[Growth, ...] = ()
    limits: Limits | None = None
    footprint: tuple[Footprint, ...] = ()
    compared: tuple[Verdict, ...] = ()
