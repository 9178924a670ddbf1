"""Sessions on ONNX Runtime's CPU provider. docs/decisions/0004 has the figures behind the options.

session = OnnxRuntimeSession("unet", bundle.path("unet/model.onnx"), bundle.component("unet"))
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeAlias

from .bundle import Bundle
from .candidate import Candidate
from .closing import Closing
from .cores import usable_cores
from .errors import MissingExtraError, SessionError
from .feed_check import FeedCheck
from .graph_metadata import by_name, check_tensors
from .installed import install_command
from .manifest import Component, Tensor
from .ort_doubling import convolve_before_doubling
from .ort_plan import fitting_plan
from .session import Array, Step
from .wire import MalformedError

PROVIDER: Final = "CPUExecutionProvider"
SPINNING_FROM: Final = 4  # cores
WEIGHTS_BESIDE: Final = "session.model_external_initializers_file_folder_path"
LARGEST_REWRITTEN: Final = 1 << 24  # bytes; a larger graph carries its weights, and stays as it is

Rewrite: TypeAlias = Callable[[bytes], bytes | None]
"""An ONNX model otherwise written; None where it is to stay as it is. Raises MalformedError."""


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
            outputs = engine.run(self._output_names, feed)
        except Exception as error:
            raise SessionError(f"{self._name}: the engine failed: {said(error)}") from error
        return dict(zip(self._output_names, outputs, strict=True))

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


def candidate(bundle: Bundle) -> Candidate:
    """The processor runs every bundle, where onnxruntime is installed."""
    try:
        version = import_onnxruntime().__version__
    except MissingExtraError as error:
        return Candidate(
            "cpu", False, f"onnxruntime is not installed: {install_command(error.extra)}"
        )
    cores = usable_cores()
    built = any(fitting_plan(bundle, name) for name in bundle.manifest.components)
    how = f"onnxruntime {version}, {cores} core{'s' * (cores > 1)}{', plans built for it' * built}"
    return Candidate("cpu", True, how)


def open_session(bundle: Bundle, component: str) -> OnnxRuntimeSession:
    """Open one component's engine on the processor: from its plan, where one fits."""
    described = bundle.component(component)
    plan = fitting_plan(bundle, component)
    graph = bundle.folder / described.graph
    return OnnxRuntimeSession(component, graph, described, plan=plan)


def less_work(component: Component) -> Rewrite:
    """How a processor's graph is rewritten before it is loaded."""
    return convolve_before_doubling if component.compute_dtype == "float32" else _as_it_is


def _as_it_is(model: bytes) -> None:
    return None


def to_load(graph: str | os.PathLike[str], options: Any, rewrite: Rewrite) -> str | bytes:
    """What an InferenceSession with these SessionOptions is to be made of: the file, or what
    `rewrite` makes of it. A file that carries its weights, or is no graph, stays as it is."""
    path = os.fspath(graph)
    try:
        if os.stat(path).st_size > LARGEST_REWRITTEN:
            return path
        model = rewrite(Path(path).read_bytes())
    except (OSError, MalformedError):
        return path  # which the engine will say
    if model is None:
        return path
    options.add_session_config_entry(WEIGHTS_BESIDE, os.path.dirname(path))
    return model


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


def providers() -> list[str] | None:
    """ONNX Runtime's execution providers as it was built, None where it is not installed."""
    try:
        names: list[str] = import_onnxruntime().get_available_providers()
    except MissingExtraError:
        return None
    return names


def import_onnxruntime() -> ModuleType:
    """Import onnxruntime: late, for it takes some 25 ms that `overpaint info` need not spend.

    Raises:
        MissingExtraError: it is not installed, or does not load.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("cpu", "onnxruntime") from error
    module: ModuleType = onnxruntime
    return module


def session_options(runtime: ModuleType, threads: int) -> Any:
    """Return ONNX Runtime's SessionOptions for `threads` cores."""
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Left alone, it takes every core of the machine, whatever the affinity mask or container says,
    # and pins its threads to them.
    options.intra_op_num_threads = threads
    # The graphs are one chain with few branches: running two nodes at once gains nothing.
    options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    # A memory plan for each shape, in one block beside the arena: a third more memory, no time won.
    options.enable_mem_pattern = False
    # Waiting workers spin. Where cores are few, they spin on the ones that others need: the next
    # engine, the host's own step, another process.
    spin = "1" if threads >= SPINNING_FROM else "0"
    options.add_session_config_entry("session.intra_op.allow_spinning", spin)
    # What is wrong arrives as an exception: the log would say it a second time, on stderr.
    options.log_severity_level = 4
    return options


def said(error: Exception) -> str:
    """ONNX Runtime's message without its code and its source positions, on one line."""
    text = " ".join(str(error).split())
    _, _, tail = text.rpartition("[ONNXRuntimeError] : ")
    return tail[:400] or type(error).__name__
