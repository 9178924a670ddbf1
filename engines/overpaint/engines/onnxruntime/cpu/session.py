"""Sessions on ONNX Runtime's CPU provider. docs/decisions/0004 has the figures behind the options.

session = OnnxRuntimeSession("unet", bundle.path("unet/model.onnx"), bundle.component("unet"))
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from overpaint.bundle.errors import SessionError
from overpaint.bundle.format.manifest import Component
from overpaint.bundle.tensor import Array, Tensor
from overpaint.engines.host.cores import usable_cores
from overpaint.engines.onnxruntime.library import (
    Rewrite,
    import_onnxruntime,
    said,
    session_options,
    to_load,
)
from overpaint.engines.session.closing import Closing
from overpaint.engines.session.declared import by_name, check_tensors
from overpaint.engines.session.feed_check import FeedCheck
from overpaint.engines.session.protocol import Step

from .upsampling import convolve_before_doubling

PROVIDER: Final = "CPUExecutionProvider"
SMALLER: Final = 4
"""A run on so many times fewer bytes than the largest before it gives the arena's memory back."""


class OnnxRuntimeSession(Closing):
    """One graph on ONNX Runtime. May be run from several threads; outputs are the caller's own."""

    def __init__(
        self,
        name: str,
        graph: str | os.PathLike[str],
        component: Component,
        *,
        plan: Path | None = None,
        threads: int | None = None,
    ) -> None:
        """Load `graph`, with the weights that lie beside it.

        Args:
            name: the component's name, for messages.
            plan: the graph as this engine optimized it before, on such a processor.
            threads: worker threads, the caller's included; None: every core it may use.

        Raises:
            MissingExtraError: onnxruntime is not installed.
            SessionError: the graph cannot be loaded, or is not the one that the manifest describes.
        """
        runtime = import_onnxruntime()
        self.inputs: Mapping[str, Tensor] = by_name(component.inputs)
        self.outputs: Mapping[str, Tensor] = by_name(component.outputs)
        self.device = f"onnxruntime {runtime.__version__} CPU"
        self._name = name
        self._output_names = list(self.outputs)
        self._check = FeedCheck(name, self.inputs, component.ranges)
        engine = _load(runtime, name, graph, component, plan, threads or usable_cores())
        check_tensors(name, "input", component.inputs, engine.get_inputs())
        check_tensors(name, "output", component.outputs, engine.get_outputs())
        self._engine: Any | None = engine
        self._giving_back = runtime.RunOptions()
        self._giving_back.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._largest = 0

    def run(self, feed: Mapping[str, Array]) -> Mapping[str, Array]:
        """All inputs in, all outputs out, as new arrays.

        Raises:
            FeedError: an array is not what the engine takes.
            SessionError: the engine failed, or this session is closed.
        """
        self._check.all(feed)
        if (engine := self._engine) is None:
            raise SessionError(f"{self._name}: this session is closed")
        try:
            outputs = engine.run(self._output_names, feed, self._run_options(feed))
        except Exception as error:
            raise SessionError(f"{self._name}: the engine failed: {said(error)}") from error
        return dict(zip(self._output_names, outputs, strict=True))

    def _run_options(self, feed: Mapping[str, Array]) -> Any | None:
        """The arena keeps the most that any run has taken, gigabytes after a large picture, so that
        the next run need not ask for it: it is given back once smaller ones are run."""
        size = sum(array.nbytes for array in feed.values())
        if size * SMALLER <= self._largest:
            self._largest = size
            return self._giving_back
        self._largest = max(self._largest, size)
        return None

    def bind(self, constants: Mapping[str, Array]) -> Step:
        """Fix some inputs; the returned function takes the rest and runs.

        The provider reads arrays where they lie, so there is nothing to copy ahead.

        Raises:
            FeedError: a constant is not what the engine takes.
        """
        self._check.some(constants)
        fixed = dict(constants)

        def step(feed: Mapping[str, Array]) -> Mapping[str, Array]:
            return self.run({**fixed, **feed})

        return step

    def close(self) -> None:
        """Release the engine and its memory. May be repeated."""
        self._engine = None


def less_work(component: Component) -> Rewrite:
    """How a processor's graph is rewritten before it is loaded."""
    return convolve_before_doubling if component.compute_dtype == "float32" else _as_it_is


def _as_it_is(model: bytes) -> None:
    return None


def _load(
    runtime: ModuleType,
    name: str,
    graph: str | os.PathLike[str],
    component: Component,
    plan: Path | None,
    threads: int,
) -> Any:
    """An InferenceSession of a graph: of its plan, or with less to compute, or as it is."""
    options = session_options(runtime, threads)
    model: str | bytes
    if plan is None:
        model = to_load(graph, options, less_work(component))
    else:
        model = os.fspath(plan)
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return runtime.InferenceSession(model, options, providers=[PROVIDER])
    except Exception as error:  # onnxruntime's exceptions share no base of their own
        path = os.fspath(plan or graph)
        raise SessionError(f"{name}: {path} cannot be loaded: {said(error)}") from error
