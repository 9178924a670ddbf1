"""What `overpaint run` does: read, repaint, write, picture by picture, and say how it went."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from overpaint.bundle.errors import DiskFullError, OverpaintError, UsageError
from overpaint.runtime.default_bundle import bundle_to_open
from overpaint.runtime.pipeline import Img2Img
from overpaint.runtime.request import HAND_OVER, Refiner, Request
from overpaint.runtime.resolved import check_text_to_image, random_seed, seeds
from overpaint.runtime.result import Complete, Result, Step
from overpaint.runtime.settings import Settings

from .outcome import Outcome
from .output import refuse_existing, write
from .progress import progress_bar
from .work import Task, plan_outputs, split_arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What concerns the command and not the picture."""

    output: Path
    bundle: Path | None
    lora: tuple[str, ...]
    like: str | None
    refiner: Path | None
    hand_over: float | None
    text_to_image: bool
    device: str
    precision: str
    low_memory: bool
    force: bool
    json: bool


def paint(arguments: list[str], settings: Settings, options: Options) -> None:
    """Whatever can be refused is refused before an engine is opened or a file is written.

    One picture that fails does not stop the others: it is told at the end, and the exit code is 1.
    A full disk stops them.
    """
    images, prompt = split_arguments(arguments, text_to_image=options.text_to_image)
    if options.text_to_image:
        check_text_to_image(settings)
    if options.hand_over is not None and options.refiner is None:
        raise UsageError("--hand-over: it says when a refiner takes over; name one with --refiner")
    # One seed for all pictures, so that one --seed makes all of them again.
    seed = random_seed() if settings.seed is None else settings.seed
    settings = replace(settings, seed=seed)
    tasks = plan_outputs(
        images,
        seeds(seed, settings.n),
        options.output,
        force=options.force,
        into_folder=Path(arguments[0]).is_dir() and not options.text_to_image,
    )
    outcome = Outcome(as_json=options.json, pictures=len(tasks))
    with contextlib.ExitStack() as opened:
        pipe = opened.enter_context(_open(options))
        refiner = _refiner(options, opened)
        for i, task in enumerate(tasks):
            try:
                for path in task.outputs:  # another run may have taken a name by now
                    refuse_existing(path, force=options.force)
                request = Request(task.image, prompt, settings, refiner)
                result = _paint(pipe.events(request), task, prompt)
            except OverpaintError as error:
                outcome.failed(task, error)
                continue
            if not _write(result, task, outcome, force=options.force):
                outcome.stopped(tasks[i + 1 :])
                break
    outcome.tell()


def _write(result: Result, task: Task, outcome: Outcome, *, force: bool) -> bool:
    """Write every image that can be; False where the disk is full, and painting on is in vain."""
    room = True
    written = []
    for image, path in zip(result.images, task.outputs, strict=True):
        try:
            write(image, path, force=force)
        except OverpaintError as error:
            outcome.failed(task, error, path)
            room = room and not isinstance(error, DiskFullError)
        else:
            written.append(path)
    outcome.painted(task, result, written)
    return room


def _open(options: Options) -> Img2Img:
    with progress_bar("making a bundle") as advance:
        bundle = bundle_to_open(options.bundle, options.lora, options.like, advance)
    with progress_bar("checking the bundle", unit="percent") as advance:
        return Img2Img.open(
            bundle,
            device=options.device,
            precision=options.precision,
            low_memory=options.low_memory,
            progress=advance,
            comparing=lambda done, total: advance(done, total, "comparing bf16 with f32, once"),
        )


def _refiner(options: Options, opened: contextlib.ExitStack) -> Refiner | None:
    if options.refiner is None:
        return None
    pipe = opened.enter_context(_open(replace(options, bundle=options.refiner, lora=(), like=None)))
    return Refiner(pipe.engines, HAND_OVER if options.hand_over is None else options.hand_over)


def _paint(events: Iterator[Step | Complete], task: Task, prompt: str) -> Result:
    with progress_bar(task.image.name if task.image else prompt[:40]) as advance:
        for event in events:
            if isinstance(event, Complete):
                return event.result
            advance(event.index, event.total)
    raise AssertionError("a run ends in Complete or an error")
