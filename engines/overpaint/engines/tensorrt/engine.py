"""Sessions on TensorRT: plans run on device buffers, with a CUDA graph for each shape."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from overpaint.bundle import layout
from overpaint.bundle.errors import FeedError, SessionError
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.tensor import NUMPY_DTYPES, Array, Tensor
from overpaint.engines.session.closing import Closing
from overpaint.engines.session.declared import by_name
from overpaint.engines.session.feed_check import FeedCheck
from overpaint.engines.session.protocol import Step

from .cuda import shared_cuda
from .engine import load_engine, profiles_of
from .execution import Execution
from .libraries import Library
from .record import BuildRecord, build_command, folder_of
from .served import pieces, unserved
from .shapes import Profile


class TensorRTSession(Closing):
    """One component's plan. Outputs are buffers that the next call overwrites: copy to keep.

    Sessions of a process take turns on one stream, and share the memory of their activations.
    """

    def __init__(
        self, bundle: Bundle, component: str, record: BuildRecord, library: Library, gpu: str
    ) -> None:
        """Load the plan and run each of its shapes once, so that the first request is not slower.

        Raises:
            SessionError: it cannot be loaded, or memory is short.
        """
        described = bundle.component(component)
        plan = f"{folder_of(record.target)}/{record.plans[component].plan}"
        self.inputs: Mapping[str, Tensor] = by_name(described.inputs)
        self.outputs: Mapping[str, Tensor] = by_name(described.outputs)
        self.device = f"{library} on {gpu}"
        self._name = component
        self._bundle, self._record = bundle, record
        self._check = FeedCheck(component, self.inputs, described.ranges)
        self._batched = [t.name for t in described.inputs if _open_batch(t)]
        self._cuda = shared_cuda()
        self._executions: dict[tuple[tuple[int, ...], ...], Execution] = {}
        loaded = load_engine(
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

    def run(self, feed: Mapping[str, Array]) -> Mapping[str, Array]:
        """All inputs in, all outputs out.

        Raises:
            FeedError: an array is not what the engine takes, or of a shape it was not built for.
            SessionError: the engine failed, or this session is closed.
        """
        return self._run(feed, (), None)

    def bind(self, constants: Mapping[str, Array]) -> Step:
        """Fix some inputs; the returned function takes the rest and runs.

        Constants go to the device once, with the first call, and stay there until something else
        is run in their shape.

        Raises:
            FeedError: a constant is not what the engine takes.
        """
        self._check.some(constants)
        fixed, binding = dict(constants), object()
        names = tuple(fixed)

        def step(feed: Mapping[str, Array]) -> Mapping[str, Array]:
            return self._run({**fixed, **feed}, names, binding)

        return step

    def close(self) -> None:
        """Free the engine and its buffers. May be repeated."""
        with self._cuda.lock:
            while self._executions:
                self._executions.popitem()[1].close()
            self._loaded = None
            self._cuda.arena.leave(self)

    def _run(
        self, feed: Mapping[str, Array], constants: tuple[str, ...], binding: object
    ) -> Mapping[str, Array]:
        self._check.all(feed)
        with self._cuda.lock:
            if self._loaded is None:
                raise SessionError(f"{self._name}: this session is closed")
            execution = self._executions.get(tuple(feed[name].shape for name in self.inputs))
            if execution is None:
                return self._run_in_pieces(feed)
            bound = binding is not None and execution.bound is binding
            names = [name for name in self.inputs if not (bound and name in constants)]
            execution.bound = None  # until they are there
            execution.upload(names, feed)
            outputs = execution.run()
            execution.bound = binding
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
            outputs = self._run(part, (), None)
            parts.append({name: array.copy() for name, array in outputs.items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in self.outputs}

    def _served_batches(self, feed: Mapping[str, Array]) -> list[int]:
        """The batches of those profiles that are `feed`'s in everything else."""

        def rest(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
            return shape[1:] if name in self._batched else shape

        return [
            profile[self._batched[0]][0]
            for profile in self._profiles
            if self._batched
            and all(rest(n, profile[n]) == rest(n, feed[n].shape) for n in self.inputs)
        ]

    def _unserved(self, feed: Mapping[str, Array]) -> str:
        got: Profile = {name: feed[name].shape for name in self.inputs}
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
                name: np.zeros(shape, NUMPY_DTYPES[self.inputs[name].dtype])
                for name, shape in profile.items()
            }
            for _ in range(2):
                execution.upload(zeros, zeros)
                execution.run()


def _open_batch(tensor: Tensor) -> bool:
    return bool(tensor.shape) and isinstance(tensor.shape[0], str)
