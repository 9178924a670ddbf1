"""An engine's constants, set after it was loaded: what NVIDIA calls refitting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from types import ModuleType
from typing import TYPE_CHECKING

from overpaint.bundle.arrays import Array
from overpaint.bundle.errors import SessionError
from overpaint.bundle.graph.weights import Slot

from .loaded import LoadedPlan, trt_dtype
from .logger import message_of

if TYPE_CHECKING:
    import tensorrt as trt


def placeholders(
    trt: ModuleType, network: trt.INetworkDefinition, slots: Mapping[str, Slot]
) -> None:
    """Make constants without values, of the weights' names, of the inputs of these names.

    Raises:
        SessionError: TensorRT does not take such a constant.
    """
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    weights = {tensor.name: tensor for tensor in inputs if tensor.name in slots}
    values = {}
    for name in weights:
        slot = slots[name]
        nothing = trt.Weights(trt_dtype(trt, slot), 0, prod(slot.shape))
        constant = network.add_constant(slot.shape, nothing)
        # The name belongs to the network's own weights: a copy of `nothing` is not found.
        if not network.set_weights_name(constant.weights, name):
            raise SessionError(f"TensorRT does not take the name {name!r} for a weight")
        values[name] = constant.get_output(0)
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        for place in range(layer.num_inputs):
            tensor = layer.get_input(place)
            if tensor is not None and tensor.name in values:
                layer.set_input(place, values[tensor.name])
    for tensor in weights.values():
        network.remove_tensor(tensor)


def refit(
    loaded: LoadedPlan, slots: Mapping[str, Slot], weights: Iterable[tuple[str, Array]]
) -> None:
    """Set every constant that an engine was built without.

    Args:
        weights: each slot's bytes, in its dtype.

    Raises:
        SessionError: TensorRT refuses one, or misses others.
    """
    trt = loaded.library.module
    refitter = trt.Refitter(loaded.engine, loaded.log)
    if strange := sorted(set(refitter.get_all_weights()) ^ set(slots)):
        raise SessionError(
            f"the engine and the graph differ in the weights {', '.join(strange[:3])}; "
            "build it again with: overpaint build"
        )
    held = []  # TensorRT reads them at the end
    for name, data in weights:
        slot = slots[name]
        held.append(data)
        given = trt.Weights(trt_dtype(trt, slot), data.ctypes.data, prod(slot.shape))
        if not refitter.set_named_weights(name, given):
            raise SessionError(f"TensorRT refuses the weight {name!r}: {message_of(loaded.log)}")
    if missing := refitter.get_missing_weights():
        raise SessionError(f"TensorRT lacks the weights {', '.join(missing[:3])}")
    if not refitter.refit_cuda_engine():
        raise SessionError(f"TensorRT does not take the weights: {message_of(loaded.log)}")
