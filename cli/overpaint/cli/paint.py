"""What `overpaint run` does: read, repaint, write, picture by picture, and say how it went."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import typer

from overpaint.bundle.errors import OverpaintError, UsageError
from overpaint.bundle.files.looking import is_folder
from overpaint.runtime.default_bundle import bundle_to_open
from overpaint.runtime.pipeline import Img2Img
from overpaint.runtime.request import HAND_OVER, Refiner, Request
from overpaint.runtime.resolved import check_text_to_image, random_seed, seeds
from overpaint.runtime.result import Complete, Result, Step
from overpaint.runtime.settings import Settings

from .json_output import echo_json
from .output import write
from .progress import progress_bar
from .repeat import Repeat
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
    again: Repeat | None = None


def paint(arguments: list[str], settings: Settings, options: Options) -> None:
    """Whatever can be refused is refused before an engine is opened or a file is written.

    One picture that fails does not stop the others: it is told at the end, and the exit code is 1.
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
        into_folder=is_folder(arguments[0]) and not options.text_to_image,
    )
    done: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    with contextlib.ExitStack() as opened:
        pipe = opened.enter_context(_open(options))
        refiner = _refiner(options, opened)
        for task in tasks:
            try:
                request = Request(task.image, prompt, settings, refiner)
                result = _paint(pipe.events(request), task, prompt, force=options.force)
            except OverpaintError as error:
                if len(tasks) == 1:
                    raise
                failed.append({"image": str(task.image), "error": str(error)})
                continue
            if options.again is not None:
                told = (*result.warnings, *options.again.differences(result.parameters))
                result = replace(result, warnings=told)
            done.append(_as_data(task, result))
            if not options.json:
                _tell(task, result)
    if options.json:
        echo_json({"results": done, "failed": failed})
    for failure in failed:
        typer.echo(f"overpaint: {failure['error']}", err=True)
    if failed:
        typer.echo(f"overpaint: {len(failed)} of {len(tasks)} pictures failed", err=True)
        raise typer.Exit(1)


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


def _paint(events: Iterator[Step | Complete], task: Task, prompt: str, *, force: bool) -> Result:
    with progress_bar(task.image.name if task.image else prompt[:40]) as advance:
        for event in events:
            if isinstance(event, Complete):
                for image, path in zip(event.result.images, task.outputs, strict=True):
                    write(image, path, force=force)
                return event.result
            advance(event.index, event.total)
    raise AssertionError("a run ends in Complete or an error")


def _tell(task: Task, result: Result) -> None:
    for warning in result.warnings:
        typer.echo(f"overpaint: warning: {warning}", err=True)
    for path, seed in zip(task.outputs, result.seeds, strict=True):
        typer.echo(
            f"{path}  seed {seed}, {result.steps_run} of {result.parameters.resolved.steps} steps, "
            f"{result.timings.total:.2f} s on {result.device}{_quality(result)}"
        )


def _quality(result: Result) -> str:
    decision = result.decision
    if decision is None or decision.psnr_db is None:
        return ""
    return f" ({decision.psnr_db:.1f} dB against f32)"


def _as_data(task: Task, result: Result) -> dict[str, Any]:
    parameters = result.parameters.as_dict()
    del parameters["seed"]
    return {
        "image": str(task.image) if task.image else None,
        "outputs": [str(path) for path in task.outputs],
        "seeds": result.seeds,
        **parameters,
        "devices": result.devices,
        "version": version("overpaint"),
        "passed_over": result.passed_over,
        "psnr_db": result.decision.psnr_db if result.decision else None,
        "timings": {**asdict(result.timings), "denoise": result.timings.denoise},
        "warnings": result.warnings,
    }
