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
from collections.abc import Iterator
from math import prod
from typing import Final, NamedTuple

from overpaint.bundle.graph import proto as onnx
from overpaint.bundle.graph.nodes import Node, Value, branch, constant, node, nodes, readers
from overpaint.bundle.graph.proto import graph_of, with_graph
from overpaint.bundle.graph.tensors import read_tensor
from overpaint.bundle.graph.wire import Field, read_fields

# Which taps of three fall together, seen from an even row (or column), and from an odd one; as
# matrices of three rows and two columns.
_TOGETHER: Final = ([1.0, 0.0, 0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0, 0.0, 1.0])
_DOUBLE: Final = [1, 1, 2, 2]
_DOUBLE_SCALES: Final = struct.pack("<4f", *_DOUBLE)

SMALLEST_CHECKED: Final = 500_000
"""Values in a kernel. Where the engine has to check in every run whether a picture doubles, smaller
convolutions lose more by that than they win."""

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


def convolve_before_doubling(model: bytes) -> bytes | None:
    """Rewrite each convolution of a doubled picture; None where there is none.

    Raises:
        MalformedError: `model` is not an ONNX model.
    """
    if b"Resize" not in model:
        return None
    graph = list(read_fields(graph_of(model)))
    stored = [
        read_tensor(model, field.start, field.end)
        for field in graph
        if field.number == onnx.GRAPH_INITIALIZER
    ]
    doubling = {one.name for one in stored if model[one.content] == _DOUBLE_SCALES}
    enlargements = {one.node.output: one for one in _enlargements(graph, doubling)}
    values = {one.name: prod(one.shape) for one in stored}
    values |= {cast.output: values.get(cast.input(0), 0) for cast in nodes(graph, "Cast")}
    replaced: dict[int, list[bytes]] = {}
    for convolution in nodes(graph, "Conv"):
        enlarged = enlargements.get(convolution.input(0))
        if enlarged is None or not convolution.has(_CONVOLVES):
            continue
        if enlarged.size and values.get(convolution.input(1), 0) < SMALLEST_CHECKED:
            continue
        alone = readers(graph, enlarged.node.output) == 1
        if alone:
            replaced[enlarged.node.at] = []
        if enlarged.size is None:
            replaced[convolution.at] = _on_the_small_picture(
                convolution, enlarged, convolution.output
            )
        else:
            replaced[convolution.at] = _if_it_doubles(convolution, enlarged, alone)
    if not replaced:
        return None
    constants = [
        *(constant(f"together/{odd}", [3, 2], _TOGETHER[odd]) for odd in (0, 1)),
        constant("together/double", [4], _DOUBLE),
    ]
    kept = (replaced.get(at, [field.raw]) for at, field in enumerate(graph))
    return with_graph(model, [*constants, *(raw for some in kept for raw in some)])


class _Enlargement(NamedTuple):
    """`node` enlarges `picture` by repetition: to twice its size, or to the `size` so called."""

    node: Node
    picture: str
    size: str | None


def _enlargements(graph: list[Field], doubling: set[str]) -> Iterator[_Enlargement]:
    """`doubling` are the initializers that hold the scales 1, 1, 2, 2."""
    for resize in nodes(graph, "Resize"):
        picture, _, scales, size = (*resize.inputs, "", "", "")[:4]
        if resize.has(_REPEATS) and (scales in doubling if scales else size):
            yield _Enlargement(resize, picture, None if scales else size)


def _if_it_doubles(convolution: Node, enlarged: _Enlargement, alone: bool) -> list[bytes]:
    """A UNet enlarges to the size of what it joins, which is one less than double where that side
    was odd: the engine checks when it runs, and else does what the graph did before."""
    name, picture, size = convolution.output, enlarged.picture, enlarged.size or ""
    doubled, otherwise = f"{name}:doubled", f"{name}:otherwise"
    as_it_was = [convolution.making(otherwise)]
    if alone:
        as_it_was.insert(0, enlarged.node.making(enlarged.node.output))
    return [
        node("Shape", [picture], f"{name}:shape"),
        node("Mul", [f"{name}:shape", "together/double"], f"{name}:twice"),
        node("Equal", [f"{name}:twice", size], f"{name}:equal"),
        node("Cast", [f"{name}:equal"], f"{name}:ones", to=onnx.INT32),
        node("ReduceMin", [f"{name}:ones"], f"{name}:all", keepdims=0),
        node("Cast", [f"{name}:all"], f"{name}:doubles", to=onnx.BOOL),
        node(
            "If",
            [f"{name}:doubles"],
            name,
            then_branch=branch(_on_the_small_picture(convolution, enlarged, doubled), doubled),
            else_branch=branch(as_it_was, otherwise),
        ),
    ]


def _on_the_small_picture(convolution: Node, enlarged: _Enlargement, output: str) -> list[bytes]:
    """Four convolutions, one for each cell that a cell becomes, and their results interleaved."""
    kernel, bias = convolution.input(1), convolution.inputs[2:]
    turned = [_transposed(kernel, f"{output}:turned")]
    made, cells = [], []
    for row in (0, 1):
        rows = f"{output}:{row}"
        turned.append(node("MatMul", [f"{output}:turned", f"together/{row}"], f"{rows}:sums"))
        turned.append(_transposed(f"{rows}:sums", rows))
        for column in (0, 1):
            cell, taps = f"{rows}{column}", f"{rows}{column}:kernel"
            cells.append(cell)
            made.append(node("MatMul", [rows, f"together/{column}"], taps))
            pads = [1 - row, 1 - column, row, column]
            made.append(
                node("Conv", [enlarged.picture, taps, *bias], cell, kernel_shape=[2, 2], pads=pads)
            )
    return [
        *turned,
        *made,
        node("Concat", cells, f"{output}:cells", axis=1),
        node("DepthToSpace", [f"{output}:cells"], output, blocksize=2),
    ]


def _transposed(kernel: str, output: str) -> bytes:
    return node("Transpose", [kernel], output, perm=[0, 1, 3, 2])
