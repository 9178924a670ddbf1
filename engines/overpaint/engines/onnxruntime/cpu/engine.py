"""A graph on ONNX Runtime's CPU provider. docs/decisions/0004 has the figures behind the options.

session = cpu_session("unet", bundle.path("unet/model.onnx"), bundle.component("unet"))
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from overpaint.bundle.arrays import Array
from overpaint.bundle.errors import SessionError
from overpaint.bundle.format.manifest import Component
from overpaint.engines.host.cores import usable_cores
from overpaint.engines.onnxruntime.library import (
    Rewrite,
    import_onnxruntime,
    message_of,
    session_options,
    to_load,
)
from overpaint.engines.session.declared import check_graph
from overpaint.engines.session.session import Session

from .doubling import convolve_before_doubling
from .halves import leave_mapped
from .norms import normalize_exactly

PROVIDER: Final = "CPUExecutionProvider"
SMALLER: Final = 4
"""A run on so many times fewer bytes than the largest before it gives the arena's memory back."""


def cpu_session(
    name: str,
    graph: str | os.PathLike[str],
    component: Component,
    *,
    plan: Path | None = None,
    threads: int | None = None,
    low_memory: bool = False,
) -> Session:
    """Load `graph`, with the weights that lie beside it.

    Args:
        name: the component's name, for messages.
        plan: the graph as this engine optimized it before, on such a processor.
        threads: worker threads, the caller's included; None: every core it may use.
        low_memory: large kernels in half precision, too, stay in the mapped file, for a sixth of
            the time of a run.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        SessionError: the graph cannot be loaded, or is not the one that the manifest describes.
    """
    engine = CpuEngine(name, graph, component, plan, threads, low_memory)
    return Session(name, component, engine)


class CpuEngine:
    """May be run from several threads; outputs are the caller's own."""

    def __init__(
        self,
        name: str,
        graph: str | os.PathLike[str],
        component: Component,
        plan: Path | None,
        threads: int | None,
        low_memory: bool,
    ) -> None:
        runtime = import_onnxruntime()
        options = session_options(runtime, threads or usable_cores())
        model: str | bytes
        if plan is None:
            model = to_load(graph, options, as_opened(component, low_memory))
        else:
            model = os.fspath(plan)
            options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            engine = runtime.InferenceSession(model, options, providers=[PROVIDER])
        except Exception as error:  # onnxruntime's exceptions share no base of their own
            path = os.fspath(plan or graph)
            raise SessionError(f"{name}: {path} cannot be loaded: {message_of(error)}") from error
        check_graph(name, component, engine.get_inputs(), engine.get_outputs())
        self.device = f"onnxruntime {runtime.__version__} CPU"
        self._name = name
        self._outputs = [tensor.name for tensor in component.outputs]
        self._engine: Any = engine
        self._giving_back = runtime.RunOptions()
        self._giving_back.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._largest = 0

    def run(self, feed: Mapping[str, Array], held: Mapping[str, Array]) -> Mapping[str, Array]:
        """The provider reads arrays where they lie: what is held is as near as what is not."""
        try:
            outputs = self._engine.run(self._outputs, feed, self._run_options(feed))
        except Exception as error:
            raise SessionError(f"{self._name}: the engine failed: {message_of(error)}") from error
        return dict(zip(self._outputs, outputs, strict=True))

    def _run_options(self, feed: Mapping[str, Array]) -> Any | None:
        """The arena keeps the most that any run has taken, gigabytes after a large picture, so that
        the next run need not ask for it: it is given back once smaller ones are run."""
        size = sum(array.nbytes for array in feed.values())
        if size * SMALLER <= self._largest:
            self._largest = size
            return self._giving_back
        self._largest = max(self._largest, size)
        return None

    def close(self) -> None:
        """Nothing to do: ONNX Runtime's memory goes with its session, and that with this."""


def as_opened(component: Component, low_memory: bool = False) -> Rewrite:
    """How a graph is rewritten before it is loaded: to compute less, and to hold fewer copies."""
    rewrite = cpu_rewrite(component)

    def both(model: bytes) -> bytes | None:
        less = rewrite(model)
        return leave_mapped(less or model, kernels=low_memory) or less

    return both


def cpu_rewrite(component: Component) -> Rewrite:
    """How a graph is rewritten for a processor to compute less."""
    if component.compute_dtype != "float32":
        return _as_it_is
    return normalize_exactly if _sees_a_picture(component) else convolve_before_doubling


def _sees_a_picture(component: Component) -> bool:
    return any(len(one.shape) == 4 and one.shape[1] == 3 for one in component.inputs)


def _as_it_is(model: bytes) -> None:
    return None
