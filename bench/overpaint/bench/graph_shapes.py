"""The shape of every tensor in an ONNX graph at given sizes, without running it.

ONNX's own inference stops where a shape is computed by the graph itself (Shape, Gather, Concat,
Reshape). Those nodes work on a few integers, so they are evaluated as soon as their inputs are
known, and inference goes on from there, until nothing new turns up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from overpaint.bundle.errors import MissingExtraError, OverpaintError

Shapes = dict[str, tuple[int, ...]]

_LARGEST: Final = 4096  # values; what shapes are computed from is smaller
_INTEGERS: Final = (6, 7, 9)  # int32, int64, bool in onnx.proto


def import_onnx() -> Any:
    """Raises MissingExtraError where the onnx package is not installed."""
    try:
        import onnx
        import onnx.reference
        import onnx.shape_inference
    except ImportError as error:
        raise MissingExtraError("bench", "onnx") from error
    return onnx


def infer_shapes(model: Any, sizes: Mapping[str, int]) -> Shapes:
    """Name -> shape of each tensor of `model`, a ModelProto, whose symbolic sizes are `sizes`.

    `model` is changed on the way.

    Raises:
        OverpaintError: an input's size is not among `sizes`, or a shape stays unknown.
    """
    onnx = import_onnx()
    _fix_inputs(model, sizes)
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    constants = {
        one.name: onnx.numpy_helper.to_array(one)
        for one in model.graph.initializer
        if one.data_type in _INTEGERS and not one.external_data
    }
    while True:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        shapes = _known(inferred)
        if not _evaluate(onnx, model, shapes, constants):
            break
    shapes |= {one.name: tuple(one.dims) for one in model.graph.initializer}
    unknown = [n for n in model.graph.node if n.output[0] not in shapes]
    if unknown:
        first = unknown[0]
        raise OverpaintError(
            f"the shape of {len(unknown)} tensors cannot be inferred, the first of them "
            f"{first.output[0]!r} ({first.op_type})"
        )
    return shapes


def _fix_inputs(model: Any, sizes: Mapping[str, int]) -> None:
    for tensor in model.graph.input:
        for dim in tensor.type.tensor_type.shape.dim:
            if name := dim.dim_param:
                if name not in sizes:
                    raise OverpaintError(f"{tensor.name}: no value for its dimension {name!r}")
                dim.ClearField("dim_param")
                dim.dim_value = sizes[name]


def _known(model: Any) -> Shapes:
    graph = model.graph
    found: Shapes = {}
    for tensor in (*graph.input, *graph.value_info, *graph.output):
        kind = tensor.type.tensor_type
        if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim):
            found[tensor.name] = tuple(dim.dim_value for dim in kind.shape.dim)
    return found


def _evaluate(onnx: Any, model: Any, shapes: Shapes, constants: dict[str, Any]) -> bool:
    """Turn nodes of known integers into initializers; whether there was any."""
    kept, changed = [], False
    for node in model.graph.node:
        values = _values(onnx, node, shapes, constants)
        if values is None:
            kept.append(node)
            continue
        changed = True
        for name, value in zip(node.output, values, strict=False):
            constants[name] = value
            model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return changed


def _values(onnx: Any, node: Any, shapes: Shapes, constants: Mapping[str, Any]) -> Any:
    """What `node` computes, None if that is not integers or not known."""
    if node.op_type == "Shape" and node.input[0] in shapes:
        bounds = {a.name: a.i for a in node.attribute}
        shape = shapes[node.input[0]]
        return [np.array(shape[bounds.get("start", 0) : bounds.get("end", len(shape))], np.int64)]
    names = [name for name in node.input if name]
    if not names or any(name not in constants for name in names):
        return None
    feed = {name: constants[name] for name in names}
    results = onnx.reference.ReferenceEvaluator(node).run(None, feed)
    arrays = [np.asarray(result) for result in results]
    whole = all(a.dtype.kind in "iub" and a.size <= _LARGEST for a in arrays)
    return arrays if whole else None
