"""A plan on TensorRT: device buffers, and a CUDA graph for each of its shapes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from overpaint.bundle import layout
from overpaint.bundle.arrays import NUMPY_DTYPES, Array
from overpaint.bundle.errors import FeedError
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.tensor import Tensor
from overpaint.engines.session.engine import NOTHING, closed
from overpaint.engines.session.session import Session

from .cuda import shared_cuda
from .execution import Execution
from .libraries import Library
from .loaded import load_plan, profiles_of
from .record import BuildRecord, build_command, folder_of
from .served import pieces, unserved
from .shapes import Profile


def tensorrt_session(
    bundle: Bundle, component: str, record: BuildRecord, library: Library, gpu: str
) -> Session:
    """Load the plan and run each of its shapes, so that the first request is as fast as any.

    Raises:
        SessionError: it cannot be loaded, or memory is short.
    """
    engine = TensorRTEngine(bundle, component, record, library, gpu)
    return Session(component, bundle.component(component), engine)


class TensorRTEngine:
    """One component's plan. Outputs are buffers that the next call overwrites: copy to keep.

    The engines of a process take turns on one stream, and share the memory of their activations.
    """

    def __init__(
        self, bundle: Bundle, component: str, record: BuildRecord, library: Library, gpu: str
    ) -> None:
        described = bundle.component(component)
        plan = f"{folder_of(record.target)}/{record.plans[component].plan}"
        self.device = f"{library} on {gpu}"
        self._name = component
        self._bundle, self._record = bundle, record
        self._inputs = {tensor.name: tensor for tensor in described.inputs}
        self._batched = [tensor.name for tensor in described.inputs if _open_batch(tensor)]
        self._cuda = shared_cuda()
        self._executions: dict[tuple[tuple[int, ...], ...], Execution] = {}
        loaded = load_plan(
            library, bundle.path(plan), described, version_compatible=record.version_compatible
        )
        self._loaded: object | None = loaded
        self._profiles = profiles_of(loaded, described)
        with self._cuda.lock:
            # What the greediest of the bundle's engines needs, so that the arena need not grow.
            needs = [one.activation_bytes for one in record.plans.values()]
            self._cuda.arena.join(self, max(loaded.activation_bytes, *needs))
            try:
                for index, profile in enumerate(self._profiles):
                    execution = Execution(component, self._cuda, loaded, described, index, profile)
                    self._executions[tuple(profile.values())] = execution
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
            execution = self._executions.get(tuple(feed[name].shape for name in self._inputs))
            if execution is None:
                return self._run_in_pieces(feed)
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
            self._loaded = None
            self._cuda.arena.leave(self)

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
        """The batches of those profiles that are `feed`'s in everything else."""

        def rest(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
            return shape[1:] if name in self._batched else shape

        return [
            profile[self._batched[0]][0]
            for profile in self._profiles
            if self._batched
            and all(rest(n, profile[n]) == rest(n, feed[n].shape) for n in self._inputs)
        ]

    def _unserved(self, feed: Mapping[str, Array]) -> str:
        got: Profile = {name: feed[name].shape for name in self._inputs}
        downscale = self._bundle.manifest.latents.downscale
        return unserved(
            self._name,
            got,
            self._profiles,
            self._record.shapes,
            1 if self._name == layout.VAE_ENCODER else downscale,
            build_command(self._bundle),
        )

    def _warm_up(self) -> None:
        """Twice: TensorRT settles things in the first run, and the second is recorded."""
        for profile, execution in zip(self._profiles, self._executions.values(), strict=True):
            zeros = {
                name: np.zeros(shape, NUMPY_DTYPES[self._inputs[name].dtype])
                for name, shape in profile.items()
            }
            for _ in range(2):
                execution.upload(zeros, zeros)
                execution.run()


def _open_batch(tensor: Tensor) -> bool:
    return bool(tensor.shape) and isinstance(tensor.shape[0], str)
