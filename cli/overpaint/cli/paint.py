"""What `overpaint run` does: read, repaint, write, picture by picture, and say how it went."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from overpaint.bundle.errors import DiskFullError, OutputExistsError, OverpaintError, UsageError
from overpaint.runtime.control.picture import check_picture
from overpaint.runtime.default_bundle import bundle_to_open
from overpaint.runtime.image import ImageLike, Picture, read
from overpaint.runtime.ip_adapter.references import check_references
from overpaint.runtime.masks.ground import check_mask_settings
from overpaint.runtime.masks.read import read_mask
from overpaint.runtime.pipeline import Img2Img
from overpaint.runtime.request import HAND_OVER, Refiner, Request
from overpaint.runtime.resolved import check_text_to_image, random_seed, seeds, variation_seed
from overpaint.runtime.result import Complete, Result, Step
from overpaint.runtime.settings import Settings

from .controls import Controls
from .outcome import Outcome
from .output import STANDARD, refuse_existing, write
from .progress import progress_bar
from .record import FolderRun, model_name, recall, refuse_another, refuse_strangers, remember
from .run_options import Options
from .work import Task, Work, plan_outputs, read_arguments, without, work_of_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that is decided before an engine is opened. `run`: a folder run's, for its record."""

    settings: Settings
    tasks: tuple[Task, ...]
    run: FolderRun | None


def paint(arguments: list[str], settings: Settings, options: Options) -> None:
    """Whatever can be refused is refused before an engine is opened or a file is written.

    One picture that fails does not stop the others: it is told at the end, and the exit code is 1.
    A full disk stops them.
    """
    if options.rows:
        work = work_of_rows(options.rows, arguments)
    else:
        work = read_arguments(arguments, text_to_image=options.text_to_image)
    _check(work, settings, options)
    for one in work.rows:
        one.settings(settings)  # what contradicts itself is told before anything is painted
    mask = None if options.mask is None else read_mask(options.mask)
    references = References.read(options)
    plan = _plan(work, settings, options, mask, references)
    outcome = Outcome(options=options, work=work, pictures=len(plan.tasks))
    with contextlib.ExitStack() as opened:
        pipe = opened.enter_context(_open(options))
        refiner = _refiner(options, opened)
        if plan.run is not None:
            remember(options.output, _with_engines(plan.run, pipe, refiner), force=options.force)
        for i, task in enumerate(plan.tasks):
            if options.skip_existing and all(os.path.lexists(path) for path in task.outputs):
                outcome.skipped(task)
                continue
            try:
                if not options.skip_existing:
                    _refuse_existing(task, options)  # another run may have taken a name by now
                over = mask.image if mask else None
                weights = {name: choice.weight for name, choice in options.live.items()}
                row = work.rows[i] if work.rows else None
                prompt = row.prompt if row else work.prompt
                request = Request(
                    task.source,
                    prompt,
                    row.settings(plan.settings) if row else plan.settings,
                    refiner=refiner,
                    mask=over,
                    lora=weights,
                    ip_adapter_image=references.images,
                    ip_adapter_mask=references.masks,
                    control=options.controls.shown,
                )
                result = _paint(pipe.events(request), task, prompt)
                result = _compared(result, options)
            except OverpaintError as error:
                outcome.failed(task, error)
                continue
            if not _write(result, task, outcome, options):
                outcome.stopped(plan.tasks[i + 1 :])
                break
    outcome.tell()


@dataclass(frozen=True, slots=True)
class References:
    """The reference pictures and their masks, read once for all that is painted."""

    pictures: tuple[Picture, ...]
    read_masks: tuple[Picture, ...]

    @classmethod
    def read(cls, options: Options) -> References:
        return cls(
            tuple(map(read, options.ip_adapter_image)),
            tuple(map(read_mask, options.ip_adapter_mask)),
        )

    @property
    def images(self) -> tuple[ImageLike, ...]:
        return tuple(one.image for one in self.pictures)

    @property
    def masks(self) -> tuple[ImageLike, ...]:
        return tuple(one.image for one in self.read_masks)


def _plan(
    work: Work,
    settings: Settings,
    options: Options,
    mask: Picture | None,
    references: References,
) -> Plan:
    several = work.several
    then = recall(options.output) if several and not options.force else None
    if then is not None and options.skip_existing:
        work = without(work, {options.output / name for name in then.pictures})
    # One seed for all pictures, so that one --seed makes all of them again.
    seed = settings.seed
    if seed is None:
        seed = random_seed() if then is None or then.seed is None else then.seed
    if settings.seeds is None:
        settings = replace(settings, seed=seed)
    also_read = [*options.controls.files, *([options.mask] if options.mask else [])]
    also_read += [*options.ip_adapter_image, *options.ip_adapter_mask]
    varied = variation_seed(settings, seed)
    # what tells the pictures apart
    told = settings.seeds or seeds(seed if varied is None else varied, settings.n)
    tasks = plan_outputs(work, told, options.output, also_read=also_read)
    run = _folder_run(work, settings, options, tasks, mask, references) if several else None
    if then is not None and run is not None:
        refuse_another(then, run, options.output)
    for task in tasks:
        if options.skip_existing:
            refuse_strangers(then, task.outputs)
        else:
            _refuse_existing(task, options)
    return Plan(settings=settings, tasks=tasks, run=run)


def _refuse_existing(task: Task, options: Options) -> None:
    for path in task.outputs:
        refuse_existing(path, force=options.force)


def _check(work: Work, settings: Settings, options: Options) -> None:
    """Raise UsageError for words that contradict each other."""
    if options.text_to_image:
        check_text_to_image(settings)
    check_mask_settings(settings, masked=options.mask is not None, image=not options.text_to_image)
    check_references(
        settings, pictures=len(options.ip_adapter_image), masks=len(options.ip_adapter_mask)
    )
    if options.ip_adapter_image and options.ip_adapter is None:
        raise UsageError(
            "--ip-adapter-image: say through what it is seen, with --ip-adapter FOLDER"
        )
    if options.ip_adapter is not None and not options.ip_adapter_image:
        raise UsageError("--ip-adapter: there is no reference picture; name --ip-adapter-image")
    for name, shown in options.controls.shown.items():
        check_picture(name, shown, with_image=not options.text_to_image)
    if settings.guess_mode and not options.controls.folders:
        raise UsageError("--guess-mode: there is no control; name one with --control")
    if options.hand_over is not None and options.refiner is None:
        raise UsageError("--hand-over: it says when a refiner takes over; name one with --refiner")
    if options.upscaler is not None and not work.rows and settings.upscale is None:
        raise UsageError("--upscaler: it says how to enlarge; say how many times, with --upscale")
    if options.skip_existing and options.force:
        raise UsageError("--skip-existing keeps what --force overwrites; say one of them")
    if options.skip_existing and not work.several:
        raise UsageError("--skip-existing: it goes on with a run of a folder or several pictures")
    if options.output == STANDARD and options.json:
        raise UsageError("--output -: stdout takes the picture or the --json, not both")
    if options.output == STANDARD and sys.stdout.isatty():
        raise UsageError("--output -: stdout is a terminal; lead it into a file or a pipe")
    if STANDARD in work.images and sys.stdin.isatty():
        raise UsageError("-: stdin is a terminal; lead a picture into it")


def _folder_run(
    work: Work,
    settings: Settings,
    options: Options,
    tasks: Sequence[Task],
    mask: Picture | None,
    references: References,
) -> FolderRun:
    asked = {"prompt": work.prompt, **asdict(settings), "hand_over": options.hand_over}
    asked["mask"] = mask.sha256 if mask else None
    if work.rows:
        asked["prompts"] = [row.asked() for row in work.rows]
    if references.pictures:
        asked["ip_adapter_image"] = [one.sha256 for one in references.pictures]
        asked["ip_adapter_mask"] = [one.sha256 for one in references.read_masks]
    asked["lora"] = {name: choice.weight for name, choice in options.live.items()}
    asked["control"] = options.controls.asked()
    return FolderRun.of(
        asked, {path: task.image for task in tasks if task.image for path in task.outputs}
    )


def _with_engines(run: FolderRun, pipe: Img2Img, refiner: Refiner | None) -> FolderRun:
    """`run`, and what it is painted with."""
    decision = pipe.decision
    engines = {
        "model": model_name(pipe.bundle.manifest),
        "refiner": model_name(refiner.engines.bundle.manifest) if refiner else None,
        "device": decision.chosen.device if decision else None,
        "precision": decision.precision if decision else None,
    }
    return FolderRun(asked=run.asked | engines, pictures=run.pictures)


def _compared(result: Result, options: Options) -> Result:
    """`result`, with a warning for whatever is another than in the picture that is repeated."""
    if options.again is None:
        return result
    differences = options.again.differences(result.parameters)
    return replace(result, warnings=(*result.warnings, *differences))


def _write(result: Result, task: Task, outcome: Outcome, options: Options) -> bool:
    """Write every image that can be; False where the disk is full, and painting on is in vain."""
    room = True
    written = []
    for image, path in zip(result.images, task.outputs, strict=True):
        try:
            write(image, path, force=options.force)
        except OutputExistsError as error:
            if not options.skip_existing:  # then it is this run's, painted before or beside us
                outcome.failed(task, error, path)
        except OverpaintError as error:
            outcome.failed(task, error, path)
            room = room and not isinstance(error, DiskFullError)
        else:
            written.append(path)
    outcome.painted(task, result, written)
    return room


def _open(options: Options) -> Img2Img:
    folder = options.lora_folder
    with progress_bar("making a bundle") as advance:
        bundle = bundle_to_open(
            options.bundle, options.lora, options.like, advance, lora_folder=folder
        )
    with progress_bar("checking the bundle", unit="percent") as advance:
        return Img2Img.open(
            bundle,
            ip_adapter=options.ip_adapter,
            tiny_vae=options.tiny_vae,
            upscaler=options.upscaler,
            embedding=options.embedding,
            lora={name: choice.path for name, choice in options.live.items()},
            lora_mode="live",
            lora_folder=folder,
            control=options.controls.folders,
            device=options.device,
            precision=options.precision,
            gpu_memory=options.gpu_memory,
            low_memory=options.low_memory,
            progress=advance,
            comparing=lambda done, total: advance(done, total, "comparing bf16 with f32, once"),
        )


def _refiner(options: Options, opened: contextlib.ExitStack) -> Refiner | None:
    if options.refiner is None:
        return None
    pipe = opened.enter_context(_open(_alone(options, options.refiner)))
    return Refiner(pipe.engines, HAND_OVER if options.hand_over is None else options.hand_over)


def _alone(options: Options, bundle: Path) -> Options:
    """Those of a refiner, which runs as it is."""
    return replace(
        options,
        bundle=bundle,
        lora=(),
        live={},
        lora_folder=None,
        like=None,
        embedding={},
        upscaler=None,
        controls=Controls(shown={}),
    )


def _paint(events: Iterator[Step | Complete], task: Task, prompt: str) -> Result:
    with progress_bar(task.image.name if task.image else prompt[:40]) as advance:
        for event in events:
            if isinstance(event, Complete):
                return event.result
            advance(event.index, event.total)
    raise AssertionError("a run ends in Complete or an error")
