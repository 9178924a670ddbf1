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

from ..errors import BundleError
from ..wire import VARINT, MalformedError
from ..wire import fields as wire_fields
from ..wire import varint as read_varint
from .wire_writer import message, string, varint

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

# Field numbers and values of onnx.proto.
_MODEL_GRAPH: Final = 7
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_OP, _NODE_ATTRIBUTE = 1, 2, 3, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_TYPE = 1, 3, 20
_TENSOR_DIMS, _TENSOR_DTYPE, _TENSOR_NAME, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 1, 2, 8, 13, 14
_LOCATION_EXTERNAL: Final = 1
_TYPE_INT: Final = 2


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
    tensors = (_external(field) for field in _fields(_graph(template)))
    return {tensor.name: tensor.slot for tensor in tensors if tensor is not None}


def bind(template: bytes, weights: Mapping[str, Weight]) -> bytes:
    """The template with each of its weights in place. `weights` holds every slot of it."""
    nodes: list[bytes] = []
    tensors: list[bytes] = []
    rest: list[memoryview] = []
    for field in _fields(_graph(template)):
        tensor = _external(field)
        if tensor is None:
            rest.append(field.raw)
        else:
            made, stored = _place(tensor, weights[tensor.name])
            nodes += made
            tensors += stored
    return _with_graph(template, [*nodes, *rest, *tensors])


def unbind(model: bytes) -> tuple[bytes, dict[str, Weight]]:
    """The template behind a bound graph, its weights sorted by name, and where they lie."""
    recipes: dict[str, _Recipe] = {}
    stored: dict[str, _Tensor] = {}
    rest: list[memoryview] = []
    for field in _fields(_graph(model)):
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
    return _with_graph(model, [*rest, *tensors]), weights


class _Field(NamedTuple):
    """A field of a message: its number, a varint's value or the payload, and all of its bytes."""

    number: int
    value: int
    payload: memoryview
    raw: memoryview

    @property
    def text(self) -> str:
        return str(self.payload, "utf-8")


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


def _fields(view: memoryview) -> Iterator[_Field]:
    at = 0
    for number, wire, a, b in wire_fields(view, 0, len(view)):
        number_only = wire == VARINT
        yield _Field(number, a if number_only else 0, view[b if number_only else a : b], view[at:b])
        at = b


def _graph(model: bytes) -> memoryview:
    graphs = [field.payload for field in _fields(memoryview(model)) if field.number == _MODEL_GRAPH]
    if len(graphs) != 1:
        raise MalformedError(f"a model with {len(graphs)} graphs")
    return graphs[0]


def _with_graph(model: bytes, fields: list[bytes | memoryview]) -> bytes:
    return b"".join(
        message(_MODEL_GRAPH, *fields) if field.number == _MODEL_GRAPH else field.raw
        for field in _fields(memoryview(model))
    )


def _external(field: _Field) -> _Tensor | None:
    """The initializer that this field of a graph holds, if its bytes lie outside the graph."""
    if field.number != _GRAPH_INITIALIZER:
        return None
    name, dtype, location = "", 0, 0
    shape: list[int] = []
    external: dict[str, str] = {}
    for part in _fields(field.payload):
        if part.number == _TENSOR_NAME:
            name = part.text
        elif part.number == _TENSOR_DIMS:
            shape += _packed(part.payload) if part.payload else [part.value]
        elif part.number == _TENSOR_DTYPE:
            dtype = part.value
        elif part.number == _TENSOR_LOCATION:
            location = part.value
        elif part.number == _TENSOR_EXTERNAL:
            pair = {key.number: key.text for key in _fields(part.payload)}
            external[pair.get(1, "")] = pair.get(2, "")
    if location != _LOCATION_EXTERNAL:
        return None
    if dtype not in _SAFETENSORS_DTYPES:
        raise BundleError(f"the weight {name!r} has ONNX's data type {dtype}, which is no weight's")
    return _Tensor(name, Slot(_SAFETENSORS_DTYPES[dtype], tuple(shape)), external)


def _packed(view: memoryview) -> list[int]:
    values, at = [], 0
    while at < len(view):
        value, at = read_varint(view, at, len(view))
        values.append(value)
    return values


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
        _GRAPH_INITIALIZER,
        *(varint(_TENSOR_DIMS, side) for side in shape),
        varint(_TENSOR_DTYPE, ONNX_DTYPES[dtype]),
        string(_TENSOR_NAME, name),
        *(
            message(_TENSOR_EXTERNAL, string(1, key), string(2, str(value)))
            for key, value in entries.items()
        ),
        varint(_TENSOR_LOCATION, _LOCATION_EXTERNAL),
    )


def _node(op: str, output: str, inputs: list[str], attribute: str, value: int) -> bytes:
    return message(
        _GRAPH_NODE,
        *(string(_NODE_INPUT, name) for name in inputs),
        string(_NODE_OUTPUT, output),
        string(_NODE_NAME, f"{_HEAD}{output}"),
        string(_NODE_OP, op),
        message(
            _NODE_ATTRIBUTE,
            string(_ATTRIBUTE_NAME, attribute),
            varint(_ATTRIBUTE_INT, value),
            varint(_ATTRIBUTE_TYPE, _TYPE_INT),
        ),
    )


def _recipe(field: _Field) -> _Recipe | None:
    """What a node that `_node` wrote makes; None for any other field of a graph."""
    if field.number != _GRAPH_NODE:
        return None
    parts = list(_fields(field.payload))
    texts = {part.number: part.text for part in parts if _NODE_OUTPUT <= part.number <= _NODE_OP}
    if not texts.get(_NODE_NAME, "").startswith(_HEAD):
        return None
    output, inputs = (
        texts[_NODE_OUTPUT],
        [part.text for part in parts if part.number == _NODE_INPUT],
    )
    if texts[_NODE_OP] != "Cast":
        return _Recipe(output, inputs)
    attribute = next(part.payload for part in parts if part.number == _NODE_ATTRIBUTE)
    to = next(part.value for part in _fields(attribute) if part.number == _ATTRIBUTE_INT)
    return _Recipe(output, inputs, _SAFETENSORS_DTYPES[to])
