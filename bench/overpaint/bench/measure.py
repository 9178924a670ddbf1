"""Contenders on one task: pictures are compared first, then all are timed in turn, A B A B."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from overpaint.bundle.errors import OverpaintError
from overpaint.bundle.format.bundle import Bundle
from overpaint.engines.host.cores import usable_cores

from .contenders import OURS, Contender
from .conversation import ContenderError, Conversation, Opened
from .pictures import psnr, write_input
from .records import ColdStart, Ratio, Run
from .summary import latency_of, ratio, stages_of
from .task import Task, differences, job, stored_precision, torch_device, work_done

# Below this a picture is another picture. Half precision rounds differently in each library.
LIMITS_DB: Final = {"float32": 40.0, "float16": 25.0, "bfloat16": 25.0}

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How often: `cold` processes are started, `warmup` runs are thrown away, `repeats` kept."""

    bundle: Bundle
    checkpoint: Path | None
    image: Path | None
    warmup: int
    repeats: int
    cold: int


@dataclass(slots=True)
class _Seat:
    """A contender that is open, and what was noted of it."""

    contender: Contender
    talk: Conversation
    starts: list[Opened]
    run: Run
    times: list[float]
    stages: dict[str, list[list[float]]]


def measure(
    contenders: Sequence[Contender], task: Task, plan: Plan, progress: Progress
) -> tuple[Run, ...]:
    """Runs in the order of `contenders`, the first of which is ours.

    Raises:
        OverpaintError: ours itself cannot be opened or run.
    """
    rounds = plan.warmup + plan.repeats
    total, done = len(contenders) * (plan.cold + rounds), 0

    def advance(doing: str, by: int = 1) -> None:
        nonlocal done
        done += by
        progress(min(done, total), total, doing)

    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        image = Path(folder) / "input.png"
        sha256 = write_input(image, task.size, plan.image)
        seats: list[_Seat] = []
        runs: dict[str, Run] = {}
        for contender in contenders:
            advance(f"{contender.name}: cold start", 0)
            try:
                seat = _open(contender, task, plan, image, sha256, opened, advance)
            except ContenderError as error:
                if contender.name == OURS:
                    raise OverpaintError(str(error)) from None
                runs[contender.name] = _skipped(contender, error)
                advance(contender.name, rounds)
                continue
            if seats:
                seat.run = _agreeing(seat, seats[0].run, Path(folder), plan.bundle)
            runs[contender.name] = seat.run
            if seat.run.status == "ok":
                seats.append(seat)
            else:
                seat.talk.close()
                advance(contender.name, rounds)
        _interleave(seats, plan, advance)
        for seat in seats:
            runs[seat.contender.name] = _finished(seat, seats[0])
    return tuple(runs[contender.name] for contender in contenders)


def _open(
    contender: Contender,
    task: Task,
    plan: Plan,
    image: Path,
    sha256: str,
    opened: ExitStack,
    advance: Callable[[str], None],
) -> _Seat:
    """Start it as often as cold starts are wanted; the last process stays."""
    threads = usable_cores()
    picture = image.with_name(f"{contender.name}.png")
    asked = job(task, plan.bundle, plan.checkpoint, image, picture, threads)
    asked["fidelity"] = contender.fidelity
    starts: list[Opened] = []
    for i in range(plan.cold):
        talk = Conversation(contender, asked, threads)
        opened.callback(talk.close)
        starts.append(talk.opened)
        advance(f"{contender.name}: cold start")
        if i < plan.cold - 1:
            talk.close()
    last = starts[-1]
    stored = stored_precision(plan.bundle)
    work = work_done(task, plan.bundle.manifest, sha256, last, stored)
    run = Run(
        peer=contender.name,
        status="ok",
        device=last.did.get("device", torch_device(task)),
        work=work,
        fidelity=contender.fidelity,
        evaluations=last.did.get("evaluations"),
        versions=last.versions,
        resident_mb=round(last.resident, 1),
        cold_start=ColdStart(
            imported_s=_rounded(start.imported for start in starts),
            opened_s=_rounded(start.opened for start in starts),
            first_image_s=_rounded(start.first for start in starts),
        ),
    )
    return _Seat(contender, talk, starts, run, [], {})


def _agreeing(seat: _Seat, base: Run, folder: Path, bundle: Bundle) -> Run:
    """Its run with its picture's distance from ours, and not_comparable if it is another one and
    was not asked to be."""
    run = seat.run
    decibels, largest = psnr(folder / f"{base.peer}.png", folder / f"{run.peer}.png")
    changes: dict[str, object] = {"psnr_db": decibels, "max_difference": largest}
    assert run.work is not None
    assert base.work is not None
    if run.fidelity != base.fidelity:  # which is to say how far they are apart
        return msgspec.structs.replace(run, **changes)
    if not seat.contender.alike:
        unlike = differences(
            msgspec.structs.replace(base.work, precision=run.work.precision), run.work
        )
        why = "; ".join(unlike) or "in no ratio: its noise and its precision are its own"
        changes |= {"status": "not_comparable" if unlike else "ok", "why": why}
        return msgspec.structs.replace(run, **changes)
    limit = LIMITS_DB[base.work.precision[bundle.manifest.denoiser]]
    if unlike := differences(base.work, run.work):
        changes |= {"status": "not_comparable", "why": "; ".join(unlike)}
    elif decibels < limit:
        why = f"its picture differs: {decibels:.1f} dB, where {limit:.0f} are asked for"
        changes |= {"status": "not_comparable", "why": why}
    return msgspec.structs.replace(run, **changes)


def _interleave(seats: list[_Seat], plan: Plan, advance: Callable[[str], None]) -> None:
    for i in range(plan.warmup + plan.repeats):
        for seat in seats:
            spent, stages = seat.talk.paint()
            advance(f"{seat.contender.name}: run {i + 1}")
            if i < plan.warmup:
                continue
            seat.times.append(spent)
            for name, calls in stages.items():
                seat.stages.setdefault(name, []).append(calls)


def _finished(seat: _Seat, base: _Seat) -> Run:
    _, peak, device = seat.talk.end()
    latency = latency_of(seat.times)
    assert seat.run.work is not None
    return msgspec.structs.replace(
        seat.run,
        latency_ms=latency,
        stages=stages_of(seat.stages, seat.times),
        images_per_second=round(seat.run.work.images / latency.p50 * 1e3, 4),
        peak_mb=round(peak, 1),
        device_mb=device,
        ratio=_ratio(seat, base),
    )


def _ratio(seat: _Seat, base: _Seat) -> Ratio | None:
    if seat is base or not seat.contender.alike:
        return None
    return ratio(seat.run, seat.times, base.run, base.times)


def _skipped(contender: Contender, error: ContenderError) -> Run:
    """Not installed, or not able to: the installing command only where it would help."""
    install = contender.install if error.missing else None
    return Run(peer=contender.name, status="skipped", why=str(error), install=install)


def _rounded(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(round(value, 3) for value in values)
