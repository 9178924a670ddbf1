"""One graph -> one plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from overpaint.bundle.errors import SessionError

from .logger import Log, make_log, message_of
from .monitor import make_monitor
from .shapes import Profile
from .stop import cancelled_error

if TYPE_CHECKING:
    import tensorrt as trt


@dataclass(frozen=True, slots=True)
class Built:
    """`plan` is TensorRT's own memory, to be written to a file; `timing_cache` what it measured."""

    plan: Any
    timing_cache: bytes


def build_plan(
    trt: ModuleType,
    graph: Path,
    profiles: Sequence[Profile],
    *,
    version_compatible: bool,
    timing_cache: bytes,
    report: Callable[[float, str], None],
    cancelled: Callable[[], bool],
) -> Built:
    """Build a plan for exactly `profiles`. Takes minutes.

    Weights are read from the files that the graph points into, beside it. Precision is the
    graph's: networks are strongly typed, TensorRT 11 knows no others.

    Raises:
        SessionError: TensorRT cannot read the graph, or cannot build it.
        CancelledError: `cancelled` said yes.
    """
    log = make_log(trt)
    try:
        builder = trt.Builder(log)
    except TypeError as error:  # pybind's word for: the C++ side gave nothing
        raise SessionError(f"TensorRT's builder does not start: {message_of(log)}") from error
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(graph)):
        raise SessionError(
            f"{graph}: TensorRT cannot read this graph: {_parse_errors(parser, log)}"
        )
    _let_attention_decompose(trt, network)
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # float32 stays float32; for speed there is float16
    if version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    _set_shapes(builder, network, config, profiles)
    cache = config.create_timing_cache(timing_cache)
    if not config.set_timing_cache(cache, False):  # of another GPU or version: begin anew
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    monitor = make_monitor(trt, report, cancelled)
    config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if cancelled():
        raise cancelled_error()
    if plan is None:
        raise SessionError(f"{graph}: TensorRT cannot build this graph: {message_of(log)}")
    return Built(plan, bytes(cache.serialize()))


def _let_attention_decompose(trt: ModuleType, network: trt.INetworkDefinition) -> None:
    """Allow plain kernels where no fused one is for an Attention node's type, mask or head size.

    Left alone, TensorRT fails the build there: a VAE's single head of 512 and float32 are such.
    """
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type == trt.LayerType.ATTENTION_INPUT:
            # get_layer gives the base class; NVIDIA's own tools downcast in this way.
            layer.__class__ = trt.IAttentionInputLayer
            layer.attention.decomposable = True


def _set_shapes(
    builder: trt.Builder,
    network: trt.INetworkDefinition,
    config: trt.IBuilderConfig,
    profiles: Sequence[Profile],
) -> None:
    """Make static what all profiles agree on; give the rest a profile for each exact size."""
    dynamic = []
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        sizes = [profile[tensor.name] for profile in profiles]
        agreed = tuple(one[0] if len(set(one)) == 1 else -1 for one in zip(*sizes, strict=True))
        if tuple(tensor.shape) != agreed:
            tensor.shape = agreed
        if -1 in agreed:
            dynamic.append(tensor.name)
    for expected, profile in enumerate(profiles if dynamic else ()):
        exact = builder.create_optimization_profile()
        for name in dynamic:
            exact.set_shape(name, profile[name], profile[name], profile[name])
        if config.add_optimization_profile(exact) != expected:
            raise SessionError(f"TensorRT does not take the profile {dict(profile)}")


def _parse_errors(parser: trt.OnnxParser, log: Log) -> str:
    errors: list[trt.ParserError] = [parser.get_error(index) for index in range(parser.num_errors)]
    nodes = [f"{one.node_operator()} {one.node_name()}: {one.desc()}" for one in errors]
    return "; ".join(" ".join(node.split()) for node in nodes[:3])[:600] or message_of(log)
