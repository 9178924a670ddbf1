"""The inputs and outputs that an ONNX graph declares, read and written without the onnx package."""

from __future__ import annotations

import os
from typing import Final

from overpaint.bundle.tensor import DType, Tensor

from . import proto as onnx
from .proto import mapped_model
from .wire import (
    LENGTH,
    VARINT,
    Buffer,
    MalformedError,
    Span,
    fields,
    message,
    messages,
    read_text,
    string,
    varint,
)

_DTYPES: Final[dict[int, DType]] = {
    onnx.FLOAT: "float32",
    onnx.INT32: "int32",
    onnx.INT64: "int64",
    onnx.BOOL: "bool",
    onnx.FLOAT16: "float16",
    onnx.BFLOAT16: "bfloat16",
}


def graph_tensors(
    path: str | os.PathLike[str],
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return a graph's (inputs, outputs). A size without a number or a name is called `NAME.AXIS`.

    Raises:
        IntegrityError: the file is not an ONNX graph, or a tensor is of a dtype no manifest has.
    """
    inputs, outputs = list[Tensor](), list[Tensor]()
    with mapped_model(path) as model:
        for graph in messages(model, (0, len(model)), onnx.MODEL_GRAPH):
            for number, wire, a, b in fields(model, *graph):
                if number == onnx.GRAPH_INPUT and wire == LENGTH:
                    inputs.append(_tensor(model, (a, b)))
                elif number == onnx.GRAPH_OUTPUT and wire == LENGTH:
                    outputs.append(_tensor(model, (a, b)))
    return tuple(inputs), tuple(outputs)


def written_input(tensor: Tensor) -> bytes:
    """An input of a graph, as its field; symbolic sizes by name."""
    sides = [
        message(
            onnx.SHAPE_DIMENSION,
            string(onnx.DIMENSION_NAME, side)
            if isinstance(side, str)
            else varint(onnx.DIMENSION_VALUE, side),
        )
        for side in tensor.shape
    ]
    [element] = (number for number, dtype in _DTYPES.items() if dtype == tensor.dtype)
    described = message(
        onnx.TYPE_TENSOR,
        varint(onnx.TENSOR_TYPE_ELEMENT, element),
        message(onnx.TENSOR_TYPE_SHAPE, *sides),
    )
    return message(
        onnx.GRAPH_INPUT,
        string(onnx.VALUE_NAME, tensor.name),
        message(onnx.VALUE_TYPE, described),
    )


def _tensor(model: Buffer, value: Span) -> Tensor:
    name = "".join(read_text(model, *text) for text in messages(model, value, onnx.VALUE_NAME))
    dtype: DType | None = None
    shape: list[int | str] = []
    for kind in messages(model, value, onnx.VALUE_TYPE):
        for tensor in messages(model, kind, onnx.TYPE_TENSOR):
            for number, wire, a, b in fields(model, *tensor):
                if number == onnx.TENSOR_TYPE_ELEMENT and wire == VARINT:
                    dtype = _DTYPES.get(a)
                elif number == onnx.TENSOR_TYPE_SHAPE and wire == LENGTH:
                    sides = enumerate(messages(model, (a, b), onnx.SHAPE_DIMENSION))
                    shape += [_size(model, side, f"{name}.{axis}") for axis, side in sides]
    if dtype is None:
        raise MalformedError(f"the tensor {name!r} is of a dtype that no engine here takes")
    return Tensor(name=name, dtype=dtype, shape=tuple(shape))


def _size(model: Buffer, side: Span, unnamed: str) -> int | str:
    for number, wire, a, b in fields(model, *side):
        if number == onnx.DIMENSION_VALUE and wire == VARINT and 0 < a < 1 << 31:
            return a
        if number == onnx.DIMENSION_NAME and wire == LENGTH and b > a:
            return read_text(model, a, b)
    return unnamed
