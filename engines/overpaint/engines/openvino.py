"""Sessions on OpenVINO's CPU plugin, in float32 or bfloat16. docs/decisions/0011 has the figures.

It reads the same graphs as ONNX Runtime, weights and all: OpenVINO maps the safetensors file where
the graph points.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from types import ModuleType
from typing import Any, Final

from .bundle import Bundle
from .candidate import Candidate
from .closing import Closing
from .cores import usable_cores
from .errors import MissingExtraError, SessionError
from .feed_check import FeedCheck
from .graph_metadata import by_name, check_tensors
from .manifest import Component, Tensor
from .precision import Precision, measured
from .session import Array, Step

_DTYPES: Final = {
    "f32": "float32",
    "f16": "float16",
    "bf16": "bfloat16",
    "i64": "int64",
    "i32": "int32",
    "boolean": "bool",
}


class OpenVinoSession(Closing):
    """One graph on OpenVINO. May be run from several threads; outputs are the caller's own."""

    def __init__(
        self,
        name: str,
        graph: str | os.PathLike[str],
        component: Component,
        *,
        precision: Precision = "f32",
        threads: int | None = None,
    ) -> None:
        """Load `graph`, with the weights that lie beside it.

        Args:
            name: the component's name, for messages.
            precision: what matrix products and convolutions are computed in. Tensors go in and come
                out as the graph declares them, whatever it is.
            threads: worker threads; None: every core it may use.

        Raises:
            MissingExtraError: openvino is not installed.
            SessionError: the graph cannot be loaded, is not the one that the manifest describes,
                or the processor has no bfloat16.
        """
        core = _core()
        self.inputs: Mapping[str, Tensor] = by_name(component.inputs)
        self.outputs: Mapping[str, Tensor] = by_name(component.outputs)
        self.device = f"openvino {version('openvino')} CPU {precision}"
        self._name = name
        self._check = FeedCheck(name, self.inputs, component.ranges)
        if precision == "bf16":
            _check_bf16(core)
        try:
            engine = core.compile_model(
                core.read_model(os.fspath(graph)), "CPU", _options(precision, threads)
            )
        except Exception as error:  # openvino raises RuntimeError for everything
            raise SessionError(f"{name}: {graph} cannot be loaded: {_said(error)}") from error
        check_tensors(name, "input", component.inputs, [_port(port) for port in engine.inputs])
        check_tensors(name, "output", component.outputs, [_port(port) for port in engine.outputs])
        self._engine: Any | None = engine
        # Requests live as long as the engine: it keeps pointers into the memory of those that ran
        # last, and once they were gone, a change of sizes wrote to it (2026.4, found by the tests).
        self._free: list[Any] = []
        self._bound: Any = engine.create_infer_request()

    def run(self, feed: Mapping[str, Array]) -> Mapping[str, Array]:
        """All inputs in, all outputs out, as new arrays.

        Raises:
            FeedError: an array is not what the engine takes.
            SessionError: the engine failed, or this session is closed.
        """
        self._check.all(feed)
        request = self._take()
        try:
            return self._infer(request, feed)
        finally:
            if self._engine is not None:
                self._free.append(request)

    def bind(self, constants: Mapping[str, Array]) -> Step:
        """Fix some inputs; the returned function takes the rest and runs, in one thread at a time.

        The constants are handed to the engine here, once. A new binding ends the one before.

        Raises:
            FeedError: a constant is not what the engine takes.
            SessionError: this session is closed.
        """
        self._check.some(constants)
        if self._engine is None:
            raise SessionError(f"{self._name}: this session is closed")
        request, fixed = self._bound, dict(constants)
        for name, array in fixed.items():
            tensor = request.get_tensor(name)
            tensor.shape = array.shape
            tensor.data[...] = array

        def step(feed: Mapping[str, Array]) -> Mapping[str, Array]:
            self._check.all({**fixed, **feed})
            return self._infer(request, feed)

        return step

    def close(self) -> None:
        """Release the engine and its memory. May be repeated."""
        self._engine = self._bound = None
        self._free.clear()

    def _take(self) -> Any:
        """A request that nobody uses; as many come to be as threads run at once."""
        if (engine := self._engine) is None:
            raise SessionError(f"{self._name}: this session is closed")
        try:
            return self._free.pop()
        except IndexError:
            return engine.create_infer_request()

    def _infer(self, request: Any, feed: Mapping[str, Array]) -> Mapping[str, Array]:
        if self._engine is None:
            raise SessionError(f"{self._name}: this session is closed")
        try:
            outputs = request.infer(dict(feed))
        except Exception as error:
            raise SessionError(f"{self._name}: the engine failed: {_said(error)}") from error
        return {name: outputs[name] for name in self.outputs}


def candidate(bundle: Bundle) -> Candidate:
    """OpenVINO runs every bundle where it is installed, and is never taken unasked."""
    if importlib.util.find_spec("openvino") is None:
        why = "openvino is not installed; install it with: pip install 'overpaint[openvino]'"
        return Candidate("openvino", False, why, on_request=True)
    cores = usable_cores()
    quality = measured(bundle)
    said = "not measured yet" if quality is None else f"{quality:.1f} dB against f32"
    why = f"openvino {version('openvino')}, {cores} core{'s' * (cores > 1)}; bf16: {said}"
    return Candidate("openvino", True, why, on_request=True)


def open_session(bundle: Bundle, component: str, precision: Precision = "f32") -> OpenVinoSession:
    """Open one component's engine on the processor."""
    described = bundle.component(component)
    graph = bundle.folder / described.graph
    return OpenVinoSession(component, graph, described, precision=precision)


def _openvino() -> ModuleType:
    """Imported late, for it takes a third of a second."""
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("openvino", "openvino") from error
    module: ModuleType = openvino
    return module


@functools.cache
def _core() -> Any:
    """One for the process: it owns the worker threads, which engines then share."""
    return _openvino().Core()


def _check_bf16(core: Any) -> None:
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise SessionError(
            "--precision bf16: this processor does not compute in bfloat16 (those with AVX-512 "
            "BF16 or AMX do); use --precision f32"
        )


def _options(precision: Precision, threads: int | None) -> dict[str, Any]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads or usable_cores(),
        # Unasked, it takes bfloat16 wherever the processor has it.
        "INFERENCE_PRECISION_HINT": precision,
    }


@dataclass(frozen=True, slots=True)
class _Port:
    """An input or output as the graph declares it, in the manifest's words; None: any size."""

    name: str
    type: str
    shape: tuple[int | None, ...]


def _port(port: Any) -> _Port:
    kind = port.element_type.get_type_name()
    sides = (side.get_length() if side.is_static else None for side in port.partial_shape)
    return _Port(port.any_name, _DTYPES.get(kind, kind), tuple(sides))


def _said(error: Exception) -> str:
    """OpenVINO's message without its source positions, on one line."""
    lines = (line.strip() for line in str(error).splitlines())
    kept = [line for line in lines if line and not line.startswith("Exception from ")]
    return " ".join(kept)[:400] or type(error).__name__
