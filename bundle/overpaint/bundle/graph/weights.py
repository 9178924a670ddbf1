"""Where a graph's weights lie: read from an ONNX file, and written into one.

A *template* is a graph whose weights are named and shaped but lie nowhere. Binding it says, for
each, which bytes of which file they are; that is all that differs between two checkpoints of one
architecture. Where the stored dtype is not the one that the graph computes in, or a tensor's rows
lie in several places, a Concat and a Cast at the head of the graph make the weight from what is
stored; an engine folds them when it loads. `unbind(bind(template, weights))` gives both back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from overpaint.bundle.errors import BundleError

from .proto import (
    ATTRIBUTE_INT,
    ATTRIBUTE_NAME,
    ATTRIBUTE_TYPE,
    GRAPH_INITIALIZER,
    GRAPH_NODE,
    NODE_ATTRIBUTE,
    NODE_INPUT,
    NODE_NAME,
    NODE_OP,
    NODE_OUTPUT,
    TENSOR_DIMS,
    TENSOR_DTYPE,
    TENSOR_EXTERNAL,
    TENSOR_LOCATION,
    TENSOR_NAME,
    TYPE_INT,
    Field,
    graph_of,
    read_fields,
    read_numbers,
    with_graph,
)
from .wire import message, string, varint

ONNX_DTYPES: Final = {
    "F32": 1,
    "F16": 10,
    "F64": 11,
    "BF16": 16,
    "F8_E4M3": 17,
    "F8_E5M2": 19,
    "I64": 7,
    "I32": 6,
    "BOOL": 9,
}
_SAFETENSORS_DTYPES: Final = {number: name for name, number in ONNX_DTYPES.items()}
_HEAD: Final = "weights/"  # how the names of the nodes begin that make a weight from its bytes

_LOCATION_EXTERNAL: Final = 1


class Piece(NamedTuple):
    """`length` bytes from `offset` of the file `location`, relative to the graph's folder."""

    location: str
    offset: int
    length: int


class Weight(NamedTuple):
    """What a weight is made from: its rows, in order, as they are stored (`F32`, `BF16`, …)."""

    dtype: str
    pieces: tuple[Piece, ...]


class Slot(NamedTuple):
    """A weight as the graph computes with it."""

    dtype: str
    shape: tuple[int, ...]


def slots(template: bytes) -> dict[str, Slot]:
    """The weights that a template asks for, by name."""
    tensors = (_external(field) for field in read_fields(graph_of(template)))
    return {tensor.name: tensor.slot for tensor in tensors if tensor is not None}


def bind(template: bytes, weights: Mapping[str, Weight]) -> bytes:
    """The template with each of its weights in place. `weights` holds every slot of it."""
    nodes: list[bytes] = []
    tensors: list[bytes] = []
    rest: list[memoryview] = []
    for field in read_fields(graph_of(template)):
        tensor = _external(field)
        if tensor is None:
            rest.append(field.raw)
        else:
            made, stored = _place(tensor, weights[tensor.name])
            nodes += made
            tensors += stored
    return with_graph(template, [*nodes, *rest, *tensors])


def unbind(model: bytes) -> tuple[bytes, dict[str, Weight]]:
    """The template behind a bound graph, its weights sorted by name, and where they lie."""
    recipes: dict[str, _Recipe] = {}
    stored: dict[str, _Tensor] = {}
    rest: list[memoryview] = []
    for field in read_fields(graph_of(model)):
        recipe, tensor = _recipe(field), _external(field)
        if recipe is not None:
            earlier = recipes.pop(recipe.inputs[0], recipe)
            recipes[recipe.output] = recipe._replace(inputs=earlier.inputs)
        elif tensor is not None:
            stored[tensor.name] = tensor
        else:
            rest.append(field.raw)
    parts = {part for recipe in recipes.values() for part in recipe.inputs}
    recipes |= {name: _Recipe(name, [name]) for name in stored if name not in parts}
    weights: dict[str, Weight] = {}
    tensors: list[bytes] = []
    for name, recipe in sorted(recipes.items()):
        pieces = [stored[part] for part in recipe.inputs]
        dtype, shape = pieces[0].slot
        if len(pieces) > 1:
            shape = (sum(piece.slot.shape[0] for piece in pieces), *shape[1:])
        weights[name] = Weight(dtype, tuple(_piece(piece) for piece in pieces))
        tensors.append(_tensor(name, recipe.dtype or dtype, shape))
    return with_graph(model, [*rest, *tensors]), weights


class _Tensor(NamedTuple):
    """An initializer whose bytes lie outside the graph (or, in a template, nowhere yet)."""

    name: str
    slot: Slot
    external: Mapping[str, str]


class _Recipe(NamedTuple):
    """A node at the head of the graph: what it makes, from what, and (a Cast) in which dtype."""

    output: str
    inputs: list[str]
    dtype: str | None = None


def _external(field: Field) -> _Tensor | None:
    """The initializer that this field of a graph holds, if its bytes lie outside the graph."""
    if field.number != GRAPH_INITIALIZER:
        return None
    name, dtype, location = "", 0, 0
    shape: list[int] = []
    external: dict[str, str] = {}
    for part in read_fields(field.payload):
        if part.number == TENSOR_NAME:
            name = part.text
        elif part.number == TENSOR_DIMS:
            shape += read_numbers(part)
        elif part.number == TENSOR_DTYPE:
            dtype = part.value
        elif part.number == TENSOR_LOCATION:
            location = part.value
        elif part.number == TENSOR_EXTERNAL:
            pair = {key.number: key.text for key in read_fields(part.payload)}
            external[pair.get(1, "")] = pair.get(2, "")
    if location != _LOCATION_EXTERNAL:
        return None
    if dtype not in _SAFETENSORS_DTYPES:
        raise BundleError(f"the weight {name!r} has ONNX's data type {dtype}, which is no weight's")
    return _Tensor(name, Slot(_SAFETENSORS_DTYPES[dtype], tuple(shape)), external)


def _piece(tensor: _Tensor) -> Piece:
    entry = tensor.external
    return Piece(entry["location"], int(entry.get("offset", 0)), int(entry["length"]))


def _place(tensor: _Tensor, weight: Weight) -> tuple[list[bytes], list[bytes]]:
    """The nodes and the initializers that make one weight."""
    name, (compute, shape) = tensor.name, tensor.slot
    nodes, tensors = [], []
    stored = name if weight.dtype == compute else f"{name}:stored"
    if len(weight.pieces) == 1:
        tensors.append(_tensor(stored, weight.dtype, shape, weight.pieces[0]))
    else:
        row = sum(piece.length for piece in weight.pieces) // shape[0]
        parts = [f"{name}:{index}" for index in range(len(weight.pieces))]
        nodes.append(_node("Concat", stored, parts, "axis", 0))
        for part, piece in zip(parts, weight.pieces, strict=True):
            tensors.append(_tensor(part, weight.dtype, (piece.length // row, *shape[1:]), piece))
    if stored != name:
        nodes.append(_node("Cast", name, [stored], "to", ONNX_DTYPES[compute]))
    return nodes, tensors


def _tensor(name: str, dtype: str, shape: tuple[int, ...], piece: Piece | None = None) -> bytes:
    entries = {} if piece is None else piece._asdict()
    return message(
        GRAPH_INITIALIZER,
        *(varint(TENSOR_DIMS, side) for side in shape),
        varint(TENSOR_DTYPE, ONNX_DTYPES[dtype]),
        string(TENSOR_NAME, name),
        *(
            message(TENSOR_EXTERNAL, string(1, key), string(2, str(value)))
            for key, value in entries.items()
        ),
        varint(TENSOR_LOCATION, _LOCATION_EXTERNAL),
    )


def _node(op: str, output: str, inputs: list[str], attribute: str, value: int) -> bytes:
    return message(
        GRAPH_NODE,
        *(string(NODE_INPUT, name) for name in inputs),
        string(NODE_OUTPUT, output),
        string(NODE_NAME, f"{_HEAD}{output}"),
        string(NODE_OP, op),
        message(
            NODE_ATTRIBUTE,
            string(ATTRIBUTE_NAME, attribute),
            varint(ATTRIBUTE_INT, value),
            varint(ATTRIBUTE_TYPE, TYPE_INT),
        ),
    )


def _recipe(field: Field) -> _Recipe | None:
    """What a node that `_node` wrote makes; None for any other field of a graph."""
    if field.number != GRAPH_NODE:
        return None
    parts = list(read_fields(field.payload))
    texts = {part.number: part.text for part in parts if NODE_OUTPUT <= part.number <= NODE_OP}
    if not texts.get(NODE_NAME, "").startswith(_HEAD):
        return None
    output, inputs = (
        texts[NODE_OUTPUT],
        [part.text for part in parts if part.number == NODE_INPUT],
    )
    if texts[NODE_OP] != "Cast":
        return _Recipe(output, inputs)
    attribute = next(part.payload for part in parts if part.number == NODE_ATTRIBUTE)
    to = next(part.value for part in read_fields(attribute) if part.number == ATTRIBUTE_INT)
    return _Recipe(output, inputs, _SAFETENSORS_DTYPES[to])
