"""A plan on TensorRT or TensorRT for RTX: device buffers, and a CUDA graph for each shape."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from overpaint.bundle import layout
from overpaint.bundle.arrays import NUMPY_DTYPES, Array
from overpaint.bundle.errors import FeedError, SessionError
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.tensor import Tensor
from overpaint.engines.session.engine import NOTHING, closed
from overpaint.engines.session.session import Session

from .cuda import shared_cuda
from .execution import Execution
from .filling import Filled, fill
from .fit import Machine
from .kernels import Kernels, kernels_file
from .libraries import Library
from .loaded import LoadedPlan, load_plan, profiles_of
from .record import BuildRecord, Plans, build_command, folder_of
from .served import pieces, unserved
from .shapes import Extent, Shapes
from .weightless import check_unchanged, template_of

_LOG = logging.getLogger(__name__)


KEPT: Final = 8  # shapes of a range whose buffers and graphs are kept
LONG: Final = 1.0  # seconds of specialising that are worth a line


def tensorrt_session(
    bundle: Bundle,
    component: str,
    plans: Plans,
    library: Library,
    machine: Machine,
    gpu_memory: int | None = None,
) -> Session:
    """Load the plan, fill it where it has no weights, and run each of its shapes where it is for
    exact ones, so that the first request is as fast as any.

    Args:
        gpu_memory: bytes of all components' weights that may lie on the GPU; None: all.

    Raises:
        SessionError: it cannot be loaded, memory is short, or its weights cannot be elsewhere.
        CheckpointError: it has no weights, and the bundle's are not what the graph says.
    """
    engine = TensorRTEngine(bundle, component, plans, library, machine, gpu_memory)
    return Session(component, bundle.component(component), engine)


class TensorRTEngine:
    """One component's plan. Outputs are buffers that the next call overwrites: copy to keep.

    The engines of a process take turns on one stream, and share the memory of their activations.
    """

    def __init__(
        self,
        bundle: Bundle,
        component: str,
        plans: Plans,
        library: Library,
        machine: Machine,
        gpu_memory: int | None,
    ) -> None:
        described, record = bundle.component(component), plans.record
        template = None if record.weights == "inside" else template_of(bundle, component)
        self.device = f"{library} on {machine.gpu}"
        self._name = component
        self._bundle, self._record, self._described = bundle, record, described
        self._inputs = {tensor.name: tensor for tensor in described.inputs}
        self._batched = [tensor.name for tensor in described.inputs if _open_batch(tensor)]
        self._cuda = shared_cuda()
        self._executions: OrderedDict[tuple[tuple[int, ...], ...], Execution] = OrderedDict()
        loaded = load_plan(
            library,
            _plan_file(bundle, plans, component),
            described,
            version_compatible=record.version_compatible,
            weights_on_gpu=_share(bundle, record, component, gpu_memory),
            weights=template.slots if template and record.weights == "inputs" else None,
        )
        self._loaded: LoadedPlan | None = loaded
        self._kernels: Kernels | None = _kernels(loaded, record, component, machine)
        self._profiles = profiles_of(loaded, described)
        self._filled: Filled | None = None
        with self._cuda.lock:
            # What the greediest of the bundle's engines needs, so that the arena need not grow.
            known = [one.activation_bytes or 0 for one in record.plans.values()]
            self._cuda.arena.join(self, max(known))
            try:
                if template is not None:
                    folder = bundle.path(described.graph).parent
                    self._filled = fill(self._cuda, loaded, record.weights, template, folder)
                self._warm_up()
            except BaseException:
                self.close()
                raise

    def run(self, feed: Mapping[str, Array], held: Mapping[str, Array]) -> Mapping[str, Array]:
        """What is held and there already, in the feed's shapes, is not copied again.

        Raises:
            FeedError: the plan is not for arrays of these shapes.
        """
        with self._cuda.lock:
            if self._loaded is None:
                raise closed(self._name)
            shapes = {name: feed[name].shape for name in self._inputs}
            execution = self._executions.get(tuple(shapes.values()))
            if execution is None:
                index = self._profile_for(shapes)
                if index is None:
                    return self._run_in_pieces(feed)
                return self._run_first(self._open(index, shapes), feed)
            self._executions.move_to_end(tuple(shapes.values()))
            there = held if held is execution.held else NOTHING
            execution.held = NOTHING  # until all is in its place
            execution.upload([name for name in self._inputs if name not in there], feed)
            outputs = execution.run()
            execution.held = held
            return outputs

    def close(self) -> None:
        """Free the engine and its buffers."""
        with self._cuda.lock:
            while self._executions:
                self._executions.popitem()[1].close()
            if self._filled is not None:
                self._filled.close()
            self._kernels = None  # before the engine that they are of
            self._loaded = None
            self._cuda.arena.leave(self)

    def _profile_for(self, shapes: Shapes) -> int | None:
        """The first profile that takes these shapes."""
        for index, profile in enumerate(self._profiles):
            if all(profile[name].takes(shape) for name, shape in shapes.items()):
                return index
        return None

    def _open(self, index: int, shapes: Shapes) -> Execution:
        """Make room for these shapes; of a range, those that were not used for longest give way."""
        loaded = self._loaded
        assert loaded is not None
        if self._kernels is not None and len(self._executions) == KEPT:
            self._executions.popitem(last=False)[1].close()
        execution = Execution(
            self._name,
            self._cuda,
            loaded,
            self._described,
            self._kernels.new_context() if self._kernels else loaded.new_context(),
            index,
            shapes,
            weights=self._filled.addresses if self._filled else {},
            capturable=not self._record.weight_streaming,
        )
        arena = self._cuda.arena
        try:
            arena.join(self, max(arena.need_of(self), execution.activation_bytes))
        except BaseException:
            execution.close()
            raise
        self._executions[tuple(shapes.values())] = execution
        return execution

    def _run_first(self, execution: Execution, feed: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run shapes that are new here, for which kernels may have to be compiled."""
        begun = time.perf_counter()
        execution.upload(self._inputs, feed)
        outputs = execution.run()
        seconds = time.perf_counter() - begun
        if self._kernels is not None:
            self._kernels.keep()
            _LOG.log(
                logging.WARNING if seconds > LONG else logging.INFO,
                "%s: its first use for %s took %.1f s on %s; what was compiled is kept",
                self._name,
                ", ".join(f"{name} {feed[name].shape}" for name in self._inputs),
                seconds,
                self.device,
            )
        return outputs

    def _run_in_pieces(self, feed: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run a batch that no profile is for as several that are served; outputs are new arrays."""
        served = self._served_batches(feed)
        batch = feed[self._batched[0]].shape[0] if self._batched else 0
        cuts = pieces(batch, served)
        if not cuts:
            raise FeedError(self._unserved(feed))
        parts: list[dict[str, Array]] = []
        for cut in cuts:
            part = {n: a[cut] if n in self._batched else a for n, a in feed.items()}
            outputs = self.run(part, NOTHING)
            parts.append({name: array.copy() for name, array in outputs.items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _served_batches(self, feed: Mapping[str, Array]) -> list[int]:
        """The batches that are served of what is `feed`'s in everything else."""

        def rest(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
            return shape[1:] if name in self._batched else shape

        served: set[int] = set()
        for profile in self._profiles if self._batched else ():
            others = {n: Extent(*(rest(n, one) for one in profile[n])) for n in self._inputs}
            if all(others[n].takes(rest(n, feed[n].shape)) for n in self._inputs):
                smallest, _, largest = profile[self._batched[0]]
                served.update(range(smallest[0], largest[0] + 1))
        return sorted(served)

    def _unserved(self, feed: Mapping[str, Array]) -> str:
        got: Shapes = {name: feed[name].shape for name in self._inputs}
        downscale = self._bundle.manifest.latents.downscale
        return unserved(
            self._name,
            got,
            self._profiles,
            self._record.shapes,
            1 if self._name == layout.VAE_ENCODER else downscale,
            build_command(self._bundle, self._record.edition, weights=self._record.weights),
        )

    def _warm_up(self) -> None:
        """Run what the plan is exactly for, twice: TensorRT settles things in the first run, and
        the second is recorded."""
        exact = [
            (index, {name: extent.usual for name, extent in profile.items()})
            for index, profile in enumerate(self._profiles)
            if all(extent.smallest == extent.largest for extent in profile.values())
        ]
        executions = [self._open(index, shapes) for index, shapes in exact]
        for (_, shapes), execution in zip(exact, executions, strict=True):
            zeros = {
                name: np.zeros(shape, NUMPY_DTYPES[self._inputs[name].dtype])
                for name, shape in shapes.items()
            }
            self._run_first(execution, zeros)
            execution.run()


def _plan_file(bundle: Bundle, plans: Plans, component: str) -> Path:
    """A plan that a hash vouches for: the manifest's, which was checked as the bundle was opened,
    or its record's, which is checked here."""
    record = plans.record
    plan = record.plans[component]
    if record.weights == "inside":
        return bundle.path(f"{folder_of(record.target)}/{plan.plan}")
    check_unchanged(plans.folder / plan.plan, plan)
    return plans.folder / plan.plan


def _kernels(
    loaded: LoadedPlan, record: BuildRecord, component: str, machine: Machine
) -> Kernels | None:
    """Those of a plan that comes without."""
    if not record.edition.portable:
        return None
    made_of = record.plans[component].made_of
    library = str(loaded.library.version)
    key = (made_of, record.target, *record.shapes, *record.flags, library)
    return Kernels(loaded, kernels_file((*key, machine.gpu, machine.driver)))


def _share(
    bundle: Bundle, record: BuildRecord, component: str, gpu_memory: int | None
) -> int | None:
    """How many bytes of a plan's weights the GPU holds: its share of `gpu_memory` by its size."""
    if not record.weight_streaming:
        if gpu_memory is None:
            return None
        command = build_command(bundle, record.edition, record.shapes)
        raise SessionError(
            "--gpu-memory: the bundle's plans have their weights on the GPU; others are built "
            f"with: {command} --weight-streaming --force"
        )
    size, total = record.plans[component].size, sum(one.size for one in record.plans.values())
    return size if gpu_memory is None else gpu_memory * size // total


def _open_batch(tensor: Tensor) -> bool:
    return bool(tensor.shape) and isinstance(tensor.shape[0], str)
