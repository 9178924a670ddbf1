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

from . import proto as onnx
from .nodes import graph_input, node, read_node
from .proto import graph_of, with_graph
from .tensors import StoredTensor, read_tensor
from .wire import Field, message, read_fields, string, varint

ONNX_DTYPES: Final = {
    "F32": onnx.FLOAT,
    "F16": onnx.FLOAT16,
    "F64": onnx.DOUBLE,
    "BF16": onnx.BFLOAT16,
    "F8_E4M3": onnx.FLOAT8_E4M3,
    "F8_E5M2": onnx.FLOAT8_E5M2,
    "I64": onnx.INT64,
    "I32": onnx.INT32,
    "BOOL": onnx.BOOL,
}
_SAFETENSORS_DTYPES: Final = {number: name for name, number in ONNX_DTYPES.items()}
_HEAD: Final = "weights/"  # how the names of the nodes begin that make a weight from its bytes


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
    tensors = (_outside(field) for field in read_fields(graph_of(template)))
    return {tensor.name: _slot(tensor) for tensor in tensors if tensor is not None}


def slot(name: str, wanted: Slot) -> bytes:
    """A weight that a template asks for, as a field of its graph."""
    return _tensor(name, wanted.dtype, wanted.shape)


def bind(template: bytes, weights: Mapping[str, Weight]) -> bytes:
    """The template with each of its weights in place. `weights` holds every slot of it."""
    nodes: list[bytes] = []
    tensors: list[bytes] = []
    rest: list[bytes] = []
    for field in read_fields(graph_of(template)):
        tensor = _outside(field)
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
    stored: dict[str, StoredTensor] = {}
    rest: list[bytes] = []
    for field in read_fields(graph_of(model)):
        recipe, tensor = _recipe(field), _outside(field)
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
        dtype, shape = _slot(pieces[0])
        if len(pieces) > 1:
            shape = (sum(piece.shape[0] for piece in pieces), *shape[1:])
        weights[name] = Weight(dtype, tuple(_piece(piece) for piece in pieces))
        tensors.append(_tensor(name, recipe.dtype or dtype, shape))
    return with_graph(model, [*rest, *tensors]), weights


def with_inputs(template: bytes) -> bytes:
    """The template as a graph that is whole without a file: each weight is one of its inputs, in
    the dtype that it is computed with."""
    rest: list[bytes] = []
    inputs: list[bytes] = []
    for field in read_fields(graph_of(template)):
        tensor = _outside(field)
        if tensor is None:
            rest.append(field.raw)
        else:
            inputs.append(graph_input(tensor.name, tensor.dtype, tensor.shape))
    return with_graph(template, [*rest, *inputs])


class _Recipe(NamedTuple):
    """A node at the head of the graph: what it makes, from what, and (a Cast) in which dtype."""

    output: str
    inputs: list[str]
    dtype: str | None = None


def _outside(field: Field) -> StoredTensor | None:
    """The initializer that this field of a graph holds, if its bytes lie outside the graph (or, in
    a template, nowhere yet)."""
    if field.number != onnx.GRAPH_INITIALIZER:
        return None
    tensor = read_tensor(field.data, field.start, field.end)
    return tensor if tensor.outside else None


def _slot(tensor: StoredTensor) -> Slot:
    if tensor.dtype not in _SAFETENSORS_DTYPES:
        raise BundleError(
            f"the weight {tensor.name!r} has ONNX's data type {tensor.dtype}, which is no weight's"
        )
    return Slot(_SAFETENSORS_DTYPES[tensor.dtype], tensor.shape)


def _piece(tensor: StoredTensor) -> Piece:
    entries = tensor.entries
    return Piece(entries["location"], int(entries.get("offset", 0)), int(entries["length"]))


def _place(tensor: StoredTensor, weight: Weight) -> tuple[list[bytes], list[bytes]]:
    """The nodes and the initializers that make one weight."""
    name, (compute, shape) = tensor.name, _slot(tensor)
    nodes, tensors = [], []
    stored = name if weight.dtype == compute else f"{name}:stored"
    if len(weight.pieces) == 1:
        tensors.append(_tensor(stored, weight.dtype, shape, weight.pieces[0]))
    else:
        row = sum(piece.length for piece in weight.pieces) // shape[0]
        parts = [f"{name}:{index}" for index in range(len(weight.pieces))]
        nodes.append(node("Concat", parts, stored, name=f"{_HEAD}{stored}", axis=0))
        for part, piece in zip(parts, weight.pieces, strict=True):
            tensors.append(_tensor(part, weight.dtype, (piece.length // row, *shape[1:]), piece))
    if stored != name:
        to = ONNX_DTYPES[compute]
        nodes.append(node("Cast", [stored], name, name=f"{_HEAD}{name}", to=to))
    return nodes, tensors


def _tensor(name: str, dtype: str, shape: tuple[int, ...], piece: Piece | None = None) -> bytes:
    entries = {} if piece is None else piece._asdict()
    return message(
        onnx.GRAPH_INITIALIZER,
        *(varint(onnx.TENSOR_DIMS, side) for side in shape),
        varint(onnx.TENSOR_DTYPE, ONNX_DTYPES[dtype]),
        string(onnx.TENSOR_NAME, name),
        *(
            message(
                onnx.TENSOR_EXTERNAL,
                string(onnx.ENTRY_KEY, key),
                string(onnx.ENTRY_VALUE, str(value)),
            )
            for key, value in entries.items()
        ),
        varint(onnx.TENSOR_LOCATION, onnx.LOCATION_EXTERNAL),
    )


def _recipe(field: Field) -> _Recipe | None:
    """What a node that `_place` wrote makes; None for any other field of a graph."""
    if field.number != onnx.GRAPH_NODE or _HEAD.encode() not in field.payload:
        return None
    found = read_node(field)
    if not found.name.startswith(_HEAD):
        return None
    to = found.attributes["to"] if found.op == "Cast" else None
    return _Recipe(
        found.output,
        found.inputs,
        _SAFETENSORS_DTYPES[to] if isinstance(to, int) else None,
    )
