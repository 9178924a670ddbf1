"""TensorRT on ONNX Runtime: the classes and calls that overpaint touches, and no others.

What the real one refuses is refused here: an address that was never set, a shape that no profile
has, memory that is too small, a plan of another version or GPU, an Attention that no kernel is for.
What the real one does not notice (a graph replayed in another shape, memory that was freed) is a
`MisuseError`. Names and arguments are held against NVIDIA's own bindings in test_tensorrt_bindings.

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


class LayerType(enum.Enum):
    ATTENTION_INPUT = 1
    CAST = 2


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


class IAttention:
    def __init__(self) -> None:
        self.decomposable = False


class ILayer:
    def __init__(self, kind: LayerType, attention: IAttention | None) -> None:
        self.type = kind
        self._attention = attention


class IAttentionInputLayer(ILayer):
    @property
    def attention(self) -> IAttention:
        assert self._attention is not None
        return self._attention


class ITensor:
    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        self.name = name
        self._given = self.shape = shape


class INetworkDefinition:
    def __init__(self) -> None:
        self._model: onnx.ModelProto | None = None
        self._inputs: list[ITensor] = []
        self._layers: list[ILayer] = []

    @property
    def num_layers(self) -> int:
        return len(self._layers)

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    def get_layer(self, index: int) -> ILayer:
        return self._layers[index]

    def get_input(self, index: int) -> ITensor:
        return self._inputs[index]


class ParserError:
    def __init__(self, operator: str, name: str, text: str) -> None:
        self._said = operator, name, text

    def node_operator(self) -> str:
        return self._said[0]

    def node_name(self) -> str:
        return self._said[1]

    def desc(self) -> str:
        return self._said[2]


# Of the operators that NVIDIA's parser has, those that our graphs use: operators.md in the docs of
# onnx-tensorrt 10.1, Attention since 10.14. What is not here has not been looked up; look it up
# before adding it.
OPERATORS_LOOKED_UP = """
Abs Add And ArgMax Attention Cast Concat Constant Conv ConvTranspose Cos Div
Einsum Equal Expand Gather GatherND Gelu Gemm Greater GreaterOrEqual
InstanceNormalization LayerNormalization Less LessOrEqual Log MatMul Min Mul Neg
Pad Pow Range Reciprocal ReduceMean Reshape Resize Shape Sigmoid Sin Slice Split
Sqrt Squeeze Sub Tanh Transpose Unsqueeze Where
"""
CONSTANT_AXES = {"Pad": 3, "ReduceMean": 1, "Slice": 3, "Squeeze": 1, "Unsqueeze": 1}  # input
LATEST_OPSET = 25


class OnnxParser:
    """Takes the operators above, as far as NVIDIA says that its own does."""

    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network = network
        self._errors: list[ParserError] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def parse_from_file(self, model: str) -> bool:
        loaded = onnx.load(Path(model), load_external_data=False)
        _embed(loaded, Path(model).parent)
        constants = {one.name for one in loaded.graph.initializer}
        constants |= {n.output[0] for n in loaded.graph.node if n.op_type == "Constant"}
        for node in loaded.graph.node:
            if why := _refused(node, constants):
                self._errors.append(ParserError(node.op_type, node.name, why))
        assert all(one.version <= LATEST_OPSET for one in loaded.opset_import)
        self._network._model = loaded
        self._network._inputs = [ITensor(one.name, _shape(one)) for one in loaded.graph.input]
        self._network._layers = [
            ILayer(LayerType.ATTENTION_INPUT, IAttention())
            if node.op_type == "Attention"
            else ILayer(LayerType.CAST, None)
            for node in loaded.graph.node
        ]
        return not self._errors


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
        self.progress_monitor: Any = None

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
        if any(layer._attention and not layer._attention.decomposable for layer in network._layers):
            return self._fail("no fused kernel for this attention, and it may not be decomposed")
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
            "capability": self._trt.cuda.capability,
            "shapes": shapes,
            "profiles": profiles,
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
        if tuple(header["capability"]) != trt.cuda.capability:
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
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        graph = onnx.load_from_string(model).graph
        self._inputs = {one.name: one.type.tensor_type.elem_type for one in graph.input}
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
            outputs = self._session.run(list(self._outputs), zeros)
            shapes = [tuple(array.shape) for array in outputs]
            self._known[inputs] = dict(zip(self._outputs, shapes, strict=True))
        return self._known[inputs]

    def create_execution_context(
        self,
        strategy: ExecutionContextAllocationStrategy = ExecutionContextAllocationStrategy.STATIC,
    ) -> IExecutionContext:
        return IExecutionContext(self, strategy)


class IExecutionContext:
    def __init__(self, engine: ICudaEngine, strategy: ExecutionContextAllocationStrategy) -> None:
        self._engine, self._cuda = engine, engine._trt.cuda
        self._managed = strategy is ExecutionContextAllocationStrategy.USER_MANAGED
        self._profile = 0
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._memory = (0, 0)
        self._settled = False  # whether it ran since its shapes were set

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
        if memory % 256 or size < self._engine.device_memory_size_v2:
            raise MisuseError(f"{size} bytes at {memory:#x}: too small, or not aligned")
        self._memory = memory, size

    def execute_async_v3(self, stream_handle: int) -> bool:
        engine = self._engine
        if missing := [n for n in engine._inputs | engine._outputs if n not in self._addresses]:
            return self._fail(f"no address is set for {missing}")
        if missing := self.infer_shapes():
            return self._fail(f"no shape is set for {missing}")
        if self._managed and self._memory[1] < engine.device_memory_size_v2:
            return self._fail("no device memory is set")
        if self._cuda.capturing(stream_handle) and not self._settled:
            return self._fail("captured before it ran once in this shape")
        self._settled = True
        shapes, memory, addresses = self._now(), self._memory, dict(self._addresses)
        self._cuda.enqueue(stream_handle, lambda: self._execute(shapes, memory, addresses))
        return True

    def _execute(
        self, shapes: dict[str, tuple[int, ...]], memory: tuple[int, int], addresses: dict[str, int]
    ) -> None:
        if shapes != self._now() or addresses != self._addresses:
            raise MisuseError("recorded in another shape, or with other addresses, and replayed")
        engine = self._engine
        self._cuda.check(*memory, "device")
        _view(self._cuda, memory[0], (memory[1],), np.uint8)[:] = 0xCD  # activations, once
        feed = {
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
    """Stands for the module `tensorrt`, or with `lean` for `tensorrt_lean`.

    `on_step` is called at each step of a build; `builds` counts those that ended.
    """

    ILogger, IProgressMonitor, OnnxParser = ILogger, IProgressMonitor, OnnxParser
    BuilderFlag, LayerType, TensorIOMode = BuilderFlag, LayerType, TensorIOMode
    TensorLocation, DataType = TensorLocation, DataType
    ExecutionContextAllocationStrategy = ExecutionContextAllocationStrategy
    IAttentionInputLayer = IAttentionInputLayer

    def __init__(self, cuda: CudartDouble, version: str = "11.4.0.106", lean: bool = False) -> None:
        self.cuda, self.__version__, self.lean = cuda, version, lean
        self.builds = 0
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


def _refused(node: onnx.NodeProto, constants: set[str]) -> str | None:
    """Why NVIDIA's parser does not take a node."""
    if node.domain or node.op_type not in OPERATORS_LOOKED_UP.split():
        return "no importer for it"
    at = CONSTANT_AXES.get(node.op_type)
    if at is not None and len(node.input) > at and node.input[at] not in constants:
        return "axes must be an initializer"
    if node.op_type == "Attention" and (len(node.output) > 1 or any(node.input[4:])):
        return "one output, and no past"
    attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    if node.op_type == "Resize" and attributes.get("mode") not in (b"nearest", b"linear"):
        return "unsupported mode"
    return None


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


def _in(shape: tuple[int, ...], exact: tuple[tuple[int, ...], ...] | None) -> bool:
    if exact is None or any(len(one) != len(shape) for one in exact):
        return False
    return all(a == -1 or {a} == set(rest) for a, *rest in zip(shape, *exact, strict=True))


def _view(cuda: CudartDouble, address: int, shape: tuple[int, ...], dtype: Any) -> Any:
    size = prod(shape) * np.dtype(dtype).itemsize
    cuda.check(address, size, "device")
    import ctypes

    memory = (ctypes.c_uint8 * size).from_address(address)
    return np.frombuffer(memory, dtype).reshape(shape)
