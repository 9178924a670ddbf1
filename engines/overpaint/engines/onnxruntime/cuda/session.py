"""One graph on ONNX Runtime's CUDA provider, as a function on arrays."""

from __future__ import annotations

import os
from collections.abc import Mapping

from overpaint.bundle.errors import SessionError
from overpaint.bundle.format.manifest import Component
from overpaint.bundle.tensor import Array, Tensor
from overpaint.engines.onnxruntime.library import import_onnxruntime
from overpaint.engines.session.closing import Closing
from overpaint.engines.session.declared import by_name
from overpaint.engines.session.feed_check import FeedCheck
from overpaint.engines.session.protocol import Step

from .engine import Engine
from .options import Providers
from .thread import on_cuda_thread


class OrtCudaSession(Closing):
    """Outputs may be buffers that the next call reuses. From several threads, calls take turns."""

    def __init__(
        self,
        name: str,
        graph: str | os.PathLike[str],
        component: Component,
        providers: Providers,
        *,
        where: str,
    ) -> None:
        """Load `graph`, with the weights that lie beside it.

        Args:
            name: the component's name, for messages.
            providers: the one that is to run it first.
            where: what `started` says of it, for people.

        Raises:
            MissingExtraError: onnxruntime is not installed.
            SessionError: the graph cannot be loaded, is not the one that the manifest describes, or
                would be run on the processor.
        """
        runtime = import_onnxruntime()
        self.inputs: Mapping[str, Tensor] = by_name(component.inputs)
        self.outputs: Mapping[str, Tensor] = by_name(component.outputs)
        self._name = name
        self._check = FeedCheck(name, self.inputs, component.ranges)
        self._engine: Engine | None = on_cuda_thread(
            lambda: Engine(runtime, name, os.fspath(graph), component, providers)
        )
        self._where = where

    @property
    def device(self) -> str:
        """What runs it, for people."""
        engine = self._engine
        plain = engine is not None and not engine.graphs
        return f"{self._where}, without CUDA graphs" if plain else self._where

    def run(self, feed: Mapping[str, Array]) -> Mapping[str, Array]:
        """All inputs in, all outputs out.

        Raises:
            FeedError: an array is not what the engine takes.
            SessionError: the engine failed, or this session is closed.
        """
        self._check.all(feed)
        engine = self._open_engine()
        return on_cuda_thread(lambda: engine.run(feed, {}))

    def bind(self, constants: Mapping[str, Array]) -> Step:
        """Fix some inputs, which go to the GPU now; the returned function takes the rest and runs.

        What a `run` or another binding puts in their place is put right at the next step.

        Raises:
            FeedError: a constant is not what the engine takes.
        """
        self._check.some(constants)
        engine = self._open_engine()
        fixed = dict(constants)
        on_cuda_thread(lambda: engine.keep(fixed))

        def step(feed: Mapping[str, Array]) -> Mapping[str, Array]:
            self._check.all({**fixed, **feed})
            engine = self._open_engine()
            return on_cuda_thread(lambda: engine.run(feed, fixed))

        return step

    def close(self) -> None:
        """Release the engine, its graphs and its memory on the GPU. May be repeated."""
        engine, self._engine = self._engine, None
        if engine is not None:
            on_cuda_thread(engine.close)

    def _open_engine(self) -> Engine:
        if self._engine is None:
            raise SessionError(f"{self._name}: this session is closed")
        return self._engine
