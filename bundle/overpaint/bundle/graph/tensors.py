"""A tensor that an ONNX model stores, in its own bytes or in another file's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from . import proto as onnx
from .wire import (
    LENGTH,
    VARINT,
    Buffer,
    MalformedError,
    fields,
    messages,
    read_packed,
    read_text,
)


class StoredTensor(NamedTuple):
    """`dtype` is onnx.proto's number, 0 where it says none. `content`: where in the model its
    values lie, if there. `entries` say where they lie otherwise: location, offset, length.
    `outside`: whether the tensor declares that they do."""

    name: str
    dtype: int
    shape: tuple[int, ...]
    content: slice
    entries: dict[str, str]
    outside: bool


def initializers(model: Buffer) -> Iterator[StoredTensor]:
    """The tensors that a model's graph stores.

    Raises:
        MalformedError: `model` is not an ONNX model.
    """
    for start, end in messages(model, (0, len(model)), onnx.MODEL_GRAPH):
        for number, wire, a, b in fields(model, start, end):
            if number == onnx.GRAPH_INITIALIZER and wire == LENGTH:
                yield read_tensor(model, a, b)


def read_tensor(data: Buffer, start: int, end: int) -> StoredTensor:
    """The TensorProto in data[start:end]; its values are not read.

    Raises:
        MalformedError: it is not one, or says twice where its values lie.
    """
    name, dtype, location = "", 0, 0
    content = slice(0, 0)
    shape: list[int] = []
    entries: dict[str, str] = {}
    for number, wire, a, b in fields(data, start, end):
        if wire == LENGTH:
            if number == onnx.TENSOR_EXTERNAL:
                key, value = _entry(data, a, b)
                if key in entries:
                    raise MalformedError(f"{name!r} has the external data entry {key!r} twice")
                entries[key] = value
            elif number == onnx.TENSOR_NAME:
                name = read_text(data, a, b)
            elif number == onnx.TENSOR_DIMS:
                shape += read_packed(data, a, b)
            elif number in (onnx.TENSOR_RAW, onnx.TENSOR_FLOATS):
                content = slice(a, b)
        elif wire == VARINT:
            if number == onnx.TENSOR_DIMS:
                shape.append(a)
            elif number == onnx.TENSOR_DTYPE:
                dtype = a
            elif number == onnx.TENSOR_LOCATION:
                location = a
    outside = location == onnx.LOCATION_EXTERNAL
    return StoredTensor(name, dtype, tuple(shape), content, entries, outside)


def _entry(data: Buffer, start: int, end: int) -> tuple[str, str]:
    texts = {
        n: read_text(data, a, b) for n, wire, a, b in fields(data, start, end) if wire == LENGTH
    }
    return texts.get(onnx.ENTRY_KEY, ""), texts.get(onnx.ENTRY_VALUE, "")
