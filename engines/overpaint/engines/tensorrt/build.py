"""A bundle's graphs -> plans for this machine's GPU, in `plans/<target>/`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from threading import Event
from typing import Protocol

from overpaint.bundle.errors import OutputExistsError
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.plans import check_listable, new_plans, origin

from .builder import Built, build_plan
from .estimate import Estimate, conversions, estimate, room_here, shortages
from .gpu import Gpu, find_gpu, platform_name
from .libraries import FULL, Library, import_cudart, library, short_version
from .loaded import load_plan
from .record import BUILD, TIMING_CACHE, BuildRecord, PlanRecord, encode, folder_of, target_name
from .shapes import PictureShape, Profile, default_shape, profiles
from .stop import cancelled_error, stopped_by_ctrl_c


class Advance(Protocol):
    """Say how far it is: `done` of `total`, and what is being done."""

    def __call__(self, done: int, total: int, doing: str = "", /) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOrder:
    """A build with nothing left open: what `prepare_build` makes of a command's options."""

    bundle: Bundle
    target: str
    shapes: tuple[PictureShape, ...]
    profiles: dict[str, tuple[Profile, ...]]
    version_compatible: bool
    library: Library
    gpu: Gpu
    estimate: Estimate
    warnings: tuple[str, ...]


def prepare_build(
    bundle: Bundle,
    shapes: Sequence[PictureShape] = (),
    *,
    exact_version: bool = False,
    force: bool = False,
) -> BuildOrder:
    """Decide all that can be decided before anything is built.

    Args:
        shapes: batches and sizes in pixels; none: one picture of the checkpoint's own size.
        exact_version: for precisely this TensorRT, and the full runtime only.
        force: replace the plans that are there for this machine.

    Raises:
        BundleError: the bundle has no manifest that could vouch for plans.
        UsageError: a shape that the bundle does not take.
        OutputExistsError: plans for this machine are there already.
        MissingExtraError, SessionError: TensorRT or a GPU is missing.
    """
    check_listable(bundle)
    chosen = tuple(dict.fromkeys(shapes)) or (default_shape(bundle),)
    wanted = profiles(bundle.manifest, chosen)
    full = library(FULL)
    cudart = import_cudart()
    gpu = find_gpu(cudart)
    named = full.version if exact_version else short_version(full.version)
    target = target_name(named, gpu.compute_capability, platform_name())
    _check_free(bundle, target, force)
    guess = estimate(bundle, wanted)
    return BuildOrder(
        bundle=bundle,
        target=target,
        shapes=chosen,
        profiles=wanted,
        version_compatible=not exact_version,
        library=full,
        gpu=gpu,
        estimate=guess,
        warnings=(
            *shortages(guess, room_here(cudart, bundle.folder)),
            *conversions(bundle),
        ),
    )


def build(
    order: BuildOrder, progress: Advance | None = None, cancelled: Event | None = None
) -> BuildRecord:
    """Build a plan for each component and enter them in the manifest; nothing is kept of a half.

    `progress` is told thousandths of a component. Ctrl-C, or setting `cancelled`, stops TensorRT
    at the end of its current step.

    Raises:
        SessionError: TensorRT cannot build a graph, or cannot load what it built.
        CancelledError: it was cancelled; nothing was written.
        KeyboardInterrupt: the same, by Ctrl-C.
    """
    stop = cancelled or Event()
    cache = _former_timing_cache(order.bundle, order.target)
    plans: dict[str, PlanRecord] = {}
    with stopped_by_ctrl_c(stop), new_plans(order.bundle, order.target) as folder:
        for index, name in enumerate(order.profiles):
            begun = time.perf_counter()
            built = _build_one(order, name, cache, stop, _reporter(progress, order, index))
            cache = built.timing_cache
            plans[name] = _write_plan(order, name, built, folder, begun)
        (folder / TIMING_CACHE).write_bytes(cache)
        record = _record(order, plans)
        (folder / BUILD).write_bytes(encode(record))
    return record


def _check_free(bundle: Bundle, target: str, force: bool) -> None:
    """Raise OutputExistsError if the target's plans are there and are to stay."""
    folder = folder_of(target)
    if not force and any(path.startswith(f"{folder}/") for path in bundle.manifest.files):
        raise OutputExistsError(
            f"{bundle.folder / folder}: exists already; say --force to build it again"
        )


def _former_timing_cache(bundle: Bundle, target: str) -> bytes:
    """What the last build for this target measured; empty where there is none."""
    path = f"{folder_of(target)}/{TIMING_CACHE}"
    return bundle.path(path).read_bytes() if path in bundle.manifest.files else b""


def _build_one(
    order: BuildOrder,
    name: str,
    cache: bytes,
    stop: Event,
    report: Callable[[float, str], None],
) -> Built:
    """Build in a thread of its own: TensorRT keeps it for minutes, and Ctrl-C comes to ours."""

    def work() -> Built:
        return build_plan(
            order.library.module,
            order.bundle.folder / order.bundle.component(name).graph,
            order.profiles[name],
            version_compatible=order.version_compatible,
            timing_cache=cache,
            report=report,
            cancelled=stop.is_set,
        )

    with ThreadPoolExecutor(1, thread_name_prefix="build") as pool:
        built = pool.submit(work).result()
    if stop.is_set():
        raise cancelled_error()
    return built


def _write_plan(
    order: BuildOrder, name: str, built: Built, folder: Path, begun: float
) -> PlanRecord:
    """Write the plan and load it once: what does not load is not entered."""
    file = folder / f"{name}.plan"
    file.write_bytes(built.plan)
    loaded = load_plan(
        order.library,
        file,
        order.bundle.component(name),
        version_compatible=order.version_compatible,
    )
    return PlanRecord(
        plan=file.name,
        size=file.stat().st_size,
        made_of=origin(order.bundle.manifest, name),
        profiles=tuple(dict(profile) for profile in order.profiles[name]),
        activation_bytes=loaded.activation_bytes,
        seconds=round(time.perf_counter() - begun, 3),
    )


def _record(order: BuildOrder, plans: dict[str, PlanRecord]) -> BuildRecord:
    return BuildRecord(
        target=order.target,
        tensorrt=order.library.version,
        version_compatible=order.version_compatible,
        compute_capability=order.gpu.compute_capability,
        gpu=order.gpu.name,
        platform=platform_name(),
        shapes=tuple(map(str, order.shapes)),
        flags=("VERSION_COMPATIBLE",) if order.version_compatible else (),
        overpaint=version("overpaint"),
        plans=plans,
    )


def _reporter(
    progress: Advance | None, order: BuildOrder, index: int
) -> Callable[[float, str], None]:
    """Fractions of the component at `index` -> thousandths of everything."""
    name, total = list(order.profiles)[index], 1000 * len(order.profiles)

    def report(fraction: float, phase: str) -> None:
        if progress is not None:
            progress(1000 * index + round(1000 * fraction), total, f"{name}: {phase}")

    return report
