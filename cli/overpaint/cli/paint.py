"""What `overpaint run` does: read, repaint, write, picture by picture, and say how it went."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

from overpaint.bundle.errors import UsageError
from overpaint.runtime.control.picture import check_picture
from overpaint.runtime.ip_adapter.references import check_references
from overpaint.runtime.masks.ground import check_mask_settings
from overpaint.runtime.resolved import check_text_to_image, random_seed, seeds, variation_seed
from overpaint.runtime.settings import Settings
from overpaint.scale.places import names_in

from .given import Given
from .outcome import Outcome
from .output import STANDARD, refuse_existing
from .painter import Order, Painted, Painter
from .record import FolderRun, recall, refuse_another, refuse_strangers, remember
from .run_options import Options
from .work import Task, Work, plan_outputs, read_arguments, without, work_of_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that is decided before an engine is opened. `run`: a folder run's, for its record."""

    orders: tuple[Order, ...]
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
    given = Given.read(options)
    plan = _plan(work, settings, options, given)
    outcome = Outcome(options=options, work=work, pictures=len(plan.orders))
    with contextlib.closing(_painted_here(plan, options, given)) as painting:
        for order, painted in painting:
            outcome.add(order.task, painted)
            if painted.disk_full:
                outcome.stopped([one.task for one in plan.orders])
                break
    outcome.tell()


def _painted_here(
    plan: Plan, options: Options, given: Given
) -> Generator[tuple[Order, Painted], None, None]:
    with Painter(options, given) as painter:
        if plan.run is not None:
            remember(options.output, plan.run.painted_by(painter.engines()), force=options.force)
        for order in plan.orders:
            yield order, painter(order)


def _plan(
    work: Work,
    settings: Settings,
    options: Options,
    given: Given,
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
