"""ONNX graphs that are whole as files and wrong as graphs: nodes, attributes and tensors changed.

Flipped bytes seldom get past a parser. These mutations leave a graph that parses, so that whoever
checks, plans and runs it meets what is wrong.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

HUGE = (-1, 0, 1, 2, -2, 7, 1000, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 63) - 1, -(1 << 63))
FLOATS = (0.0, -1.0, 1e38, -1e38, float("nan"), float("inf"), 1e-40)
OPERATORS = (
    "Add", "MatMul", "Conv", "Reshape", "Transpose", "Gather", "Slice", "Concat", "Resize", "Cast",
    "Softmax", "Unsqueeze", "Squeeze", "Expand", "Pad", "Split", "Tile", "Range", "TopK", "If",
    "Loop", "Scan", "ConstantOfShape", "GridSample", "LayerNormalization", "GroupNormalization",
    "Attention", "RotaryEmbedding", "Gemm", "Identity", "NoSuchOperator", "",
)  # fmt: skip
Mutation = Callable[[random.Random, GraphProto], None]


def mutated_graph(rng: random.Random, data: bytes) -> bytes:
    """The graph in the file `data` after one to four mutations."""
    model = ModelProto.FromString(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if rng.random() < 0.04:
            _opset(rng, model)
        else:
            rng.choice(MUTATIONS)(rng, model.graph)
    return bytes(model.SerializeToString())


def _opset(rng: random.Random, model: ModelProto) -> None:
    rng.choice(model.opset_import).version = rng.choice((*HUGE, 1, 9, 13, 25))


def _attribute(rng: random.Random, graph: GraphProto) -> None:
    """Another value, or none."""
    node = _node(rng, graph, lambda one: bool(one.attribute))
    found = rng.choice(node.attribute)
    match rng.randrange(5):
        case 0:
            node.attribute.remove(found)
        case 1:
            found.name = rng.choice(("axis", "perm", "to", "pads", "kernel_shape", "nonsense"))
        case 2:
            found.CopyFrom(onnx.helper.make_attribute(found.name, rng.choice(FLOATS)))
        case _:
            _number(rng, found)


def _number(rng: random.Random, found: AttributeProto) -> None:
    if found.type == AttributeProto.INTS and found.ints:
        found.ints[rng.randrange(len(found.ints))] = rng.choice(HUGE)
        if rng.random() < 0.3:
            found.ints.append(rng.choice(HUGE))
    elif found.type == AttributeProto.INT:
        found.i = rng.choice(HUGE)
    elif found.type == AttributeProto.FLOAT:
        found.f = rng.choice(FLOATS)
    elif found.type == AttributeProto.STRING:
        found.s = rng.choice((b"", b"NOTSET", b"linear", b"\xff\xfe", b"a" * 5000))
    elif found.type == AttributeProto.TENSOR:
        _change_tensor(rng, found.t)


def _new_attribute(rng: random.Random, graph: GraphProto) -> None:
    names = ("axis", "axes", "group", "strides", "dilations", "pads", "epsilon", "num_groups", "to")
    value = rng.choice((rng.choice(HUGE), [rng.choice(HUGE)] * rng.choice((1, 2, 4)), 0.5))
    made = onnx.helper.make_attribute(rng.choice(names), value)
    _node(rng, graph).attribute.append(made)


def _operator(rng: random.Random, graph: GraphProto) -> None:
    node = _node(rng, graph)
    node.op_type = rng.choice(OPERATORS)
    if rng.random() < 0.1:
        node.domain = rng.choice(("com.microsoft", "ai.onnx.ml", "nowhere"))


def _input(rng: random.Random, graph: GraphProto) -> None:
    """From elsewhere, from later, from nowhere, once more, or missing."""
    node = _node(rng, graph, lambda one: bool(one.input))
    at = rng.randrange(len(node.input))
    names = [name for one in graph.node for name in one.output]
    match rng.randrange(4):
        case 0:
            del node.input[at]
        case 1:
            node.input.append(rng.choice(names))
        case 2:
            node.input[at] = rng.choice(("", "nowhere", *node.output))
        case _:
            node.input[at] = rng.choice(names)


def _output(rng: random.Random, graph: GraphProto) -> None:
    node = _node(rng, graph)
    if rng.random() < 0.5:
        node.output.append(rng.choice(("", "more", *node.output)))
    else:
        node.output[0] = rng.choice([one.name for one in graph.output])


def _order(rng: random.Random, graph: GraphProto) -> None:
    """A node goes, comes twice, or stands elsewhere."""
    at = rng.randrange(len(graph.node))
    node = NodeProto.FromString(graph.node[at].SerializeToString())
    if rng.random() < 0.7:
        del graph.node[at]
    if rng.random() < 0.7:
        graph.node.insert(rng.randrange(len(graph.node) + 1), node)


def _tensor(rng: random.Random, graph: GraphProto) -> None:
    _change_tensor(rng, rng.choice(graph.initializer))


def _change_tensor(rng: random.Random, tensor: TensorProto) -> None:
    """Its shape, its type, its bytes, or where they lie."""
    match rng.randrange(4):
        case 0:
            dims = list(tensor.dims) or [1]
            dims[rng.randrange(len(dims))] = rng.choice(HUGE)
            tensor.ClearField("dims")
            tensor.dims.extend(dims + [rng.choice(HUGE)] * (rng.random() < 0.2))
        case 1:
            tensor.data_type = rng.choice((0, 1, 6, 7, 8, 9, 10, 11, 14, 16, 17, 22, 99))
        case 2:
            numbers = [rng.choice(HUGE) for _ in range(max(1, len(tensor.raw_data) // 8))]
            packed = b"".join((one % (1 << 64)).to_bytes(8, "little") for one in numbers)
            tensor.raw_data = packed[: rng.choice((len(packed), max(0, len(packed) - 3)))]
        case _:
            for entry in tensor.external_data:
                if entry.key != "location" or rng.random() < 0.2:
                    entry.value = str(rng.choice(HUGE))


def _shape(rng: random.Random, graph: GraphProto) -> None:
    """What an input, an output or a value in between is said to be."""
    said: Sequence[onnx.ValueInfoProto] = [*graph.input, *graph.output, *graph.value_info]
    kind = rng.choice(said).type.tensor_type
    if kind.shape.dim and rng.random() < 0.7:
        dim = rng.choice(kind.shape.dim)
        dim.dim_value = rng.choice(HUGE)
    else:
        kind.elem_type = rng.choice((0, 1, 6, 7, 8, 9, 10, 99))


def _node(
    rng: random.Random, graph: GraphProto, fits: Callable[[NodeProto], bool] = lambda one: True
) -> NodeProto:
    return rng.choice([one for one in graph.node if fits(one)])


MUTATIONS: tuple[Mutation, ...] = (
    _attribute, _attribute, _attribute, _new_attribute, _operator, _input, _input, _output, _order,
    _tensor, _tensor, _shape,
)  # fmt: skip
