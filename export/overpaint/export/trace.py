"""From a network that holds no weights to an ONNX graph that asks for them by name.

torch.export follows the network on the meta device, torch.onnx writes opset 23 (native Attention,
LayerNormalization, Gelu), onnxscript folds what little is constant. What comes out is a template
(`overpaint.bundle.graph.weights`): each weight named and shaped, and nowhere yet.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes
import onnxscript.optimizer
import torch
from onnxscript.rewriter import RewritePass

from overpaint.bundle.errors import CheckpointError
from overpaint.bundle.tensor import Range, Tensor

from .part import Part, Wrapper
from .quiet import quietly
from .rewrites import REWRITES
from .translations import TRANSLATIONS

OPSET: Final = 23
LARGEST_CONSTANT: Final = 1024
"""Elements. Larger results are computed when a graph is loaded instead of being stored in it."""

_EXAMPLES: Final = {"batch": 2, "tokens": 77}
_TRACED_FROM: Final = 16
"""Sides are traced from 16 units up: at the lowest level of a UNet a single cell would be taken for
a constant. The graph that results is the same for all sizes, and parity is measured at one unit."""


def trace(part: Part) -> bytes:
    """The template of a component's graph. No weight is allocated.

    Raises:
        CheckpointError: torch cannot follow the network with the sizes left open.
    """
    with torch.device("meta"):
        net = part.make()
    _to_dtype(net, part.dtype)
    module = part.module(net)
    with quietly(), torch.no_grad():
        try:
            exported = torch.export.export(
                module,
                tuple(_example(tensor, part.ranges) for tensor in part.inputs),
                dynamic_shapes=(_dynamic_shapes(part),),
                strict=False,
            )
            program = torch.onnx.export(
                exported,
                dynamo=True,
                opset_version=OPSET,
                optimize=False,
                input_names=[tensor.name for tensor in part.inputs],
                output_names=[tensor.name for tensor in part.outputs],
                custom_translation_table=TRANSLATIONS,
                verbose=False,
            )
        except Exception as error:  # torch raises dozens of kinds here
            first = str(error).strip().split("\n")[0]
            raise CheckpointError(f"{part.component}: torch cannot export it: {first}") from error
    if program is None:
        raise CheckpointError(f"{part.component}: torch exported nothing")
    return _template(program.model, module, part)


def _to_dtype(net: Any, dtype: torch.dtype) -> None:
    """Cast a network, but for the modules that its class keeps in float32 (T5's `wo`)."""
    if dtype == torch.float32:
        return
    net.to(dtype)
    kept = getattr(net, "_keep_in_fp32_modules", None) or ()
    for name, module in net.named_modules():
        if name.split(".")[-1] in kept:
            module.to(torch.float32)


def _dynamic_shapes(part: Part) -> tuple[dict[int, Any], ...]:
    """For each input its symbolic dimensions, each a multiple of a size with a declared range."""
    units = {}
    for name, values in part.ranges.items():
        low, high = values.minimum // values.multiple, values.maximum // values.multiple
        low = low if name in _EXAMPLES else min(max(low, _TRACED_FROM), high)
        units[name] = values.multiple * torch.export.Dim(name, min=low, max=high)
    return tuple(
        {axis: units[side] for axis, side in enumerate(tensor.shape) if isinstance(side, str)}
        for tensor in part.inputs
    )


def _example(tensor: Tensor, ranges: Mapping[str, Range]) -> torch.Tensor:
    """A tensor of shape only. No two sides are equal, none is 1: torch would take them for one."""
    shape = [side if isinstance(side, int) else _side(side, ranges[side]) for side in tensor.shape]
    return torch.empty(shape, dtype=getattr(torch, tensor.dtype), device="meta")


def _side(name: str, values: Range) -> int:
    if name in _EXAMPLES:
        return values.multiple * min(_EXAMPLES[name], values.maximum // values.multiple)
    units = _TRACED_FROM + (3 if name.endswith("height") else 5)
    return values.multiple * min(units, values.maximum // values.multiple)


def _template(model: ir.Model, module: Wrapper, part: Part) -> bytes:
    """Tidy the exporter's graph, take its weights out, and name its symbolic sizes."""
    graph = model.graph
    weights = {}
    for name in list(graph.initializers):
        value = graph.initializers.pop(name)
        value.const_value = None
        graph.inputs.append(value)  # so that nothing is folded into it
        weights[name] = value
    _simplify(model)
    for value in weights.values():
        graph.inputs.remove(value)
    used = [value for value in weights.values() if value.uses()]
    for value in used:
        value.name = module.weight_name(value.name)
    proto = ir.to_proto(model)
    for value in used:
        proto.graph.initializer.append(_slot(value))
    _tidy(proto, part)
    _check(proto, part)
    return bytes(proto.SerializeToString(deterministic=True))


def _simplify(model: ir.Model) -> None:
    """Fold what is constant and small, drop what does nothing."""
    onnxscript.optimizer.fold_constants_ir(
        model,
        onnx_shape_inference=True,
        input_size_limit=LARGEST_CONSTANT,
        output_size_limit=LARGEST_CONSTANT,
    )
    ir.passes.Sequential(
        passes.IdentityEliminationPass(),
        RewritePass(REWRITES),
        passes.IdentityEliminationPass(),
        passes.RemoveUnusedNodesPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.DeduplicateInitializersPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.RemoveUnusedNodesPass(),
        passes.OutputFixPass(),
        passes.NameFixPass(),
    )(model)


def _slot(value: Any) -> onnx.TensorProto:
    """A weight that lies outside the graph, and nowhere yet."""
    return onnx.TensorProto(
        name=value.name,
        data_type=value.dtype.value,
        dims=list(value.shape.numpy()),
        data_location=onnx.TensorProto.EXTERNAL,
    )


def _tidy(proto: onnx.ModelProto, part: Part) -> None:
    """Drop what only a debugger reads (most of the bytes), and name the sizes as the manifest."""
    proto.doc_string = ""
    proto.producer_name, proto.producer_version = "overpaint", ""
    del proto.metadata_props[:]
    graph = proto.graph
    graph.name, graph.doc_string = part.component, ""
    del graph.metadata_props[:], graph.value_info[:]
    for item in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        item.doc_string = ""
        del item.metadata_props[:]
    declared = {tensor.name: tensor for tensor in (*part.inputs, *part.outputs)}
    for info in (*graph.input, *graph.output):
        sides = info.type.tensor_type.shape.dim
        for side, wanted in zip(sides, declared[info.name].shape, strict=True):
            if isinstance(wanted, str):
                side.dim_param = wanted
            else:
                side.dim_value = wanted


def _check(proto: onnx.ModelProto, part: Part) -> None:
    """What is not the checkpoint's must be small, and all that was declared must be there."""
    for tensor in proto.graph.initializer:
        inline = tensor.data_location != onnx.TensorProto.EXTERNAL
        if inline and math.prod(tensor.dims) > LARGEST_CONSTANT:
            raise CheckpointError(
                f"{part.component}: the graph would carry {tensor.name!r}, a constant of "
                f"{list(tensor.dims)}; this is a defect of the exporter, please report it"
            )
    found = [info.name for info in (*proto.graph.input, *proto.graph.output)]
    wanted = [tensor.name for tensor in (*part.inputs, *part.outputs)]
    if found != wanted:
        raise CheckpointError(f"{part.component}: expected the tensors {wanted}, got {found}")
