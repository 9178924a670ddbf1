"""A graph that OpenVINO has compiled, and the requests that run it."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from overpaint.bundle.arrays import Array
from overpaint.bundle.errors import MissingExtraError, SessionError
from overpaint.engines.host.cores import usable_cores
from overpaint.engines.session.engine import NOTHING

from .rewrites import simplify

IR: Final = ".xml"
"""What OpenVINO's own models end in; their numbers lie beside, in a `.weights`."""
_DTYPES: Final = {
    "f32": "float32",
    "f16": "float16",
    "bf16": "bfloat16",
    "i64": "int64",
    "i32": "int32",
    "boolean": "bool",
}


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output as the graph declares it, in the manifest's words; None: any size."""

    name: str
    type: str
    shape: tuple[int | None, ...]


class Compiled:
    """A graph, compiled. `multiple`: the latents' sides that it is right for are multiples of it.

    Requests live as long as this does: OpenVINO keeps pointers into the memory of those that ran
    last, and once they were gone, a change of sizes wrote to it (2026.4, found by the tests).
    """

    def __init__(
        self,
        name: str,
        graph: str | os.PathLike[str],
        *,
        precision: str,
        threads: int | None,
        any_size: bool = False,
    ) -> None:
        """Raises SessionError: the graph cannot be loaded, or the processor has no bfloat16."""
        core = the_core()
        if precision == "bf16":
            _check_bf16(core)
        try:
            model = _read(core, Path(graph))
            # Compiling drops casts at the ends, and gives what is behind them a name of its own.
            inputs = [port.any_name for port in model.inputs]
            outputs = [port.any_name for port in model.outputs]
            quantised = Path(graph).suffix == IR  # which was made of the simplified graph
            self.multiple = (
                1 if quantised else simplify(model, import_openvino(), any_size=any_size)
            )
            self._compiled = core.compile_model(model, "CPU", _options(precision, threads))
        except Exception as error:  # openvino raises RuntimeError for everything
            raise SessionError(f"{name}: {graph} cannot be loaded: {_message_of(error)}") from error
        self.inputs = list(map(_port, self._compiled.inputs, inputs))
        self.outputs = list(map(_port, self._compiled.outputs, outputs))
        self._name = name
        self._free: list[Any] = []
        self._binding: Any = self._compiled.create_infer_request()
        self._held: Mapping[str, Array] = NOTHING  # whose arrays the binding's request has

    def run(self, feed: Mapping[str, Array]) -> Mapping[str, Array]:
        """Outputs as new arrays. As many requests come to be as threads run at once."""
        try:
            request = self._free.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        try:
            return self._infer(request, feed)
        finally:
            self._free.append(request)
            self._give_back()

    def run_held(self, feed: Mapping[str, Array], held: Mapping[str, Array]) -> Mapping[str, Array]:
        """The same, but what is `held` is handed over once. In one thread at a time."""
        if held is not self._held:
            self._held = NOTHING  # until all is handed over
            for name, array in held.items():
                tensor = self._binding.get_tensor(name)
                tensor.shape = array.shape
                tensor.data[...] = array
            self._held = held
        return self._infer(self._binding, {n: a for n, a in feed.items() if n not in held})

    def _give_back(self) -> None:
        """What a run computed with is not kept until the next one, as it is between the steps of a
        binding: a VAE's 700 MB at 512x512 would lie beside the denoiser's."""
        with contextlib.suppress(RuntimeError):  # another thread runs, and will come here
            self._compiled.release_memory()

    def _infer(self, request: Any, feed: Mapping[str, Array]) -> Mapping[str, Array]:
        try:
            outputs = request.infer(dict(feed))
        except Exception as error:
            message = f"{self._name}: the engine failed: {_message_of(error)}"
            raise SessionError(message) from error
        return {port.name: outputs[port.name] for port in self.outputs}


def import_openvino() -> ModuleType:
    """Imported late, for it takes a third of a second."""
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError.told_by(error, "openvino", "openvino") from error
    module: ModuleType = openvino
    return module


def _read(core: Any, graph: Path) -> Any:
    beside = (os.fspath(graph.with_suffix(".weights")),) if graph.suffix == IR else ()
    return core.read_model(os.fspath(graph), *beside)


@functools.cache
def the_core() -> Any:
    """One for the process: it owns the worker threads, which engines then share."""
    return import_openvino().Core()


def _check_bf16(core: Any) -> None:
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise SessionError(
            "--precision bf16: this processor does not compute in bfloat16 (those with AVX-512 "
            "BF16 or AMX do); use --precision f32"
        )


def _options(precision: str, threads: int | None) -> dict[str, Any]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads or usable_cores(),
        # Left alone, it takes bfloat16 wherever the processor has it.
        "INFERENCE_PRECISION_HINT": precision,
    }


def _port(port: Any, name: str) -> Port:
    kind = port.element_type.get_type_name()
    sides = (side.get_length() if side.is_static else None for side in port.partial_shape)
    return Port(name, _DTYPES.get(kind, kind), tuple(sides))


def _message_of(error: Exception) -> str:
    """OpenVINO's message without its source positions, on one line."""
    lines = (line.strip() for line in str(error).splitlines())
    kept = [line for line in lines if line and not line.startswith("Exception from ")]
    return " ".join(kept)[:400] or type(error).__name__
