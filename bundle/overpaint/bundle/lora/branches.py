"""LoRAs beside the layers of a graph instead of in their weights, turned by an input.

    y + B(s (A x))        s = lora_scale[adapter] · alpha / rank, from call to call

A layer's factors are joined over its adapters, A by rows and B by columns, so that three cost two
products as one does; s is a vector with a value for each of the rows. LoRA: Hu et al.,
arXiv:2106.09685; for a convolution A has its kernel and stride, and B is 1x1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from overpaint.bundle.errors import BundleError
from overpaint.bundle.graph import proto as onnx
from overpaint.bundle.graph.nodes import Node, constant, graph_input, node, read_node
from overpaint.bundle.graph.proto import graph_of, with_graph
from overpaint.bundle.graph.weights import ONNX_DTYPES, Slot, slot, slots
from overpaint.bundle.graph.wire import read_fields

SCALE: Final = "lora_scale"
"""The input: (N,) float32, each adapter's weight."""

_NAMES: Final = "lora/"  # how everything begins that is added to a graph


class Branch(NamedTuple):
    """One adapter of one weight: its number, its rank, and what its factors are multiplied by."""

    adapter: int
    rank: int
    scale: float


def factor_names(weight: str, at: int) -> tuple[str, str]:
    """What `with_branches` calls A and B of a weight's branch number `at`."""
    return f"{_NAMES}{weight}/{at}/down", f"{_NAMES}{weight}/{at}/up"


def with_branches(
    template: bytes, branches: Mapping[str, Sequence[Branch]], adapters: int
) -> bytes:
    """`template` with branches beside the layers of these weights, and the input `SCALE`.

    A and B of each branch are weights that the template then asks for, by `factor_names`: (rank,
    in) and (out, rank), for a convolution (rank, in, …kernel) and (out, rank, 1, 1).

    Raises:
        BundleError: a weight is none of a linear layer or of a plain convolution.
    """
    graph = _Graph(template)
    wanted = slots(template)
    head: list[bytes] = []
    vectors: dict[tuple[object, ...], str] = {}
    for weight, some in branches.items():
        found = list(graph.layers(weight))
        if not found:
            raise BundleError(f"{weight} is used as no layer is that a LoRA's branch can stand by")
        dtype, shape = wanted[weight]
        sides = [1] * (len(shape) - 2)
        head += _factors(weight, some, wanted[weight])
        ranks = tuple(some)
        key = (ranks, dtype, len(sides))
        if key not in vectors:
            vectors[key] = f"{_NAMES}{len(vectors)}"
            head += _vector(vectors[key], ranks, dtype, sides)
        for layer in found:
            graph.extend(layer, _branch(layer, weight, vectors[key]))
    return graph.made(head, [graph_input(SCALE, onnx.FLOAT, [adapters])])


class _Layer(NamedTuple):
    """`node` multiplies by a weight; `result`, itself or the Add of a bias, gives what it makes."""

    node: Node
    result: Node


class _Graph:
    """A template's nodes by what they read, and what is to stand in their place."""

    def __init__(self, template: bytes) -> None:
        self._template = template
        self._fields = list(read_fields(graph_of(template)))
        self._replaced: dict[int, list[bytes]] = {}
        self._readers: dict[str, list[Node]] = {}
        for at, field in enumerate(self._fields):
            if field.number == onnx.GRAPH_NODE:
                found = read_node(field, at)
                for name in found.inputs:
                    self._readers.setdefault(name, []).append(found)
        self._stored = {*slots(template)}

    def layers(self, weight: str) -> Iterator[_Layer]:
        """The layers of a weight, as torch.onnx writes them: Gemm and Conv take it as it lies, a
        MatMul transposed, with the bias added behind."""
        for reader in self._readers.get(weight, ()):
            if reader.op == "Transpose" and reader.has({"perm": [1, 0]}):
                for product in self._readers.get(reader.output, ()):
                    if product.op == "MatMul" and product.input(1) == reader.output:
                        yield _Layer(product, self._with_bias(product))
            elif reader.input(1) == weight and (
                (reader.op == "Gemm" and reader.has({"transA": 0, "transB": 1, "alpha": 1.0}))
                or (reader.op == "Conv" and reader.has({"group": 1}))
            ):
                yield _Layer(reader, reader)

    def _with_bias(self, product: Node) -> Node:
        match self._readers.get(product.output, []):
            case [Node(op="Add") as add] if self._stored.intersection(add.inputs):
                return add
        return product

    def extend(self, layer: _Layer, nodes: list[bytes]) -> None:
        """Have `nodes` follow a layer, whose own result is called `_alone` of it from now on."""
        result = layer.result
        self._replaced[result.at] = [result.making(_alone(result.output)), *nodes]

    def made(self, head: list[bytes], tail: list[bytes]) -> bytes:
        """The graph, with `head` before all that it has, and `tail` behind."""
        fields = (self._replaced.get(at, [field.raw]) for at, field in enumerate(self._fields))
        return with_graph(self._template, [*head, *(raw for some in fields for raw in some), *tail])


def _alone(output: str) -> str:
    return f"{_NAMES}{output}/alone"


def _joined(weight: str) -> tuple[str, str]:
    return f"{_NAMES}{weight}/down", f"{_NAMES}{weight}/up"


def _factors(weight: str, branches: Sequence[Branch], layer: Slot) -> list[bytes]:
    """A and B of one layer, transposed where it is linear, as matrices are multiplied from the
    right; an engine does this once, when it loads."""
    out, into, *kernel = layer.shape
    downs, ups, made = [], [], []
    for at, branch in enumerate(branches):
        down, up = factor_names(weight, at)
        made.append(slot(down, Slot(layer.dtype, (branch.rank, into, *kernel))))
        made.append(slot(up, Slot(layer.dtype, (out, branch.rank, *([1] * len(kernel))))))
        downs.append(down)
        ups.append(up)
    for names, joined, axis in zip((downs, ups), _joined(weight), (0, 1), strict=True):
        if len(names) > 1:
            made.append(node("Concat", names, f"{joined}/all", axis=axis))
        source = f"{joined}/all" if len(names) > 1 else names[0]
        if kernel:
            made.append(node("Identity", [source], joined))
        else:
            made.append(node("Transpose", [source], joined, perm=[1, 0]))
    return made


def _vector(name: str, branches: Sequence[Branch], dtype: str, sides: list[int]) -> list[bytes]:
    """What the joined rows of A x are multiplied by."""
    rows = [branch for branch in branches for _ in range(branch.rank)]
    shape = [len(rows), *sides]
    made = [
        constant(f"{name}/adapters", shape, [row.adapter for row in rows]),
        constant(f"{name}/scales", shape, [float(row.scale) for row in rows]),
        node("Gather", [SCALE, f"{name}/adapters"], f"{name}/weights"),
    ]
    factors = [f"{name}/weights", f"{name}/scales"]
    if dtype == "F32":
        return [*made, node("Mul", factors, name)]
    return [
        *made,
        node("Mul", factors, f"{name}/float32"),
        node("Cast", [f"{name}/float32"], name, to=ONNX_DTYPES[dtype]),
    ]


def _branch(layer: _Layer, weight: str, scale: str) -> list[bytes]:
    output, x = layer.result.output, layer.node.input(0)
    down, up = _joined(weight)
    name = f"{_NAMES}{output}"
    if layer.node.op == "Conv":
        lowered = layer.node.like([x, down], f"{name}/down")
        raised = node("Conv", [f"{name}/turned", up], f"{name}/up", kernel_shape=[1, 1])
    else:
        lowered = node("MatMul", [x, down], f"{name}/down")
        raised = node("MatMul", [f"{name}/turned", up], f"{name}/up")
    return [
        lowered,
        node("Mul", [f"{name}/down", scale], f"{name}/turned"),
        raised,
        node("Add", [_alone(output), f"{name}/up"], output),
    ]
