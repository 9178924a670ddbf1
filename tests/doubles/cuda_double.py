"""A double of the part of onnxruntime that needs a GPU; the numbers are those of its CPU provider.

What it keeps of CUDA is what code can get wrong:

- Memory has addresses. What is freed is spoiled, and a graph that still points there sees that.
- A graph is captured by one thread, after two runs as usual, and replayed for that thread only.
  It reads and writes the addresses that it was captured with, in the shapes of then, whatever is
  bound since.
- While a thread captures, anything that another does on the GPU makes the capture fail.
- A binding copies an input to where its kernels read it when it is bound, and not later.
- A provider that does not start is left out without a word.
"""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as real

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
SPOILED = 0xFF  # NaN in every float

# As libonnxruntime_providers_cuda.so 1.31.1 names them; it refuses any other.
CUDA_OPTIONS = {
    "device_id", "enable_cuda_graph", "arena_extend_strategy", "cudnn_conv_algo_search",
    "cudnn_conv_use_max_workspace", "prefer_nhwc", "use_tf32", "sdpa_kernel", "fuse_conv_bias",
    "cudnn_conv1d_pad_to_nc1d", "do_copy_in_default_stream", "gpu_mem_limit",
    "enable_skip_layer_norm_strict_mode", "use_ep_level_unified_stream",
    "tunable_op_enable", "tunable_op_tuning_enable", "tunable_op_max_tuning_duration_ms",
}  # fmt: skip


@dataclass
class Gpu:
    """The memory of one GPU, what was done on it, and how it is to misbehave."""

    provider_starts: bool = True
    missing_libraries: tuple[str, ...] = ()
    available: tuple[str, ...] = (CUDA, CPU)
    pinned: bool = False
    host_inputs: frozenset[str] = frozenset()
    nodes_on_processor: bool = False
    captures_fail: bool = False
    capture_seconds: float = 0.0
    memory: dict[int, np.ndarray] = field(default_factory=dict)
    freed: dict[int, np.ndarray] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    capturing: int | None = None
    disturbed: bool = False
    _next: Iterator[int] = field(default_factory=lambda: itertools.count(0x1000, 0x1000))

    @property
    def live(self) -> int:
        return sum(block.nbytes for block in self.memory.values())

    def count(self, what: str) -> int:
        return self.log.count(what)

    @contextmanager
    def at_work(self, what: str) -> Iterator[None]:
        """Around whatever CUDA would do; from a second thread it spoils a capture."""
        if self.capturing not in (None, threading.get_ident()):
            self.disturbed = True
        self.log.append(what)
        yield

    def allocate(self, shape: tuple[int, ...], dtype: Any) -> tuple[int, np.ndarray]:
        with self.at_work("allocate"):
            address = next(self._next)
            block = self.memory[address] = np.empty(int(np.prod(shape)), dtype)
            block.view(np.uint8)[:] = SPOILED
            return address, block.reshape(shape)

    def free(self, address: int) -> None:
        block = self.memory.pop(address)
        block.view(np.uint8)[:] = SPOILED
        self.freed[address] = block

    def at(self, address: int) -> np.ndarray:
        return self.memory[address] if address in self.memory else self.freed[address]


def double(gpu: Gpu) -> Any:
    """A module to stand for onnxruntime."""

    class OrtValue:
        def __init__(self, kind: str, array: np.ndarray, address: int) -> None:
            self._kind, self._array, self._address = kind, array, address
            if kind == "cuda":
                weakref.finalize(self, gpu.free, address)

        @classmethod
        def ortvalue_from_shape_and_type(
            cls,
            shape: Any,
            element_type: Any,
            device_type: str = "cpu",
            device_id: int = 0,
            memory_info: Any = None,
        ) -> OrtValue:
            assert device_id == 0
            if memory_info is not None or device_type == "cpu":
                return cls("pinned" if memory_info else "cpu", np.empty(shape, element_type), 0)
            address, array = gpu.allocate(tuple(shape), np.dtype(element_type))
            return cls("cuda", array, address)

        @classmethod
        def ortvalue_from_numpy(cls, numpy_obj: np.ndarray, device_type: str = "cpu") -> OrtValue:
            assert device_type == "cpu"
            return cls("cpu", numpy_obj, 0)

        def update_inplace(self, data: np.ndarray) -> None:
            if data.size != self._array.size or data.dtype != self._array.dtype:
                raise RuntimeError("The input size of numpy arrays does not match the OrtValue's")
            with gpu.at_work("upload"):
                self._array[...] = data.reshape(self._array.shape)

        def numpy(self) -> np.ndarray:
            if self._kind != "cuda":
                return self._array
            with gpu.at_work("download"):
                return self._array.copy()

    class IOBinding:
        def __init__(self) -> None:
            self.inputs: dict[str, OrtValue] = {}
            self.outputs: dict[str, OrtValue | None] = {}
            self.results: list[OrtValue] = []

        def bind_ortvalue_input(self, name: str, ortvalue: OrtValue) -> None:
            wanted = "cpu" if name in gpu.host_inputs else "cuda"
            if ortvalue._kind != wanted:
                ortvalue = OrtValue("cpu", ortvalue._array.copy(), 0)
            self.inputs[name] = ortvalue

        def bind_output(self, name: str, device_type: str = "cpu", device_id: int = 0) -> None:
            assert (device_type, device_id) == ("cuda", 0)
            self.outputs[name] = None

        def bind_ortvalue_output(self, name: str, ortvalue: OrtValue) -> None:
            self.outputs[name] = ortvalue

        def get_outputs(self) -> list[OrtValue]:
            return self.results

        def clear_binding_outputs(self) -> None:
            self.outputs, self.results = {}, []

    class InferenceSession:
        def __init__(
            self,
            path_or_bytes: Any,
            sess_options: Any = None,
            providers: Any = None,
            **kwargs: Any,
        ) -> None:
            named = [one if isinstance(one, tuple) else (one, {}) for one in providers]
            self._providers = [name for name, _ in named]
            self._graphs: dict[tuple[int, int], Any] = {}
            self._wants_graphs = False
            if named[0][0] != CPU:
                self._start(named[0], kwargs)
            self._real = real.InferenceSession(path_or_bytes, sess_options, providers=[CPU])

        def _start(self, provider: tuple[str, dict[str, str]], kwargs: dict[str, Any]) -> None:
            name, options = provider
            assert set(options) <= CUDA_OPTIONS, set(options) - CUDA_OPTIONS
            assert kwargs == {"enable_fallback": False}
            with gpu.at_work("open"):
                self._wants_graphs = options.get("enable_cuda_graph") == "1"
                if self._wants_graphs and gpu.nodes_on_processor:
                    raise RuntimeError(
                        "[ONNXRuntimeError] : 1 : FAIL : This session cannot use the graph capture "
                        "feature as requested by the user as all compute graph nodes have not been "
                        f"partitioned to the {name}"
                    )
                self._providers = [name, CPU] if gpu.provider_starts else [CPU]

        def get_providers(self) -> list[str]:
            return self._providers

        def get_inputs(self) -> Any:
            return self._real.get_inputs()

        def get_outputs(self) -> Any:
            return self._real.get_outputs()

        def get_input_memory_infos(self) -> list[Any]:
            return [
                SimpleNamespace(name="Cpu" if one.name in gpu.host_inputs else "Cuda")
                for one in self.get_inputs()
            ]

        def get_provider_graph_assignment_info(self) -> Any:
            return self._real.get_provider_graph_assignment_info()

        def io_binding(self) -> IOBinding:
            return IOBinding()

        def run(self, output_names: Any, input_feed: Any, run_options: Any = None) -> Any:
            assert self._providers == [CPU]
            return self._real.run(output_names, input_feed, run_options)

        def run_with_iobinding(self, iobinding: IOBinding, run_options: Any) -> None:
            number = int(run_options.get_run_config_entry("gpu_graph_id"))
            key = threading.get_ident(), number
            if not self._wants_graphs or number == -1:
                self._run(iobinding)
            elif key in self._graphs:
                with gpu.at_work("replay"):
                    self._replay(self._graphs[key])
            else:
                for _ in range(2):
                    self._run(iobinding)
                self._graphs[key] = self._capture(iobinding)
                self._replay(self._graphs[key])

        def release_captured_graph(self, graph_annotation_id: int = 0) -> None:
            with gpu.at_work("release"):
                self._graphs.pop((threading.get_ident(), graph_annotation_id))

        def _run(self, binding: IOBinding) -> None:
            with gpu.at_work("run"):
                arrays = self._compute({n: v._array for n, v in binding.inputs.items()})
                binding.results = []
                for name, bound in binding.outputs.items():
                    if bound is None:
                        address, array = gpu.allocate(arrays[name].shape, arrays[name].dtype)
                        bound = OrtValue("cuda", array, address)
                    bound._array[...] = arrays[name]
                    binding.results.append(bound)

        def _capture(self, binding: IOBinding) -> Any:
            with gpu.at_work("capture"):
                gpu.capturing, gpu.disturbed = threading.get_ident(), False
                time.sleep(gpu.capture_seconds)
                gpu.capturing = None
            if gpu.captures_fail or gpu.disturbed:
                raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL : CUDA error 900: operation not "
                                   "permitted when stream is capturing")  # fmt: skip
            if None in binding.outputs.values():
                raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL : allocation while capturing")
            values = {**binding.inputs, **binding.outputs}
            shapes = {name: value._array.shape for name, value in values.items()}
            addresses = {n: v._address for n, v in values.items() if v._kind == "cuda"}
            on_host = {n: v._array.copy() for n, v in binding.inputs.items() if v._kind == "cpu"}
            return SimpleNamespace(
                inputs=list(binding.inputs), outputs=list(binding.outputs), shapes=shapes,
                addresses=addresses, on_host=on_host,
            )  # fmt: skip

        def _replay(self, graph: Any) -> None:
            feed = {
                name: graph.on_host[name]
                if name in graph.on_host
                else gpu.at(graph.addresses[name]).reshape(graph.shapes[name])
                for name in graph.inputs
            }
            arrays = self._compute(feed)
            for name in graph.outputs:
                gpu.at(graph.addresses[name])[:] = arrays[name].reshape(-1)

        def _compute(self, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            names = [one.name for one in self.get_outputs()]
            return dict(zip(names, self._real.run(names, feed), strict=True))

    def copy_tensors(src: list[OrtValue], dst: list[OrtValue], stream: Any = None) -> None:
        for source, target in zip(src, dst, strict=True):
            assert {source._kind, target._kind} == {"cuda", "pinned"}
            with gpu.at_work("upload" if target._kind == "cuda" else "download"):
                target._array[...] = source._array

    def preload_dlls() -> None:
        for name in gpu.missing_libraries:
            print(f"Failed to load {name}: {name}: cannot open shared object file: No such file")

    device = SimpleNamespace(ep_name=CUDA, memory_info=lambda kind: "page-locked")
    return SimpleModule(
        __version__=real.__version__,
        OrtValue=OrtValue,
        IOBinding=IOBinding,
        InferenceSession=InferenceSession,
        RunOptions=real.RunOptions,
        SessionOptions=real.SessionOptions,
        GraphOptimizationLevel=real.GraphOptimizationLevel,
        ExecutionMode=real.ExecutionMode,
        OrtDeviceMemoryType=real.OrtDeviceMemoryType,
        get_available_providers=lambda: list(gpu.available),
        get_ep_devices=lambda: [device] if gpu.pinned else [],
        preload_dlls=preload_dlls,
        copy_tensors=copy_tensors,
    )


class SimpleModule:
    """Attributes, and as a module has it an identity to be remembered by."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)
