"""A bundle's graphs -> plans, in `plans/<target>/`: for this machine's GPU, or for RTX cards."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from threading import Event
from typing import NamedTuple, Protocol

from overpaint.bundle.errors import OutputExistsError, UsageError
from overpaint.bundle.files.hashing import sha256_file
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.plans import check_listable, new_plans, origin
from overpaint.bundle.graph.weights import Slot, with_inputs

from .builder import Built, Rewrite, build_plan, let_attention_decompose
from .cards import check_capabilities
from .edition import RTX, TENSORRT, Edition
from .estimate import Estimate, conversions, estimate, room_here, shortages
from .gpu import Gpu, find_gpu, platform_name
from .libraries import Library, import_cudart, library, short_version
from .loaded import load_plan
from .record import (
    BUILD,
    TIMING_CACHE,
    USER_ALLOCATION,
    VERSION_COMPATIBLE,
    WEIGHT_STREAMING,
    BuildRecord,
    PlanRecord,
    Weights,
    encode,
    folder_of,
    target_name,
)
from .refit import placeholders
from .shapes import (
    PictureRange,
    PictureShape,
    Profile,
    default_range,
    default_shape,
    exact_profiles,
    ranged_profiles,
)
from .stop import cancelled_error, stopped_by_ctrl_c
from .weightless import FLAGS, HOW, kept_in, new_kept_plans, template_of


class Advance(Protocol):
    """Say how far it is: `done` of `total`, and what is being done."""

    def __call__(self, done: int, total: int, doing: str = "", /) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOrder:
    """A build with nothing left open: what `prepare_build` makes of a command's options."""

    bundle: Bundle
    edition: Edition
    target: str
    shapes: tuple[PictureShape, ...] | tuple[PictureRange]
    profiles: dict[str, tuple[Profile, ...]]
    flags: tuple[str, ...]
    compute_capabilities: tuple[str, ...]
    weights: Weights
    folder: Path
    library: Library
    gpu: Gpu | None
    estimate: Estimate
    warnings: tuple[str, ...]


def prepare_build(
    bundle: Bundle,
    shapes: Sequence[PictureShape] = (),
    *,
    exact_version: bool = False,
    force: bool = False,
) -> BuildOrder:
    """Decide all that can be decided before plans are built for this machine's GPU.

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
    wanted = exact_profiles(bundle.manifest, chosen)
    full = library(TENSORRT.builder)
    cudart = import_cudart()
    gpu = find_gpu(cudart)
    named = full.version if exact_version else short_version(full.version)
    capabilities = (gpu.compute_capability,)
    target = target_name(TENSORRT, named, capabilities, platform_name())
    folder = bundle.folder / folder_of(target)
    _check_free(folder, listed=_is_listed(bundle, target), force=force)
    guess = estimate(bundle, wanted, TENSORRT)
    return BuildOrder(
        bundle=bundle,
        edition=TENSORRT,
        target=target,
        shapes=chosen,
        profiles=wanted,
        flags=() if exact_version else (VERSION_COMPATIBLE,),
        compute_capabilities=capabilities,
        weights="inside",
        folder=folder,
        library=full,
        gpu=gpu,
        estimate=guess,
        warnings=(
            *shortages(guess, room_here(cudart, bundle.folder)),
            *conversions(bundle),
        ),
    )


def prepare_rtx_build(
    bundle: Bundle,
    shapes: Sequence[PictureShape] = (),
    sizes: PictureRange | None = None,
    *,
    compute_capabilities: Sequence[str] = (),
    weight_streaming: bool = False,
    weightless: bool = False,
    force: bool = False,
) -> BuildOrder:
    """The same for TensorRT for RTX, whose plans are built without a GPU and serve several.

    Args:
        shapes: exactly these batches and sizes, in pixels; not with `sizes`.
        sizes: all from a smallest to a largest; neither: `default_range`.
        compute_capabilities: of the cards that it is for; none: cards.USUAL.
        weight_streaming: let weights lie in the host's memory as far as a run says; such plans
            cannot be recorded as CUDA graphs.
        weightless: without weights, into the user's cache, for every bundle of the same graphs.
        force: replace the plans that are there for these cards.

    Raises:
        BundleError: the bundle has no manifest that could vouch for plans.
        UsageError: sizes or cards that cannot be, streaming of weights that are not there, or no
            cache folder.
        OutputExistsError: such plans are there already.
        MissingExtraError, SessionError: TensorRT for RTX is missing.
    """
    check_listable(bundle)
    if weightless and weight_streaming:
        raise UsageError(
            "--weightless, --weight-streaming: expected one of them; only weights that are in a "
            "plan can be streamed"
        )
    chosen: tuple[PictureShape, ...] | tuple[PictureRange]
    if shapes:
        chosen = tuple(dict.fromkeys(shapes))
        wanted = exact_profiles(bundle.manifest, chosen)
    else:
        chosen = (sizes or default_range(bundle),)
        wanted = ranged_profiles(bundle.manifest, chosen[0])
    weights: Weights = HOW if weightless else "inside"
    asked = _one_card(compute_capabilities) if weights == "refit" else compute_capabilities
    capabilities = check_capabilities(asked)
    rtx = library(RTX.builder)
    target = target_name(RTX, rtx.version, capabilities, None)
    folder = _where(bundle, target, weightless=weightless)
    listed = folder.exists() if weightless else _is_listed(bundle, target)
    _check_free(folder, listed=listed, force=force)
    guess = estimate(bundle, wanted, RTX, weightless=weightless)
    return BuildOrder(
        bundle=bundle,
        edition=RTX,
        target=target,
        shapes=chosen,
        profiles=wanted,
        flags=(WEIGHT_STREAMING if weight_streaming else USER_ALLOCATION, *FLAGS[weights]),
        compute_capabilities=capabilities,
        weights=weights,
        folder=folder,
        library=rtx,
        gpu=None,
        estimate=guess,
        warnings=tuple(shortages(guess, room_here(None, _existing(folder)))),
    )


def build(
    order: BuildOrder, progress: Advance | None = None, cancelled: Event | None = None
) -> BuildRecord:
    """Build a plan for each component and enter them in the manifest, or keep them in the user's
    cache where they have no weights; nothing is kept of a half.

    `progress` is told thousandths of a component. Ctrl-C, or setting `cancelled`, stops TensorRT
    at the end of its current step.

    Raises:
        SessionError: TensorRT cannot build a graph, or cannot load what it built.
        CancelledError: it was cancelled; nothing was written.
        KeyboardInterrupt: the same, by Ctrl-C.
    """
    stop = cancelled or Event()
    # Only who has a GPU in front of it measures.
    cache = None if order.gpu is None else _former_timing_cache(order.bundle, order.target)
    plans: dict[str, PlanRecord] = {}
    place = (
        new_plans(order.bundle, order.target)
        if order.weights == "inside"
        else new_kept_plans(order.folder)
    )
    with stopped_by_ctrl_c(stop), place as folder:
        for index, name in enumerate(order.profiles):
            begun = time.perf_counter()
            report = _reporter(progress, order, index)
            built = _build_one(order, name, folder, cache, stop, report)
            cache = built.timing_cache
            plans[name] = _write_plan(order, name, built, folder, begun)
        if cache is not None:
            (folder / TIMING_CACHE).write_bytes(cache)
        record = _record(order, plans)
        (folder / BUILD).write_bytes(encode(record))
    return record


class Source(NamedTuple):
    """What is parsed, the weights that are its inputs, and what is done to the network then."""

    graph: Path
    slots: Mapping[str, Slot]
    rewrites: tuple[Rewrite, ...]


def to_be_built(bundle: Bundle, component: str, weights: Weights, folder: Path) -> Source:
    """What a component's plan is built of; a graph without weights is written into `folder`."""
    if weights == "inside":
        graph = bundle.folder / bundle.component(component).graph
        return Source(graph, {}, (let_attention_decompose,))
    template = template_of(bundle, component)
    graph = folder / f"{component}.onnx"
    graph.write_bytes(with_inputs(template.graph))
    if weights == "inputs":
        return Source(graph, template.slots, (let_attention_decompose,))
    emptied = partial(placeholders, slots=template.slots)
    return Source(graph, template.slots, (let_attention_decompose, emptied))


def _one_card(asked: Sequence[str]) -> tuple[str, ...]:
    """What a plan with placeholders is for, as the builder takes no more: what is asked for, or the
    card in this machine."""
    if len(asked) > 1:
        raise UsageError(f"--weightless: expected one --compute-capability, got {', '.join(asked)}")
    return tuple(asked) or (find_gpu(import_cudart()).compute_capability,)


def _where(bundle: Bundle, target: str, *, weightless: bool) -> Path:
    """Where a target's plans are to lie."""
    if not weightless:
        return bundle.folder / folder_of(target)
    kept = kept_in(bundle)
    if kept is None:
        raise UsageError(
            "--weightless: this user has no cache folder to keep plans in; set XDG_CACHE_HOME"
        )
    return kept / target


def _is_listed(bundle: Bundle, target: str) -> bool:
    return any(path.startswith(f"{folder_of(target)}/") for path in bundle.manifest.files)


def _check_free(folder: Path, *, listed: bool, force: bool) -> None:
    """Raise OutputExistsError if a target's plans are there and are to stay."""
    if listed and not force:
        raise OutputExistsError(f"{folder}: exists already; say --force to build it again")


def _existing(folder: Path) -> Path:
    """The nearest folder above that is there."""
    return next(one for one in (folder, *folder.parents) if one.is_dir())


def _former_timing_cache(bundle: Bundle, target: str) -> bytes:
    """What the last build for this target measured; empty where there is none."""
    path = f"{folder_of(target)}/{TIMING_CACHE}"
    return bundle.path(path).read_bytes() if path in bundle.manifest.files else b""


def _build_one(
    order: BuildOrder,
    name: str,
    folder: Path,
    cache: bytes | None,
    stop: Event,
    report: Callable[[float, str], None],
) -> Built:
    """Build in a thread of its own: TensorRT keeps it for minutes, and Ctrl-C comes to ours."""

    source = to_be_built(order.bundle, name, order.weights, folder)

    def work() -> Built:
        return build_plan(
            order.library.module,
            source.graph,
            order.profiles[name],
            flags=order.flags,
            compute_capabilities=() if order.gpu else order.compute_capabilities,
            timing_cache=cache,
            report=report,
            cancelled=stop.is_set,
            rewrites=source.rewrites,
            weights=source.slots,
        )

    with ThreadPoolExecutor(1, thread_name_prefix="build") as pool:
        built = pool.submit(work).result()
    if order.weights != "inside":
        source.graph.unlink()
    if stop.is_set():
        raise cancelled_error()
    return built


def _write_plan(
    order: BuildOrder, name: str, built: Built, folder: Path, begun: float
) -> PlanRecord:
    """Write the plan and load it once, where there is a GPU: what does not load is not entered."""
    file = folder / f"{name}.plan"
    file.write_bytes(built.plan)
    activation_bytes = None
    if order.gpu is not None:
        component = order.bundle.component(name)
        compatible = VERSION_COMPATIBLE in order.flags
        loaded = load_plan(order.library, file, component, version_compatible=compatible)
        activation_bytes = loaded.activation_bytes
    inside = order.weights == "inside"
    manifest = order.bundle.manifest
    return PlanRecord(
        plan=file.name,
        size=file.stat().st_size,
        made_of=origin(manifest, name) if inside else template_of(order.bundle, name).sha256,
        profiles=tuple(dict(profile) for profile in order.profiles[name]),
        activation_bytes=activation_bytes,
        seconds=round(time.perf_counter() - begun, 3),
        sha256=None if inside else sha256_file(file),
    )


def _record(order: BuildOrder, plans: dict[str, PlanRecord]) -> BuildRecord:
    return BuildRecord(
        engine=order.edition.name,
        target=order.target,
        tensorrt=order.library.version,
        compute_capabilities=order.compute_capabilities,
        gpu=order.gpu.name if order.gpu else None,
        platform=platform_name() if order.gpu else None,
        shapes=tuple(map(str, order.shapes)),
        flags=order.flags,
        overpaint=version("overpaint"),
        plans=plans,
        weights=order.weights,
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
