"""A plan, loaded: TensorRT's engine, held against what the manifest says of the component."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from overpaint.bundle.arrays import NUMPY_DTYPES
from overpaint.bundle.errors import SessionError
from overpaint.bundle.format.manifest import Component
from overpaint.bundle.graph.weights import Slot
from overpaint.bundle.tensor import Tensor

from .libraries import Library
from .logger import make_log, message_of
from .shapes import Extent, Profile

if TYPE_CHECKING:
    import tensorrt as trt

_WEIGHT_DTYPES: Final = {
    "F32": "FLOAT",
    "F16": "HALF",
    "BF16": "BF16",
    "I64": "INT64",
    "I32": "INT32",
    "BOOL": "BOOL",
}


@dataclass(frozen=True, slots=True)
class LoadedPlan:
    """`engine` runs; `runtime` and `log` live as long as it does, for it points to them."""

    engine: trt.ICudaEngine
    runtime: trt.Runtime
    log: Any
    library: Library

    @property
    def activation_bytes(self) -> int:
        """The device memory that running it takes, at the largest of its profiles."""
        return int(self.engine.device_memory_size_v2)

    def new_context(self) -> trt.IExecutionContext | None:
        """A context whose activations lie where it is told to put them."""
        strategy = self.library.module.ExecutionContextAllocationStrategy.USER_MANAGED
        return self.engine.create_execution_context(strategy)


def load_plan(
    library: Library,
    plan: Path,
    component: Component,
    *,
    version_compatible: bool,
    weights_on_gpu: int | None = None,
    weights: Mapping[str, Slot] | None = None,
) -> LoadedPlan:
    """Deserialize a plan whose hash was checked: it is executable code.

    Args:
        weights_on_gpu: bytes of its weights that the GPU holds, of a plan that streams the rest;
            None: all.
        weights: those that it takes as inputs.

    Raises:
        SessionError: TensorRT refuses it, or its tensors are not the manifest's.
    """
    trt = library.module
    log = make_log(trt)
    try:
        runtime = trt.Runtime(log)
    except TypeError as error:  # pybind's word for: the C++ side gave nothing
        raise SessionError(f"{library} does not start: {message_of(log)}") from error
    if log.errors:
        # Without a driver the lean runtime says so and gives an object all the same, which ends the
        # process when it is used or deleted. So it is neither.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(runtime))
        raise SessionError(f"{library} does not start: {message_of(log)}")
    # A version-compatible plan carries the runtime that built it, which is loaded like a library.
    runtime.engine_host_code_allowed = version_compatible
    with plan.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise SessionError(f"{plan}: {library} cannot load this plan: {message_of(log)}")
    if weights_on_gpu is not None:
        engine.weight_streaming_budget_v2 = min(weights_on_gpu, engine.streamable_weights_size)
    loaded = LoadedPlan(engine, runtime, log, library)
    for wrong in _differences(loaded, component, weights or {}):
        raise SessionError(f"{plan}: {wrong}. Build it again with: overpaint build")
    return loaded


def profiles_of(loaded: LoadedPlan, component: Component) -> tuple[Profile, ...]:
    """What each of the engine's profiles takes."""
    engine = loaded.engine
    return tuple(
        {tensor.name: _extent(engine, tensor, index) for tensor in component.inputs}
        for index in range(engine.num_optimization_profiles)
    )


def _extent(engine: trt.ICudaEngine, tensor: Tensor, index: int) -> Extent:
    shape = tuple(engine.get_tensor_shape(tensor.name))
    if -1 not in shape:
        return Extent(shape, shape, shape)
    return Extent(*(tuple(one) for one in engine.get_tensor_profile_shape(tensor.name, index)))


def _differences(
    loaded: LoadedPlan, component: Component, weights: Mapping[str, Slot]
) -> Iterator[str]:
    """How the plan's tensors differ from those that the manifest declares, and from the graph's
    weights, where these are inputs."""
    trt, engine = loaded.library.module, loaded.engine
    found: dict[str, Any] = {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        found[name] = engine.get_tensor_mode(name)
    wanted: Mapping[str, Any] = {
        **{tensor.name: trt.TensorIOMode.INPUT for tensor in component.inputs},
        **{tensor.name: trt.TensorIOMode.OUTPUT for tensor in component.outputs},
        **dict.fromkeys(weights, trt.TensorIOMode.INPUT),
    }
    if lacking := sorted(weights.keys() - found.keys()):
        yield f"it does not ask for the graph's weights {', '.join(lacking[:3])}"
        return
    if found != wanted:
        yield (
            f"its tensors are {', '.join(sorted(found.keys() - weights.keys()))}, "
            f"and the manifest's {', '.join(sorted(wanted.keys() - weights.keys()))}"
        )
        return
    for tensor in (*component.inputs, *component.outputs):
        if tensor.dtype not in NUMPY_DTYPES:
            yield f"{tensor.name!r} is {tensor.dtype}, which NumPy does not have"
        elif trt.nptype(engine.get_tensor_dtype(tensor.name)) != NUMPY_DTYPES[tensor.dtype]:
            yield f"{tensor.name!r} is not {tensor.dtype} in it, as the manifest says"
        elif engine.get_tensor_location(tensor.name) != trt.TensorLocation.DEVICE:
            yield f"{tensor.name!r} must lie in host memory, which sessions do not do"
    for name, slot in weights.items():
        shape, dtype = tuple(engine.get_tensor_shape(name)), engine.get_tensor_dtype(name)
        if shape != slot.shape or dtype != trt_dtype(trt, slot):
            wanted_so = f"{slot.dtype} {slot.shape}"
            yield f"its weight {name!r} is {dtype} {shape}, and the graph's is {wanted_so}"


def trt_dtype(trt: ModuleType, slot: Slot) -> Any:
    """What TensorRT calls a weight's dtype."""
    return getattr(trt.DataType, _WEIGHT_DTYPES[slot.dtype])
