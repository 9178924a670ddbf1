"""One graph -> one plan."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

from overpaint.bundle.errors import SessionError

from .cards import set_capabilities
from .logger import Log, make_log, message_of
from .monitor import make_monitor
from .shapes import Profile
from .stop import cancelled_error

if TYPE_CHECKING:
    import tensorrt as trt

Rewrite: TypeAlias = "Callable[[ModuleType, trt.INetworkDefinition], None]"
"""A change to a parsed network, in place: of (the TensorRT that parsed it, the network)."""


@dataclass(frozen=True, slots=True)
class Built:
    """`plan` is TensorRT's own memory, to be written to a file; `timing_cache` what it measured."""

    plan: Any
    timing_cache: bytes | None


def let_attention_decompose(trt: ModuleType, network: trt.INetworkDefinition) -> None:
    """Allow plain kernels where no fused one is for an Attention node's type, mask or head size.

    Left alone, TensorRT fails the build there: a VAE's single head of 512 and float32 are such.
    """
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type == trt.LayerType.ATTENTION_INPUT:
            # get_layer gives the base class; NVIDIA's own tools downcast in this way.
            layer.__class__ = trt.IAttentionInputLayer
            layer.attention.decomposable = True


def build_plan(
    trt: ModuleType,
    graph: Path,
    profiles: Sequence[Profile],
    *,
    flags: Sequence[str] = (),
    compute_capabilities: Sequence[str] = (),
    timing_cache: bytes | None = None,
    report: Callable[[float, str], None],
    cancelled: Callable[[], bool],
    rewrites: Sequence[Rewrite] = (let_attention_decompose,),
    weights: Collection[str] = (),
) -> Built:
    """Build a plan for exactly `profiles`. Takes minutes.

    Weights are read from the files that the graph points into, beside it. Precision is the
    graph's: networks are strongly typed, neither TensorRT knows others.

    Args:
        flags: builder flags to set, by name.
        compute_capabilities: what the plan is for, as "8.9"; none: the GPU that is here.
        timing_cache: what earlier builds measured; None where nothing is measured.
        weights: the names of inputs that are weights, and not of any profile.
        rewrites: what is done to the network, in turn, between parsing and building.

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
    for rewrite in rewrites:
        rewrite(trt, network)
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # float32 stays float32; for speed there is float16
    for flag in flags:
        config.set_flag(getattr(trt.BuilderFlag, flag))
    set_capabilities(trt, config, compute_capabilities)
    _set_shapes(builder, network, config, profiles, weights)
    cache = None if timing_cache is None else _timing_cache(config, timing_cache)
    monitor = make_monitor(trt, report, cancelled)
    config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if cancelled():
        raise cancelled_error()
    if plan is None:
        raise SessionError(f"{graph}: TensorRT cannot build this graph: {message_of(log)}")
    return Built(plan, None if cache is None else bytes(cache.serialize()))


def _timing_cache(config: trt.IBuilderConfig, former: bytes) -> trt.ITimingCache:
    cache = config.create_timing_cache(former)
    if not config.set_timing_cache(cache, False):  # of another GPU or version: begin anew
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache


def _set_shapes(
    builder: trt.Builder,
    network: trt.INetworkDefinition,
    config: trt.IBuilderConfig,
    profiles: Sequence[Profile],
    weights: Collection[str],
) -> None:
    """Make static what all profiles agree on; leave the rest to the profiles."""
    dynamic = []
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        if tensor.name in weights:
            continue  # which have their shapes
        shapes = [shape for profile in profiles for shape in profile[tensor.name]]
        agreed = tuple(one[0] if len(set(one)) == 1 else -1 for one in zip(*shapes, strict=True))
        if tuple(tensor.shape) != agreed:
            tensor.shape = agreed
        if -1 in agreed:
            dynamic.append(tensor.name)
    for expected, profile in enumerate(profiles if dynamic else ()):
        taken = builder.create_optimization_profile()
        for name in dynamic:
            smallest, usual, largest = profile[name]
            taken.set_shape(name, smallest, usual, largest)
        if config.add_optimization_profile(taken) != expected:
            raise SessionError(f"TensorRT does not take the profile {dict(profile)}")


def _parse_errors(parser: trt.OnnxParser, log: Log) -> str:
    errors: list[trt.ParserError] = [parser.get_error(index) for index in range(parser.num_errors)]
    nodes = [f"{one.node_operator()} {one.node_name()}: {one.desc()}" for one in errors]
    return "; ".join(" ".join(node.split()) for node in nodes[:3])[:600] or message_of(log)
