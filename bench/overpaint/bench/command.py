"""`overpaint bench`, from what was asked to a report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from overpaint.bundle.errors import OverpaintError, UsageError
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.open import open_bundle
from overpaint.engines.choose import choose
from overpaint.runtime.default_bundle import bundle_to_open
from overpaint.runtime.fidelity import EXACT
from overpaint.runtime.settings import Settings

from .compare import check_machine, compare, read_report
from .contenders import STREAMING, Contender, ours, peer
from .footprint import footprint
from .graph_shapes import import_onnx
from .limits import limits
from .live import LiveReport, measure_live
from .machine import this_machine
from .measure import Plan, Progress, measure
from .plot import import_matplotlib, plot
from .records import Footprint, Point, Report, Run
from .sweep import Axes, growth, points
from .task import Task, own_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The command line. An empty tuple in `axes` takes the bundle's own value. `fidelity`: levels
    that are measured beside exact."""

    bundle: Path | None
    image: Path | None
    prompt: str
    axes: Axes
    guidance_scale: float | None
    seed: int
    warmup: int
    repeats: int
    cold: int
    against: tuple[str, ...]
    checkpoint: Path | None
    optimum_python: str | None
    limits: bool
    footprint: Path | None
    compare: Path | None
    plot: Path | None
    live: bool = False
    fidelity: tuple[str, ...] = ()


def bench(asked: Asked, progress: Progress) -> Report | LiveReport:
    """Measure what was asked. What cannot work is refused before anything is measured.

    Raises:
        UsageError, MissingExtraError, BundleError, OverpaintError.
    """
    levels = (ours(level) for level in asked.fidelity if level != EXACT)
    peers = (peer(name, asked.optimum_python) for name in asked.against)
    contenders = [ours(), *levels, *peers]
    old = read_report(asked.compare) if asked.compare else None
    if asked.plot:
        import_matplotlib()
    if asked.limits:
        import_onnx()
    bundle = open_bundle(bundle_to_open(asked.bundle))
    axes = _completed(asked.axes, bundle)
    task = _base(asked, axes, bundle)
    _check(asked, axes, bundle)
    plan = Plan(
        bundle=bundle,
        checkpoint=asked.checkpoint,
        image=asked.image,
        warmup=asked.warmup,
        repeats=asked.repeats,
        cold=asked.cold,
    )
    if asked.live:
        return measure_live(contenders[1:], task, plan, progress)
    machine = this_machine()
    if old is not None:
        check_machine(machine, old.machine)
    runs = measure(contenders, task, plan, progress)
    sweep = tuple(_sweep(contenders[0], axes, task, plan, progress))
    report = Report(
        machine=machine,
        work=runs[0].work,
        warmup=asked.warmup,
        repeats=asked.repeats,
        runs=runs,
        sweep=sweep,
        growth=growth(runs[0], sweep),
        limits=limits(bundle, runs[0]) if asked.limits else None,
        footprint=_footprint(asked, task, plan, progress),
    )
    if old is not None:
        report = msgspec.structs.replace(report, compared=compare(report, old))
    if asked.plot:
        plot(report, asked.plot)
    return report


def _completed(axes: Axes, bundle: Bundle) -> Axes:
    """What was not asked for is the bundle's own."""
    defaults = bundle.manifest.defaults
    return Axes(
        size=axes.size or (own_size(bundle),),
        steps=axes.steps or (defaults.steps,),
        strength=axes.strength or (defaults.strength,),
        images=axes.images or (1,),
        sampler=axes.sampler or (defaults.sampler,),
        device=axes.device or ("auto",),
        precision=axes.precision or ("f32",),
    )


def _base(asked: Asked, axes: Axes, bundle: Bundle) -> Task:
    scale = asked.guidance_scale
    return Task(
        prompt=asked.prompt,
        size=axes.size[0],
        images=axes.images[0],
        steps=axes.steps[0],
        strength=axes.strength[0],
        guidance_scale=bundle.manifest.defaults.guidance_scale if scale is None else scale,
        sampler=axes.sampler[0],
        seed=asked.seed,
        device=axes.device[0],
        precision=axes.precision[0],
    )


def _check(asked: Asked, axes: Axes, bundle: Bundle) -> None:
    """The runtime's own rules, before a process is started."""
    besides = (asked.limits, asked.footprint, asked.compare, asked.plot)
    if asked.live and any(besides):
        raise UsageError("--live: leave --limits, --footprint, --compare and --plot out")
    if asked.live and asked.fidelity:
        raise UsageError("--live: frames are exact; leave --fidelity out")
    if STREAMING in asked.against and not asked.live:
        raise UsageError(f"--against {STREAMING}: it repaints frames alone; add --live")
    for level in asked.fidelity:
        Settings(fidelity=level)
    for name, value in (("--repeats", asked.repeats), ("--cold", asked.cold)):
        if value < 1:
            raise UsageError(f"{name}: expected 1 or more, got {value}")
    if asked.warmup < 0:
        raise UsageError(f"--warmup: expected 0 or more, got {asked.warmup}")
    if (asked.against or asked.footprint) and bundle.manifest.inpaints:
        raise UsageError(
            f"--against, --footprint: {bundle.manifest.name} is an inpainting checkpoint, which no "
            "peer's image to image runs; measure it alone"
        )
    base = _base(asked, axes, bundle)
    for task in (base, *(task for _, _, task in points(axes, base))):
        Settings(
            size=task.size,
            n=task.images,
            steps=task.steps,
            strength=task.strength,
            guidance_scale=task.guidance_scale,
            sampler=task.sampler,
            seed=task.seed,
        )
        choose(bundle, task.device, task.precision)


def _sweep(
    contender: Contender, axes: Axes, base: Task, plan: Plan, progress: Progress
) -> list[Point]:
    """A point that fails says why and does not stop the others."""
    found = []
    for axis, value, task in points(axes, base):

        def told(done: int, total: int, doing: str, at: str = f"{axis} {value}") -> None:
            progress(done, total, f"{at}, {doing}")

        try:
            [run] = measure([contender], task, plan, told)
        except OverpaintError as error:
            run = Run(peer=contender.name, status="skipped", why=str(error))
        found.append(Point(axis=axis, value=value, run=run))
    return found


def _footprint(asked: Asked, task: Task, plan: Plan, progress: Progress) -> tuple[Footprint, ...]:
    if asked.footprint is None:
        return ()
    return tuple(footprint(asked.footprint, asked.optimum_python, task, plan, progress))
