"""Where a graph's weights lie: read from an ONNX file, and written into one.

A *template* is a graph whose weights are named and shaped but lie nowhere. Binding it says, for
each, which bytes of which file they are; that is all that differs between two checkpoints of one
architecture. Where the stored dtype is not the one that the graph computes in, or a tensor's rows
lie in several places, a Concat and a Cast at the head of the graph make the weight from what is
stored; an engine folds them when it loads. `unbind(bind(template, weights))` gives both back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from .protobuf_wire import Field, WireError, fields, packed, payload, string, varint

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
_EXTERNAL: Final = 1
_HEAD: Final = "weights/"  # how the names of the nodes begin that make a weight from its bytes

# Field numbers of onnx.proto.
_MODEL_GRAPH: Final = 7
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_OP, _NODE_ATTRIBUTE = 1, 2, 3, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_TYPE = 1, 3, 20
_TENSOR_DIMS, _TENSOR_DTYPE, _TENSOR_NAME, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 1, 2, 8, 13, 14


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


def slots(template: bytes) -> dict[str, Slot]:
    """The weights that a template asks for, by name."""
    return {tensor.name: tensor.slot for tensor in _externals(_graph(template))}


def bind(template: bytes, weights: Mapping[str, Weight]) -> bytes:
    """The template with each of its weights in place. `weights` holds every slot of it."""
    nodes, tensors, rest = [], [], []
    for field in fields(_graph(template)):
        tensor = _external(field)
        if tensor is None:
            rest.append(field.raw)
            continue
        made, stored = _place(tensor, weights[tensor.name])
        nodes.extend(made)
        tensors.extend(stored)
    return _with_graph(template, b"".join([*nodes, *rest, *tensors]))


def unbind(model: bytes) -> tuple[bytes, dict[str, Weight]]:
    """The template behind a bound graph, its weights sorted by name, and where they lie."""
    graph = _graph(model)
    recipes: dict[str, _Recipe] = {}
    rest = []
    for field in fields(graph):
        recipe = _recipe(field)
        if recipe is not None:
            earlier = recipes.pop(recipe.inputs[0], recipe)
            recipes[recipe.output] = recipe._replace(inputs=earlier.inputs)
        elif _external(field) is None:
            rest.append(field.raw)
    stored = {tensor.name: tensor for tensor in _externals(graph)}
    parts = {part for recipe in recipes.values() for part in recipe.inputs}
    recipes |= {name: _Recipe(name, [name]) for name in stored if name not in parts}
    weights, tensors = {}, []
    for name, recipe in sorted(recipes.items()):
        pieces = [stored[part] for part in recipe.inputs]
        dtype, shape = pieces[0].slot
        if len(pieces) > 1:
            shape = (sum(piece.slot.shape[0] for piece in pieces), *shape[1:])
        weights[name] = Weight(dtype, tuple(_piece(piece) for piece in pieces))
        tensors.append(_tensor(name, recipe.dtype or dtype, shape))
    return _with_graph(model, b"".join([*rest, *tensors])), weights


def _graph(model: bytes) -> memoryview:
    return next(field.payload for field in fields(model) if field.number == _MODEL_GRAPH)


def _with_graph(model: bytes, graph: bytes) -> bytes:
    return b"".join(
        payload(_MODEL_GRAPH, graph) if field.number == _MODEL_GRAPH else bytes(field.raw)
        for field in fields(model)
    )


def _externals(graph: memoryview) -> Iterator[_Tensor]:
    return (tensor for field in fields(graph) if (tensor := _external(field)) is not None)


def _external(field: Field) -> _Tensor | None:
    """The initializer that this field of a graph holds, if its bytes lie outside the graph."""
    if field.number != _GRAPH_INITIALIZER:
        return None
    name, dtype, location = "", 0, 0
    shape: list[int] = []
    external: dict[str, str] = {}
    for part in fields(field.payload):
        if part.number == _TENSOR_NAME:
            name = part.text
        elif part.number == _TENSOR_DIMS:
            shape += packed(part)
        elif part.number == _TENSOR_DTYPE:
            dtype = part.integer
        elif part.number == _TENSOR_LOCATION:
            location = part.integer
        elif part.number == _TENSOR_EXTERNAL:
            entry = {key.number: key.text for key in fields(part.payload)}
            external[entry.get(1, "")] = entry.get(2, "")
    if location != _EXTERNAL:
        return None
    if dtype not in _SAFETENSORS_DTYPES:
        raise WireError(
            f"the weight {name!r} has ONNX's data type {dtype}, which is not a weight's"
        )
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
    entries = (
        []
        if piece is None
        else [("location", piece.location), ("offset", piece.offset), ("length", piece.length)]
    )
    return payload(
        _GRAPH_INITIALIZER,
        *(varint(_TENSOR_DIMS, side) for side in shape),
        varint(_TENSOR_DTYPE, ONNX_DTYPES[dtype]),
        string(_TENSOR_NAME, name),
        *(payload(_TENSOR_EXTERNAL, string(1, key), string(2, str(of))) for key, of in entries),
        varint(_TENSOR_LOCATION, _EXTERNAL),
    )


def _node(op: str, output: str, inputs: list[str], attribute: str, value: int) -> bytes:
    return payload(
        _GRAPH_NODE,
        *(string(_NODE_INPUT, name) for name in inputs),
        string(_NODE_OUTPUT, output),
        string(_NODE_NAME, f"{_HEAD}{output}"),
        string(_NODE_OP, op),
        payload(
            _NODE_ATTRIBUTE,
            string(_ATTRIBUTE_NAME, attribute),
            varint(_ATTRIBUTE_INT, value),
            varint(_ATTRIBUTE_TYPE, 2),  # INT
        ),
    )


def _recipe(field: Field) -> _Recipe | None:
    """What a node that `_node` wrote makes; None for any other field of a graph."""
    if field.number != _GRAPH_NODE:
        return None
    parts = list(fields(field.payload))
    names = [part.text for part in parts if part.number == _NODE_NAME]
    if not names or not names[0].startswith(_HEAD):
        return None
    inputs = [part.text for part in parts if part.number == _NODE_INPUT]
    output, op = (
        next(part.text for part in parts if part.number == number)
        for number in (_NODE_OUTPUT, _NODE_OP)
    )
    if op != "Cast":
        return _Recipe(output, inputs)
    attribute = next(part.payload for part in parts if part.number == _NODE_ATTRIBUTE)
    to = next(part.integer for part in fields(attribute) if part.number == _ATTRIBUTE_INT)
    return _Recipe(output, inputs, _SAFETENSORS_DTYPES[to])
