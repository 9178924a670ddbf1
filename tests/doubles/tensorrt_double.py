"""TensorRT on ONNX Runtime: the classes and calls that overpaint touches, and no others.

What the real one refuses when it runs is refused here: an address that was never set, a shape that
no profile has, memory that is too small, a plan of another version or GPU. What is built of a graph
says the real builder: test_rtx_builder. What the real one does not notice (a graph replayed in
another shape, memory that was freed) is a `MisuseError`. Names and arguments are held against
NVIDIA's own bindings in test_bindings.

Plans of this double are a header and the whole ONNX model, its weights inside: a plan works
without the bundle it was made from, as the real ones do.
"""

from __future__ import annotations

import enum
import json
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from tests.doubles.cudart_double import CudartDouble, MisuseError

MAGIC = b"double plan\n"
ACTIVATION_BYTES = 4096  # times the largest batch of a profile
NUMPY = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float16}
DTYPES = {1: "FLOAT", 6: "INT32", 7: "INT64", 9: "BOOL", 10: "HALF"}
BY_DTYPE = {name: NUMPY[code] for code, name in DTYPES.items()}


class ILogger:
    class Severity(enum.Enum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2

    INTERNAL_ERROR = Severity.INTERNAL_ERROR
    ERROR = Severity.ERROR
    WARNING = Severity.WARNING

    def __init__(self) -> None: ...

    def log(self, severity: Any, msg: str) -> None: ...


class IProgressMonitor:
    def __init__(self) -> None: ...


class BuilderFlag(enum.Enum):
    TF32 = 0
    VERSION_COMPATIBLE = 1
    WEIGHT_STREAMING = 2
    REQUIRE_USER_ALLOCATION = 3
    STRIP_PLAN = 4
    REFIT_INDIVIDUAL = 5


class ComputeCapability(enum.Enum):
    SM75 = 75
    SM80 = 80
    SM86 = 86
    SM89 = 89
    SM120 = 120


class DynamicShapesKernelSpecializationStrategy(enum.Enum):
    LAZY = 0
    EAGER = 1


class TensorIOMode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class TensorLocation(enum.Enum):
    DEVICE = 0
    HOST = 1


class ExecutionContextAllocationStrategy(enum.Enum):
    STATIC = 0
    USER_MANAGED = 2


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1
    INT32 = 3
    INT64 = 8
    BOOL = 4


class ITensor:
    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        self.name = name
        self._given = self.shape = shape


class Weights:
    """`count` numbers at `ptr`; of a placeholder, nowhere."""

    def __init__(self, type: DataType, ptr: int, count: int) -> None:
        self.dtype, self.size, self._ptr = type, count, ptr


class IConstantLayer:
    def __init__(self, shape: tuple[int, ...], weights: Weights) -> None:
        self.weights, self._shape = weights, shape

    def get_output(self, index: int) -> ITensor:
        return ITensor("", self._shape)


class INetworkDefinition:
    def __init__(self) -> None:
        self._model: onnx.ModelProto | None = None
        self._inputs: list[ITensor] = []
        self._constants: list[Weights] = []
        self._named: dict[str, Weights] = {}

    num_layers = 0  # whose kinds only the real builder tells apart

    def add_constant(self, shape: tuple[int, ...], weights: Weights) -> IConstantLayer:
        if prod(shape) != weights.size:
            raise MisuseError(f"{weights.size} numbers of shape {shape}")
        layer = IConstantLayer(shape, Weights(weights.dtype, weights._ptr, weights.size))
        self._constants.append(layer.weights)
        return layer

    def set_weights_name(self, weights: Weights, name: str) -> bool:
        if not any(weights is one for one in self._constants) or name in self._named:
            return False  # the network knows its own weights only
        self._named[name] = weights
        return True

    def remove_tensor(self, tensor: ITensor) -> None:
        self._inputs.remove(tensor)

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    def get_input(self, index: int) -> ITensor:
        return self._inputs[index]


class OnnxParser:
    """Takes what ONNX Runtime takes."""

    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network = network

    def parse_from_file(self, model: str) -> bool:
        loaded = onnx.load(Path(model), load_external_data=False)
        _embed(loaded, Path(model).parent)
        self._network._model = loaded
        self._network._inputs = [ITensor(one.name, _shape(one)) for one in loaded.graph.input]
        return True


class IOptimizationProfile:
    def __init__(self) -> None:
        self._shapes: dict[str, tuple[tuple[int, ...], ...]] = {}

    def set_shape(
        self, input: str, min: tuple[int, ...], opt: tuple[int, ...], max: tuple[int, ...]
    ) -> None:
        self._shapes[input] = min, opt, max


class ITimingCache:
    def __init__(self, data: bytes) -> None:
        self._data = data or b"{}"

    def serialize(self) -> memoryview:
        return memoryview(self._data)  # as IHostMemory: a buffer, and not bytes


class IBuilderConfig:
    def __init__(self, gpu: str) -> None:
        self._gpu = gpu
        self._flags = {BuilderFlag.TF32}
        self._profiles: list[IOptimizationProfile] = []
        self._cache: ITimingCache | None = None
        self._capabilities: list[list[int]] = []
        self.progress_monitor: Any = None

    @property
    def num_compute_capabilities(self) -> int:
        return len(self._capabilities)

    @num_compute_capabilities.setter
    def num_compute_capabilities(self, count: int) -> None:
        self._capabilities = [[0, 0]] * count

    def set_compute_capability(self, compute_capability: ComputeCapability, index: int) -> bool:
        self._capabilities[index] = list(divmod(compute_capability.value, 10))
        return True

    def set_flag(self, flag: BuilderFlag) -> None:
        self._flags.add(flag)

    def clear_flag(self, flag: BuilderFlag) -> None:
        self._flags.discard(flag)

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache:
        return ITimingCache(bytes(serialized_timing_cache))

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        made_on = json.loads(cache._data).get("gpu", self._gpu)
        if made_on != self._gpu and not ignore_mismatch:
            return False
        self._cache = cache
        return True


class Builder:
    """Bound to a double of TensorRT by `TensorRTDouble`, which gives it GPU and version."""

    _trt: TensorRTDouble

    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        return INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig(self._trt.cuda.name)

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> memoryview | None:
        stripped = {BuilderFlag.STRIP_PLAN, BuilderFlag.REFIT_INDIVIDUAL} <= config._flags
        if network._named and not (stripped and len(config._capabilities) < 2):
            return self._fail("constants without values are for one card, stripped and refittable")
        shapes = {tensor.name: tensor.shape for tensor in network._inputs}
        for tensor in network._inputs:
            if any(a not in (-1, b) for a, b in zip(tensor._given, tensor.shape, strict=True)):
                return self._fail(f"{tensor.name}: {tensor.shape} is not one of {tensor._given}")
        dynamic = [name for name, shape in shapes.items() if -1 in shape]
        if dynamic and not config._profiles:
            return self._fail("dynamic inputs, and no optimization profile")
        for profile in config._profiles:
            for name in dynamic:
                if not _in(shapes[name], profile._shapes.get(name)):
                    return self._fail(f"the profile lacks {name}, or differs from the network")
        if not self._advance(config.progress_monitor):
            return None
        self._trt.builds += 1
        if config._cache is not None:
            known = json.loads(config._cache._data)
            known |= {"gpu": self._trt.cuda.name, network._model.graph.name: self._trt.builds}
            config._cache._data = json.dumps(known).encode()
        return self._plan(network, config, shapes)

    def _advance(self, monitor: Any) -> bool:
        """The phases of a build, as a real one reports them: nested, some cut short."""
        if monitor is None:
            return True
        going = True
        monitor.phase_start("Building Engine", None, 3)
        for step, inner in enumerate(("Tactic Selection", "Kernel Generation", "Serialization")):
            monitor.phase_start(inner, "Building Engine", 4)
            for k in range(4):
                self._trt.on_step()
                going = monitor.step_complete(inner, k)
                if not going:
                    break
            monitor.phase_finish(inner)
            going = going and monitor.step_complete("Building Engine", step)
            if not going:
                break
        monitor.phase_finish("Building Engine")
        return going

    def _plan(
        self, network: INetworkDefinition, config: IBuilderConfig, shapes: dict[str, Any]
    ) -> memoryview:
        profiles = [
            {name: one._shapes.get(name, (shape,) * 3) for name, shape in shapes.items()}
            for one in config._profiles
        ] or [{name: (shape,) * 3 for name, shape in shapes.items()}]
        header = {
            "version": self._trt.__version__,
            "tf32": BuilderFlag.TF32 in config._flags,
            "compatible": BuilderFlag.VERSION_COMPATIBLE in config._flags,
            "streamable": BuilderFlag.WEIGHT_STREAMING in config._flags,
            "capabilities": config._capabilities or [list(self._trt.cuda.capability)],
            "shapes": shapes,
            "profiles": profiles,
            "refit": {name: [one.dtype.name, one.size] for name, one in network._named.items()},
        }
        model = network._model
        assert model is not None
        plan = MAGIC + json.dumps(header).encode() + b"\n" + model.SerializeToString()
        return memoryview(plan)  # as IHostMemory: a buffer, and not bytes

    def _fail(self, why: str) -> None:
        self._logger.log(ILogger.ERROR, why)


class Runtime:
    _trt: TensorRTDouble

    def __init__(self, logger: ILogger) -> None:
        self._logger = logger
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, serialized_engine: Any) -> ICudaEngine | None:
        data, trt = bytes(serialized_engine), self._trt
        if not data.startswith(MAGIC):
            return self._fail("Magic tag does not match")
        head, _, model = data[len(MAGIC) :].partition(b"\n")
        header = json.loads(head)
        if list(trt.cuda.capability) not in header["capabilities"]:
            return self._fail("the engine plan file is for another compute capability")
        if header["compatible"] and not self.engine_host_code_allowed:
            return self._fail("host code is not allowed, and the plan has a lean runtime in it")
        if not header["compatible"] and (trt.lean or header["version"] != trt.__version__):
            return self._fail("Version tag does not match")
        return ICudaEngine(trt, header, model, self._logger)

    def _fail(self, why: str) -> None:
        self._logger.log(ILogger.ERROR, why)


class ICudaEngine:
    def __init__(
        self, trt: TensorRTDouble, header: dict[str, Any], model: bytes, logger: ILogger
    ) -> None:
        self._trt, self._header, self._logger = trt, header, logger
        self._known: dict[Any, dict[str, Any]] = {}
        self._weights, self._on_gpu = len(model), 0
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        graph = onnx.load_from_string(model).graph
        self._refit: dict[str, Any] = header["refit"]
        self._shapes = {one.name: _shape(one) for one in graph.input}
        self._constants: dict[str, Any] = {}
        self._inputs = {
            one.name: one.type.tensor_type.elem_type
            for one in graph.input
            if one.name not in self._refit
        }
        self._outputs = {one.name: one.type.tensor_type.elem_type for one in graph.output}

    @property
    def num_io_tensors(self) -> int:
        return len(self._inputs) + len(self._outputs)

    @property
    def num_optimization_profiles(self) -> int:
        return len(self._header["profiles"])

    @property
    def device_memory_size_v2(self) -> int:
        return max(
            ACTIVATION_BYTES * max(prod(s[2][:1]) for s in profile.values())
            for profile in self._header["profiles"]
        )

    @property
    def streamable_weights_size(self) -> int:
        return self._weights if self._header["streamable"] else 0

    @property
    def weight_streaming_budget_v2(self) -> int:
        return self._on_gpu

    @weight_streaming_budget_v2.setter
    def weight_streaming_budget_v2(self, size: int) -> None:
        if not 0 <= size <= self.streamable_weights_size:
            raise MisuseError(f"a budget of {size} bytes, of {self.streamable_weights_size}")
        self._on_gpu = size

    def create_runtime_config(self) -> IRuntimeConfig:
        return IRuntimeConfig(self._trt)

    def get_tensor_name(self, index: int) -> str:
        return [*self._inputs, *self._outputs][index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType[DTYPES[(self._inputs | self._outputs)[name]]]

    def get_tensor_location(self, name: str) -> TensorLocation:
        return TensorLocation.DEVICE

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._header["shapes"][name])

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        return [tuple(one) for one in self._header["profiles"][profile_index][name]]

    def _output_shapes(self, inputs: tuple[tuple[str, tuple[int, ...]], ...]) -> dict[str, Any]:
        """By running it once: ONNX Runtime has no shape inference to ask."""
        if inputs not in self._known:
            zeros = {name: np.zeros(shape, NUMPY[self._inputs[name]]) for name, shape in inputs}
            blank = {
                name: np.zeros(self._shapes[name], BY_DTYPE[d])
                for name, (d, _) in self._refit.items()
            }
            outputs = self._session.run(list(self._outputs), blank | zeros)
            shapes = [tuple(array.shape) for array in outputs]
            self._known[inputs] = dict(zip(self._outputs, shapes, strict=True))
        return self._known[inputs]

    def create_execution_context(
        self,
        strategy: ExecutionContextAllocationStrategy
        | IRuntimeConfig = ExecutionContextAllocationStrategy.STATIC,
    ) -> IExecutionContext:
        return IExecutionContext(self, strategy)


class Refitter:
    """Sets the constants that an engine was built without."""

    def __init__(self, engine: ICudaEngine, logger: ILogger) -> None:
        self._engine, self._logger = engine, logger
        self._given: dict[str, Weights] = {}

    def get_all_weights(self) -> list[str]:
        return list(self._engine._refit)

    def get_missing_weights(self) -> list[str]:
        return [name for name in self._engine._refit if name not in self._given]

    def set_named_weights(self, name: str, weights: Weights) -> bool:
        if self._engine._refit.get(name) != [weights.dtype.name, weights.size]:
            self._logger.log(ILogger.ERROR, f"{name}: not {weights.dtype} of {weights.size}")
            return False
        self._given[name] = weights
        return True

    def refit_cuda_engine(self) -> bool:
        """The weights are read now: their memory must still be there."""
        import ctypes

        if self.get_missing_weights():
            return False
        for name, one in self._given.items():
            dtype = np.dtype(BY_DTYPE[one.dtype.name])
            data = ctypes.string_at(one._ptr, one.size * dtype.itemsize)
            self._engine._constants[name] = np.frombuffer(data, dtype).reshape(
                self._engine._shapes[name]
            )
        return True


class IRuntimeCache:
    """Kernels as the shapes that they are for."""

    def __init__(self, trt: TensorRTDouble) -> None:
        self._made_on = [trt.cuda.name, trt.cuda.driver, trt.__version__]
        self._shapes: list[Any] = []

    def deserialize(self, blob: bytes) -> bool:
        made_on, shapes = json.loads(blob)
        if made_on != self._made_on:
            return False
        self._shapes = shapes
        return True

    def serialize(self) -> memoryview:
        return memoryview(json.dumps([self._made_on, self._shapes]).encode())


class IRuntimeConfig:
    def __init__(self, trt: TensorRTDouble) -> None:
        self._trt = trt
        self._strategy = ExecutionContextAllocationStrategy.STATIC
        self._cache: IRuntimeCache | None = None
        self.dynamic_shapes_kernel_specialization_strategy = (
            DynamicShapesKernelSpecializationStrategy.LAZY
        )

    def set_execution_context_allocation_strategy(
        self, strategy: ExecutionContextAllocationStrategy
    ) -> None:
        self._strategy = strategy

    def create_runtime_cache(self) -> IRuntimeCache:
        return IRuntimeCache(self._trt)

    def set_runtime_cache(self, cache: IRuntimeCache) -> bool:
        self._cache = cache
        return True


class IExecutionContext:
    def __init__(
        self, engine: ICudaEngine, strategy: ExecutionContextAllocationStrategy | IRuntimeConfig
    ) -> None:
        self._engine, self._cuda = engine, engine._trt.cuda
        self._config = strategy if isinstance(strategy, IRuntimeConfig) else None
        managed = self._config._strategy if self._config else strategy
        self._managed = managed is ExecutionContextAllocationStrategy.USER_MANAGED
        self._profile = 0
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._memory = (0, 0)
        self._settled = False  # whether it ran since its shapes were set

    def update_device_memory_size_for_shapes(self) -> int:
        return ACTIVATION_BYTES * max(prod(shape[:1]) for shape in self._now().values())

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        if not 0 <= profile_index < self._engine.num_optimization_profiles:
            return self._fail(f"there is no profile {profile_index}")
        self._profile, self._shapes, self._settled = profile_index, {}, False
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        low, _, high = self._engine.get_tensor_profile_shape(name, self._profile)
        if not all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True)):
            return self._fail(f"{name}: {shape} is not within profile {self._profile}")
        self._shapes[name], self._settled = tuple(shape), False
        return True

    def infer_shapes(self) -> list[str]:
        known = {n for n in self._engine._inputs if -1 not in self._engine.get_tensor_shape(n)}
        return [name for name in self._engine._inputs if name not in known | set(self._shapes)]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self._engine._inputs:
            return self._shapes.get(name, self._engine.get_tensor_shape(name))
        return self._engine._output_shapes(tuple(self._now().items()))[name]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if name not in self._engine._inputs | self._engine._outputs:
            return self._fail(f"no tensor {name!r}")
        self._addresses[name] = memory
        return True

    def set_device_memory(self, memory: int, size: int) -> None:
        if memory % 256 or size < self.update_device_memory_size_for_shapes():
            raise MisuseError(f"{size} bytes at {memory:#x}: too small, or not aligned")
        self._memory = memory, size

    def execute_async_v3(self, stream_handle: int) -> bool:
        engine = self._engine
        if missing := [n for n in engine._inputs | engine._outputs if n not in self._addresses]:
            return self._fail(f"no address is set for {missing}")
        if missing := [n for n in engine._refit if n not in engine._constants]:
            return self._fail(f"refitted without {missing}")
        if missing := self.infer_shapes():
            return self._fail(f"no shape is set for {missing}")
        if self._managed and self._memory[1] < self.update_device_memory_size_for_shapes():
            return self._fail("no device memory is set")
        if self._cuda.capturing(stream_handle) and not self._settled:
            return self._fail("captured before it ran once in this shape")
        if self._cuda.capturing(stream_handle) and engine._header["streamable"]:
            raise MisuseError("captured, though it allocates as it runs")
        self._settled = True
        self._specialise()
        shapes, memory, addresses = self._now(), self._memory, dict(self._addresses)
        self._cuda.enqueue(stream_handle, lambda: self._execute(shapes, memory, addresses))
        return True

    def _specialise(self) -> None:
        """Compile for shapes that are new, as the real one does at the first run."""
        if self._config is None or self._config._cache is None:
            return
        kernels = self._config._cache._shapes
        wanted = [[name, list(shape)] for name, shape in self._now().items()]
        if wanted not in kernels:
            kernels.append(wanted)
            self._engine._trt.compiled += 1

    def _execute(
        self, shapes: dict[str, tuple[int, ...]], memory: tuple[int, int], addresses: dict[str, int]
    ) -> None:
        if shapes != self._now() or addresses != self._addresses:
            raise MisuseError("recorded in another shape, or with other addresses, and replayed")
        engine = self._engine
        self._cuda.check(*memory, "device")
        _view(self._cuda, memory[0], (memory[1],), np.uint8)[:] = 0xCD  # activations, once
        feed = dict(engine._constants)
        feed |= {
            name: _view(self._cuda, addresses[name], shape, NUMPY[engine._inputs[name]]).copy()
            for name, shape in shapes.items()
        }
        names = list(engine._outputs)
        for name, array in zip(names, engine._session.run(names, feed), strict=True):
            _view(self._cuda, addresses[name], array.shape, array.dtype)[...] = array

    def _now(self) -> dict[str, tuple[int, ...]]:
        return {name: self.get_tensor_shape(name) for name in self._engine._inputs}

    def _fail(self, why: str) -> bool:
        self._engine._logger.log(ILogger.ERROR, why)
        return False


class TensorRTDouble:
    """Stands for the module `tensorrt`, `tensorrt_rtx`, or with `lean` for `tensorrt_lean`.

    `on_step` is called at each step of a build; `builds` counts those that ended, `compiled` the
    shapes that kernels were compiled for.
    """

    ILogger, IProgressMonitor, OnnxParser = ILogger, IProgressMonitor, OnnxParser
    BuilderFlag, TensorIOMode = BuilderFlag, TensorIOMode
    TensorLocation, DataType = TensorLocation, DataType
    Weights, Refitter = Weights, Refitter
    ExecutionContextAllocationStrategy = ExecutionContextAllocationStrategy
    ComputeCapability = ComputeCapability
    DynamicShapesKernelSpecializationStrategy = DynamicShapesKernelSpecializationStrategy

    def __init__(self, cuda: CudartDouble, version: str = "11.4.0.106", lean: bool = False) -> None:
        self.cuda, self.__version__, self.lean = cuda, version, lean
        self.builds = self.compiled = 0
        self.Builder = type("Builder", (Builder,), {"_trt": self})
        self.Runtime = type("Runtime", (Runtime,), {"_trt": self})

    def on_step(self) -> None: ...

    @staticmethod
    def nptype(trt_type: DataType) -> Any:
        return BY_DTYPE[trt_type.name]


CLASSES = [
    value
    for value in list(globals().values())
    if isinstance(value, type) and value.__module__ == __name__ and value is not TensorRTDouble
]


def _embed(model: onnx.ModelProto, folder: Path) -> None:
    """Take external data in, as NVIDIA's parser does: location, offset and length, beside the file.

    (The onnx package refuses files with several hard links, which a bundle's VAE is.)
    """
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            assert set(entries) <= {"location", "offset", "length"}, "a key NVIDIA's refuses"
            with (folder / entries["location"]).open("rb") as file:
                file.seek(int(entries.get("offset", 0)))
                tensor.raw_data = file.read(int(entries["length"]))
            del tensor.external_data[:]
            tensor.data_location = onnx.TensorProto.DEFAULT


def _shape(tensor: onnx.ValueInfoProto) -> tuple[int, ...]:
    dims = tensor.type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in dims)


def _in(shape: tuple[int, ...], extent: tuple[tuple[int, ...], ...] | None) -> bool:
    if extent is None or any(len(one) != len(shape) for one in extent):
        return False
    return all(
        low <= usual <= high and (a == -1 or {a} == {low, usual, high})
        for a, low, usual, high in zip(shape, *extent, strict=True)
    )


def _view(cuda: CudartDouble, address: int, shape: tuple[int, ...], dtype: Any) -> Any:
    size = prod(shape) * np.dtype(dtype).itemsize
    cuda.check(address, size, "device")
    import ctypes

    memory = (ctypes.c_uint8 * size).from_address(address)
    return np.frombuffer(memory, dtype).reshape(shape)
