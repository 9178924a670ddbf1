"""What a run will paint, and where: decided, and refused, before an engine is opened."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

from overpaint.bundle.errors import UsageError
from overpaint.runtime.control.picture import check_picture
from overpaint.runtime.ip_adapter.references import check_references
from overpaint.runtime.masks.ground import check_mask_settings
from overpaint.runtime.resolved import check_text_to_image, random_seed, seeds, variation_seed
from overpaint.runtime.settings import Settings
from overpaint.scale.places import names_in

from .given import Given
from .output import STANDARD, refuse_existing
from .painter import Order
from .record import FolderRun, recall, refuse_another, refuse_strangers
from .run_options import Options
from .work import Task, Work, plan_outputs, without


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that is decided before an engine is opened. `run`: a folder run's, for its record."""

    orders: tuple[Order, ...]
    run: FolderRun | None


def plan_of(
    work: Work,
    settings: Settings,
    options: Options,
    given: Given,
) -> Plan:
    """Raises UsageError, and OutputExistsError for what is there and is not to be overwritten."""
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
    also_read += [*options.ip_adapter_image, *options.ip_adapter_mask, *options.reference_image]
    varied = variation_seed(settings, seed)
    # what tells the pictures apart
    told = settings.seeds or seeds(seed if varied is None else varied, settings.n)
    tasks = plan_outputs(work, told, options.output, also_read=also_read)
    run = _folder_run(work, settings, options, tasks, given) if several else None
    if then is not None and run is not None:
        refuse_another(then, run, options.output)
    _refuse_outputs(tasks, options, then, several=several)
    return Plan(orders=tuple(_orders(work, settings, tasks)), run=run)


def _orders(work: Work, settings: Settings, tasks: Sequence[Task]) -> Iterator[Order]:
    """Each task, with its own row's prompt and options where there are rows."""
    if not work.rows:
        yield from (Order(task, work.prompt, settings) for task in tasks)
        return
    for task, row in zip(tasks, work.rows, strict=True):
        yield Order(task, row.prompt, row.settings(settings))


def _refuse_outputs(
    tasks: Sequence[Task], options: Options, then: FolderRun | None, *, several: bool
) -> None:
    """Raise OutputExistsError for an output that is there and is not this run's to write."""
    there = names_in(options.output) if several else None  # one look, where there may be a million
    for task in tasks:
        if options.skip_existing:
            refuse_strangers(then, task.outputs, there or ())
            continue
        for path in task.outputs:
            if there is None or path.name in there:
                refuse_existing(path, force=options.force)


def check(work: Work, settings: Settings, options: Options) -> None:
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
    if options.ray is not None:
        _check_on_ray(work, options)
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


def _check_on_ray(work: Work, options: Options) -> None:
    """Raise UsageError for what one process alone can do."""
    if options.again is not None:
        raise UsageError("--repeat: it paints one picture; leave --ray out")
    if STANDARD in work.images:
        raise UsageError("-: no worker of a cluster reads this stdin; name files, or leave --ray")
    if not work.several:
        raise UsageError("--ray: it spreads pictures over workers; name a folder or several")


def _folder_run(
    work: Work,
    settings: Settings,
    options: Options,
    tasks: Sequence[Task],
    given: Given,
) -> FolderRun:
    asked = {"prompt": work.prompt, **asdict(settings), "hand_over": options.hand_over}
    asked |= given.asked()
    if work.rows:
        asked["prompts"] = [row.asked() for row in work.rows]
    asked["lora"] = {name: choice.weight for name, choice in options.live.items()}
    asked["control"] = options.controls.asked()
    return FolderRun.of(
        asked, {path: task.image for task in tasks if task.image for path in task.outputs}
    )
