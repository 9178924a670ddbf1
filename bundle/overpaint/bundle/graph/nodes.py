"""The nodes of an ONNX graph: found, read and written, without the onnx package."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from . import proto as onnx
from .wire import Field, MalformedError, float32, message, read_fields, string, varint

Value: TypeAlias = bytes | int | float | list[int]
Written: TypeAlias = Value | str
"""What an attribute may be written as; text is read back as its bytes."""


class Node(NamedTuple):
    """`at`: its place among the graph's fields. `output`: its first. Attributes that are no
    numbers, lists of integers or text read as empty text. `fields` are all that it is."""

    at: int
    op: str
    name: str
    inputs: list[str]
    output: str
    attributes: dict[str, Value]
    fields: list[Field]

    def input(self, at: int) -> str:
        """The name of one input; empty where it is left out."""
        return self.inputs[at] if at < len(self.inputs) else ""

    def has(self, wanted: Mapping[str, Value]) -> bool:
        """Whether these attributes stand there with these values."""
        return all(self.attributes.get(name) == value for name, value in wanted.items())

    def reading(self, inputs: list[str]) -> bytes:
        """The same node, its inputs other tensors."""
        kept = (field.raw for field in self.fields if field.number != onnx.NODE_INPUT)
        return message(onnx.GRAPH_NODE, *(string(onnx.NODE_INPUT, one) for one in inputs), *kept)

    def making(self, output: str) -> bytes:
        """The same node, its output named otherwise."""
        kept = (
            string(onnx.NODE_OUTPUT, output) if field.number == onnx.NODE_OUTPUT else field.raw
            for field in self.fields
        )
        return message(onnx.GRAPH_NODE, *kept)

    def like(self, inputs: list[str], output: str) -> bytes:
        """Another node of this kind and with these attributes."""
        kept = (field.raw for field in self.fields if field.number == onnx.NODE_ATTRIBUTE)
        return message(onnx.GRAPH_NODE, *_wired(self.op, inputs, output), *kept)


def nodes(graph: list[Field], op: str) -> Iterator[Node]:
    """A graph's nodes of one kind, of its fields."""
    for at, field in enumerate(graph):
        if field.number != onnx.GRAPH_NODE or op.encode() not in field.payload:
            continue  # most nodes need no closer look
        found = read_node(field, at)
        if found.op == op:
            yield found


def read_node(field: Field, at: int = 0) -> Node:
    """The node that a field of a graph holds, the graph's field number `at`.

    Raises:
        MalformedError: it is not one, or has no output.
    """
    parts = list(read_fields(field))
    texts: dict[int, list[str]] = {
        number: [part.text for part in parts if part.number == number]
        for number in (onnx.NODE_INPUT, onnx.NODE_OUTPUT, onnx.NODE_NAME, onnx.NODE_OP)
    }
    if not texts[onnx.NODE_OUTPUT]:
        raise MalformedError(f"a node without an output at byte {field.start}")
    return Node(
        at=at,
        op="".join(texts[onnx.NODE_OP]),
        name="".join(texts[onnx.NODE_NAME]),
        inputs=texts[onnx.NODE_INPUT],
        output=texts[onnx.NODE_OUTPUT][0],
        attributes=dict(_attribute(part) for part in parts if part.number == onnx.NODE_ATTRIBUTE),
        fields=parts,
    )


def readers(graph: list[Field], name: str) -> int:
    """How many nodes and outputs of a graph read a tensor."""
    near = [field for field in graph if name.encode() in field.payload]
    read = {onnx.GRAPH_NODE: onnx.NODE_INPUT, onnx.GRAPH_OUTPUT: onnx.VALUE_NAME}
    return sum(
        part.number == read[field.number] and part.text == name
        for field in near
        if field.number in read
        for part in read_fields(field)
    )


def node(
    op: str,
    inputs: list[str],
    output: str,
    *,
    name: str = "",
    domain: str = "",
    **attributes: Written,
) -> bytes:
    """A node as a field of a graph; an attribute of bytes is a graph, as its fields. Its name is
    its output's, unless one is given."""
    return message(
        onnx.GRAPH_NODE,
        *_wired(op, inputs, output, name),
        *([string(onnx.NODE_DOMAIN, domain)] if domain else []),
        *(_written(one, value) for one, value in attributes.items()),
    )


def _wired(op: str, inputs: list[str], output: str, name: str = "") -> list[bytes]:
    return [
        *(string(onnx.NODE_INPUT, one) for one in inputs),
        string(onnx.NODE_OUTPUT, output),
        string(onnx.NODE_NAME, name or output),
        string(onnx.NODE_OP, op),
    ]


def graph_input(name: str, dtype: int, sides: Sequence[int]) -> bytes:
    """An input of a graph, as a field of it; `dtype` is onnx.proto's number."""
    shape = [message(onnx.SHAPE_DIMENSION, varint(onnx.DIMENSION_VALUE, side)) for side in sides]
    described = message(
        onnx.TYPE_TENSOR,
        varint(onnx.TENSOR_TYPE_ELEMENT, dtype),
        message(onnx.TENSOR_TYPE_SHAPE, *shape),
    )
    return message(
        onnx.GRAPH_INPUT,
        string(onnx.VALUE_NAME, name),
        message(onnx.VALUE_TYPE, described),
    )


def branch(nodes: list[bytes], output: str) -> bytes:
    """A graph for a node's attribute: it reads what is around it, and gives a tensor of floats."""
    floats = message(onnx.TYPE_TENSOR, varint(onnx.TENSOR_TYPE_ELEMENT, onnx.FLOAT))
    named = (string(onnx.VALUE_NAME, output), message(onnx.VALUE_TYPE, floats))
    return b"".join([*nodes, string(onnx.GRAPH_NAME, output), message(onnx.GRAPH_OUTPUT, *named)])


def constant(name: str, sides: list[int], values: list[float] | list[int]) -> bytes:
    """An initializer of float32 or int64, by its values, as a field of a graph."""
    whole = all(isinstance(value, int) for value in values)
    return message(
        onnx.GRAPH_INITIALIZER,
        *(varint(onnx.TENSOR_DIMS, side) for side in sides),
        varint(onnx.TENSOR_DTYPE, onnx.INT64 if whole else onnx.FLOAT),
        string(onnx.TENSOR_NAME, name),
        message(onnx.TENSOR_RAW, struct.pack(f"<{len(values)}{'q' if whole else 'f'}", *values)),
    )


def _attribute(field: Field) -> tuple[str, Value]:
    name, value = "", b""
    numbers: list[int] = []
    single: int | float | None = None
    for part in read_fields(field):
        if part.number == onnx.ATTRIBUTE_NAME:
            name = part.text
        elif part.number == onnx.ATTRIBUTE_STRING:
            value = part.payload
        elif part.number == onnx.ATTRIBUTE_INTS:
            numbers += part.numbers
        elif part.number == onnx.ATTRIBUTE_INT:
            single = part.value
        elif part.number == onnx.ATTRIBUTE_FLOAT:
            [single] = struct.unpack("<f", part.payload)
    return name, numbers or (value if single is None else single)


def _written(name: str, value: Written) -> bytes:
    if isinstance(value, str):
        held = [string(onnx.ATTRIBUTE_STRING, value), varint(onnx.ATTRIBUTE_TYPE, onnx.TYPE_STRING)]
    elif isinstance(value, int):
        held = [varint(onnx.ATTRIBUTE_INT, value), varint(onnx.ATTRIBUTE_TYPE, onnx.TYPE_INT)]
    elif isinstance(value, float):
        held = [float32(onnx.ATTRIBUTE_FLOAT, value), varint(onnx.ATTRIBUTE_TYPE, onnx.TYPE_FLOAT)]
    elif isinstance(value, bytes):
        held = [
            message(onnx.ATTRIBUTE_GRAPH, value),
            varint(onnx.ATTRIBUTE_TYPE, onnx.TYPE_GRAPH),
        ]
    else:
        held = [varint(onnx.ATTRIBUTE_INTS, one) for one in value]
        held.append(varint(onnx.ATTRIBUTE_TYPE, onnx.TYPE_INTS))
    return message(onnx.NODE_ATTRIBUTE, string(onnx.ATTRIBUTE_NAME, name), *held)
