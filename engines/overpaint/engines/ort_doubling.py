"""A convolution of a picture doubled by repetition, made on the small picture instead.

A UNet and a VAE's decoder enlarge by repeating every cell in both directions and convolve the
result. In a doubled picture every two rows are one, so of three neighbouring rows two are the same:
their taps can be added up beforehand. Each of the four cells that one cell becomes then sees 2x2
cells of the small picture instead of 3x3 of the large one, which is 4/9 of the arithmetic.

ONNX Runtime does not know this, so its graphs are rewritten when they are opened. The sums are
nodes of the graph, which the engine folds as it loads. docs/decisions/0013 has what it wins.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple, TypeAlias

from . import onnx_fields as onnx
from .onnx_fields import Field, read_fields, read_numbers
from .wire_writer import message, string, varint

# Which taps of three fall together, seen from an even row (or column), and from an odd one; as
# matrices of three rows and two columns.
_TOGETHER: Final = ((1.0, 0.0, 0.0, 1.0, 0.0, 1.0), (1.0, 0.0, 1.0, 0.0, 0.0, 1.0))
_TWICE: Final = (1.0, 1.0, 2.0, 2.0)
Value: TypeAlias = bytes | int | list[int]

_REPEATS: Final[dict[str, Value]] = {
    "mode": b"nearest",
    "coordinate_transformation_mode": b"asymmetric",
    "nearest_mode": b"floor",
}
_CONVOLVES: Final[dict[str, Value]] = {
    "kernel_shape": [3, 3],
    "pads": [1, 1, 1, 1],
    "strides": [1, 1],
    "dilations": [1, 1],
    "group": 1,
}
_FLOAT: Final = 1


class Rewritten(NamedTuple):
    """A model; the sides of its latents must be multiples of `multiple`."""

    model: bytes
    multiple: int


def convolve_before_doubling(model: bytes) -> Rewritten | None:
    """Rewrite each convolution of a doubled picture; None where there is none.

    A UNet enlarges to the size of what it joins: twice its own, or one less where that was odd.
    Twice is taken for granted, and `multiple` says for which sizes it is true.

    Raises:
        MalformedError: `model` is not an ONNX model.
    """
    if b"Resize" not in model:
        return None
    fields = list(read_fields(onnx.graph_of(model)))
    enlargements = _enlargements(fields)
    replaced: dict[int, list[bytes]] = {}
    granted = 0
    for at, node in _nodes(fields, "Conv"):
        enlarged = enlargements.get(node.inputs[0])
        if enlarged is None or not _has(node.attributes, _CONVOLVES):
            continue
        replaced[at] = _on_the_small_picture(node, enlarged.picture)
        granted += not enlarged.twice
        if _readers(fields, node.inputs[0]) == 1:
            replaced[enlarged.at] = []
    if not replaced:
        return None
    kept = (replaced.get(at, [field.raw]) for at, field in enumerate(fields))
    together = (_matrix(f"together/{odd}", _TOGETHER[odd]) for odd in (0, 1))
    whole = [*together, *(raw for some in kept for raw in some)]
    return Rewritten(onnx.with_graph(model, whole), 1 << granted)


class _Node(NamedTuple):
    inputs: list[str]
    output: str
    attributes: dict[str, Value]


class _Enlargement(NamedTuple):
    """The node at `at` enlarges `picture`, to twice its size or to one that is computed."""

    at: int
    picture: str
    twice: bool


def _nodes(fields: list[Field], op: str) -> Iterator[tuple[int, _Node]]:
    """A graph's nodes of one kind, each with its place among the graph's fields."""
    for at, field in enumerate(fields):
        if field.number != onnx.GRAPH_NODE or op.encode() not in bytes(field.payload):
            continue  # most nodes need no closer look
        parts = list(read_fields(field.payload))
        if any(part.number == onnx.NODE_OP and part.text == op for part in parts):
            inputs = [part.text for part in parts if part.number == onnx.NODE_INPUT]
            output = next(part.text for part in parts if part.number == onnx.NODE_OUTPUT)
            found = (_attribute(part) for part in parts if part.number == onnx.NODE_ATTRIBUTE)
            yield at, _Node(inputs, output, dict(found))


def _readers(fields: list[Field], name: str) -> int:
    """How many nodes and outputs of a graph read a tensor."""
    fields = [field for field in fields if name.encode() in bytes(field.payload)]
    read = {onnx.GRAPH_NODE: onnx.NODE_INPUT, onnx.GRAPH_OUTPUT: onnx.VALUE_NAME}
    return sum(
        part.number == read[field.number] and part.text == name
        for field in fields
        if field.number in read
        for part in read_fields(field.payload)
    )


def _attribute(field: Field) -> tuple[str, Value]:
    name, value = "", b""
    numbers: list[int] = []
    single: int | None = None
    for part in read_fields(field.payload):
        if part.number == onnx.ATTRIBUTE_NAME:
            name = part.text
        elif part.number == onnx.ATTRIBUTE_STRING:
            value = bytes(part.payload)
        elif part.number == onnx.ATTRIBUTE_INTS:
            numbers += read_numbers(part)
        elif part.number == onnx.ATTRIBUTE_INT:
            single = part.value
    return name, numbers or (value if single is None else single)


def _has(attributes: Mapping[str, Value], wanted: Mapping[str, Value]) -> bool:
    return all(attributes.get(name) == value for name, value in wanted.items())


def _enlargements(fields: list[Field]) -> dict[str, _Enlargement]:
    """Enlargements by repetition, by the name of what they make."""
    doubling = {name for field in fields for name in _doubling_scales(field)}
    found = {}
    for at, node in _nodes(fields, "Resize"):
        if not _has(node.attributes, _REPEATS):
            continue
        scales = node.inputs[2] if len(node.inputs) > 2 else ""
        if scales in doubling or (not scales and len(node.inputs) == 4):
            found[node.output] = _Enlargement(at, node.inputs[0], bool(scales))
    return found


def _doubling_scales(field: Field) -> Iterable[str]:
    """The name of an initializer that says: twice as high, twice as wide."""
    if field.number != onnx.GRAPH_INITIALIZER:
        return
    parts = {part.number: part for part in read_fields(field.payload)}
    values = parts.get(onnx.TENSOR_RAW) or parts.get(onnx.TENSOR_FLOATS)
    if values is not None and values.payload == struct.pack("<4f", *_TWICE):
        yield parts[onnx.TENSOR_NAME].text


def _on_the_small_picture(convolution: _Node, picture: str) -> list[bytes]:
    """Four convolutions, one for each cell that a cell becomes, and their results interleaved."""
    name = convolution.output
    kernel, bias = convolution.inputs[1], convolution.inputs[2:]
    turned = [_transposed(kernel, f"{name}:turned")]
    cells, made = [], []
    for row in (0, 1):
        rows = f"{name}:{row}"
        turned.append(_written("MatMul", [f"{name}:turned", f"together/{row}"], f"{rows}:sums"))
        turned.append(_transposed(f"{rows}:sums", rows))
        for column in (0, 1):
            cell = f"{rows}{column}"
            made.append(_written("MatMul", [rows, f"together/{column}"], f"{cell}:kernel"))
            pads = [1 - row, 1 - column, row, column]
            made.append(
                _written(
                    "Conv", [picture, f"{cell}:kernel", *bias], cell, kernel_shape=[2, 2], pads=pads
                )
            )
            cells.append(cell)
    joined = f"{name}:cells"
    return [
        *turned,
        *made,
        _written("Concat", cells, joined, axis=1),
        _written("DepthToSpace", [joined], name, blocksize=2),
    ]


def _transposed(kernel: str, output: str) -> bytes:
    return _written("Transpose", [kernel], output, perm=[0, 1, 3, 2])


def _written(op: str, inputs: list[str], output: str, **attributes: int | list[int]) -> bytes:
    return message(
        onnx.GRAPH_NODE,
        *(string(onnx.NODE_INPUT, name) for name in inputs),
        string(onnx.NODE_OUTPUT, output),
        string(onnx.NODE_NAME, output),
        string(onnx.NODE_OP, op),
        *(_written_attribute(name, value) for name, value in attributes.items()),
    )


def _written_attribute(name: str, value: int | list[int]) -> bytes:
    if isinstance(value, int):
        held = [varint(onnx.ATTRIBUTE_INT, value), varint(onnx.ATTRIBUTE_TYPE, onnx.TYPE_INT)]
    else:
        held = [varint(onnx.ATTRIBUTE_INTS, one) for one in value]
        held.append(varint(onnx.ATTRIBUTE_TYPE, onnx.TYPE_INTS))
    return message(onnx.NODE_ATTRIBUTE, string(onnx.ATTRIBUTE_NAME, name), *held)


def _matrix(name: str, values: tuple[float, ...]) -> bytes:
    return message(
        onnx.GRAPH_INITIALIZER,
        varint(onnx.TENSOR_DIMS, 3),
        varint(onnx.TENSOR_DIMS, 2),
        varint(onnx.TENSOR_DTYPE, _FLOAT),
        string(onnx.TENSOR_NAME, name),
        message(onnx.TENSOR_RAW, struct.pack("<6f", *values)),
    )
