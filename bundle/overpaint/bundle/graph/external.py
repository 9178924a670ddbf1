"""Which bytes of which files an ONNX graph takes its weights from.

A tensor may be (file, offset, length) instead of bytes: `TensorProto.external_data`, in onnx.proto.
Such tensors stand among a graph's initializers, in sub-graphs, in functions and in attributes. All
are found, for each names a file that the engine is going to read.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from . import proto as onnx
from .proto import mapped_model
from .tensors import read_tensor
from .wire import LENGTH, Buffer, MalformedError, fields

# message -> field number -> message: every path on which a TensorProto can lie.
_CHILDREN: Final[dict[str, dict[int, str]]] = {
    "model": {
        onnx.MODEL_GRAPH: "graph",
        onnx.MODEL_TRAINING: "training",
        onnx.MODEL_FUNCTION: "function",
    },
    "training": {onnx.TRAINING_INITIALIZATION: "graph", onnx.TRAINING_ALGORITHM: "graph"},
    "graph": {
        onnx.GRAPH_NODE: "node",
        onnx.GRAPH_INITIALIZER: "tensor",
        onnx.GRAPH_SPARSE: "sparse",
    },
    "function": {onnx.FUNCTION_NODE: "node", onnx.FUNCTION_ATTRIBUTE: "attribute"},
    "node": {onnx.NODE_ATTRIBUTE: "attribute"},
    "attribute": {
        onnx.ATTRIBUTE_TENSOR: "tensor",
        onnx.ATTRIBUTE_TENSORS: "tensor",
        onnx.ATTRIBUTE_GRAPH: "graph",
        onnx.ATTRIBUTE_GRAPHS: "graph",
        onnx.ATTRIBUTE_SPARSE: "sparse",
        onnx.ATTRIBUTE_SPARSES: "sparse",
    },
    "sparse": {onnx.SPARSE_VALUES: "tensor", onnx.SPARSE_INDICES: "tensor"},
}
_LOCATION: Final = "location"


@dataclass(frozen=True, slots=True)
class ExternalTensor:
    """A tensor whose bytes lie in another file; `length` None means up to that file's end."""

    name: str
    location: str
    offset: int
    length: int | None


def external_tensors(model: Buffer) -> Iterator[ExternalTensor]:
    """Yield every tensor of an ONNX model that points into another file.

    Raises:
        MalformedError: `model` is not a protobuf message, or an entry is not what ONNX says.
    """
    # Each such tensor holds its key in plain bytes, so only messages around one are opened.
    keys = list(_occurrences(model, _LOCATION.encode()))
    waiting = [("model", 0, len(model))]
    while waiting:
        kind, start, end = waiting.pop()
        if kind == "tensor":
            if tensor := _external(model, start, end):
                yield tensor
            continue
        children = _CHILDREN[kind]
        for number, wire, a, b in fields(model, start, end):
            child = children.get(number)
            if child and wire == LENGTH and _holds(keys, a, b):
                waiting.append((child, a, b))


def external_tensors_of(path: str | os.PathLike[str]) -> list[ExternalTensor]:
    """`external_tensors` of a file.

    Raises:
        IntegrityError: it is not an ONNX graph, or cannot be read.
    """
    with mapped_model(path) as model:
        return list(external_tensors(model))


def _external(model: Buffer, start: int, end: int) -> ExternalTensor | None:
    """The tensor in model[start:end], if its bytes lie elsewhere."""
    tensor = read_tensor(model, start, end)
    name, entries = tensor.name, tensor.entries
    if _LOCATION not in entries:
        return None
    length = _number(entries, "length", name) if "length" in entries else None
    return ExternalTensor(name, entries[_LOCATION], _number(entries, "offset", name), length)


def _number(entries: dict[str, str], key: str, name: str) -> int:
    text = entries.get(key, "0")
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise MalformedError(f"{name!r} has the external data {key} {text[:40]!r}, not a number")
    return int(text)


def _occurrences(data: Buffer, word: bytes) -> Iterator[int]:
    at = data.find(word)
    while at >= 0:
        yield at
        at = data.find(word, at + len(word))


def _holds(keys: list[int], start: int, end: int) -> bool:
    """Whether one of the sorted positions lies in [start, end)."""
    index = bisect_left(keys, start)
    return index < len(keys) and keys[index] < end
