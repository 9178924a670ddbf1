"""An ONNX model as fields of fields, and put together again: on `wire`, without the onnx package.

The numbers are those of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .wire import VARINT, MalformedError, message, read_varint
from .wire import fields as wire_fields

MODEL_GRAPH, MODEL_OPSET = 7, 8
OPSET_DOMAIN, OPSET_VERSION = 1, 2
GRAPH_NODE, GRAPH_NAME, GRAPH_INITIALIZER, GRAPH_OUTPUT = 1, 2, 5, 12
VALUE_NAME, VALUE_TYPE = 1, 2
TYPE_TENSOR, TENSOR_TYPE_ELEMENT = 1, 1
NODE_INPUT, NODE_OUTPUT, NODE_NAME, NODE_OP, NODE_ATTRIBUTE, NODE_DOMAIN = 1, 2, 3, 4, 5, 7
ATTRIBUTE_NAME, ATTRIBUTE_FLOAT, ATTRIBUTE_INT, ATTRIBUTE_STRING = 1, 2, 3, 4
ATTRIBUTE_GRAPH, ATTRIBUTE_INTS, ATTRIBUTE_TYPE = 6, 8, 20
TENSOR_DIMS, TENSOR_DTYPE, TENSOR_FLOATS, TENSOR_NAME, TENSOR_RAW = 1, 2, 4, 8, 9
TENSOR_EXTERNAL, TENSOR_LOCATION = 13, 14
TYPE_FLOAT, TYPE_INT, TYPE_GRAPH, TYPE_INTS = 1, 2, 5, 7
FLOAT, INT32, INT64, BOOL = 1, 6, 7, 9


class Field(NamedTuple):
    """A field of a message: its number, a varint's value or the payload, and all of its bytes."""

    number: int
    value: int
    payload: memoryview
    raw: memoryview

    @property
    def text(self) -> str:
        return str(self.payload, "utf-8")


def read_fields(message: memoryview) -> Iterator[Field]:
    """Yield a message's fields.

    Raises MalformedError.
    """
    at = 0
    for number, wire, a, b in wire_fields(message, 0, len(message)):
        number_only = wire == VARINT
        payload = message[b if number_only else a : b]
        yield Field(number, a if number_only else 0, payload, message[at:b])
        at = b


def read_numbers(field: Field) -> list[int]:
    """The value, or the packed values, of a repeated field of numbers."""
    if not field.payload:
        return [field.value]
    values, at = [], 0
    while at < len(field.payload):
        value, at = read_varint(field.payload, at, len(field.payload))
        values.append(value)
    return values


def graph_of(model: bytes) -> memoryview:
    """A model's graph.

    Raises MalformedError.
    """
    fields = read_fields(memoryview(model))
    graphs = [field.payload for field in fields if field.number == MODEL_GRAPH]
    if len(graphs) != 1:
        raise MalformedError(f"a model with {len(graphs)} graphs")
    return graphs[0]


def with_graph(model: bytes, fields: Iterable[bytes | memoryview]) -> bytes:
    """The model with another graph, given as its fields."""
    return b"".join(
        message(MODEL_GRAPH, *fields) if field.number == MODEL_GRAPH else field.raw
        for field in read_fields(memoryview(model))
    )
