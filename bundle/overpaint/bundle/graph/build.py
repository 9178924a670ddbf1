"""A graph written by hand: its weights are named and lie nowhere yet, as in any template.

    graph = Builder("float32")
    hidden = graph.linear("embedding", "proj.weight", (768, 1024), "proj.bias")
    template = graph.model("projection", inputs, outputs)

Small networks whose sizes differ from file to file are written so: whatever sizes a file has, its
graph needs no tracing, and no library of traced ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from overpaint.bundle.tensor import DType, Tensor

from . import proto as onnx
from .nodes import Written, constant, node, read_node
from .weights import Slot, slot
from .wire import message, read_fields, string, varint

OPSET: Final = 23
_IR_VERSION: Final = 10
_STORED: Final = {"float32": "F32", "float16": "F16"}
_ELEMENTS: Final = {
    **{name: number for number, name in onnx.FLOATS.items()},
    "int64": onnx.INT64,
    "int32": onnx.INT32,
    "bool": onnx.BOOL,
}


class Builder:
    """Nodes, one after the other; each method adds some and gives the name of what they make.

    `prefix` begins the names of all that is made, so that they are none of another graph's.
    """

    def __init__(self, compute: DType, prefix: str = "") -> None:
        """`compute`: what its weights are computed with, float32 or float16."""
        self.compute = compute
        self.prefix = prefix
        self.nodes: list[bytes] = []
        self.tensors: dict[str, bytes] = {}

    def op(self, op: str, *inputs: str, output: str = "", **attributes: Written) -> str:
        """A node; the name of its output."""
        made = output or f"{self.prefix}{op.lower()}_{len(self.nodes)}"
        self.nodes.append(node(op, list(inputs), made, name="", domain="", **attributes))
        return made

    def weight(self, name: str, *shape: int) -> str:
        """A weight that the graph asks for."""
        self.tensors[name] = slot(name, Slot(_STORED[self.compute], shape))
        return name

    def whole(self, *values: int) -> str:
        """A list of whole numbers, as Reshape and its like take them."""
        name = f"{self.prefix}[{','.join(map(str, values))}]"
        self.tensors[name] = constant(name, [len(values)], list(values))
        return name

    def number(self, value: float) -> str:
        """A number that is computed with."""
        name = f"{self.prefix}{value!r}"
        self.tensors[name] = constant(name, [], [value])
        return self.computed(name)

    def numbers(self, sides: tuple[int, ...], values: tuple[float, ...]) -> str:
        """Numbers of float32, in the shape `sides`."""
        name = f"{self.prefix}{values!r}"
        self.tensors[name] = constant(name, list(sides), list(values))
        return name

    def computed(self, name: str) -> str:
        """A tensor of float32 as the weights are computed with."""
        return name if self.compute == "float32" else self.op("Cast", name, to=onnx.FLOAT16)

    def given(self, name: str, output: str) -> str:
        """What was made last as one of the graph's outputs: float32 whatever is computed in."""
        if self.compute != "float32":
            return self.op("Cast", name, output=output, to=onnx.FLOAT)
        [last] = read_fields(self.nodes.pop())
        self.nodes.append(read_node(last).making(output))  # OpenVINO takes an Identity's other name
        return output

    def linear(self, x: str, weight: str, shape: tuple[int, int], bias: str = "") -> str:
        """x times a matrix of `shape` (out, in), as torch's Linear keeps them."""
        turned = self.op("Transpose", self.weight(weight, *shape), perm=[1, 0])
        product = self.op("MatMul", x, turned)
        return self.op("Add", product, self.weight(bias, shape[0])) if bias else product

    def layer_norm(self, x: str, name: str, width: int, epsilon: float = 1e-5) -> str:
        """Over the last axis, with the weights `name`.weight and `name`.bias."""
        scale, bias = (self.weight(f"{name}.{part}", width) for part in ("weight", "bias"))
        return self.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=epsilon)

    def attention(self, query: str, key: str, value: str, heads: int) -> str:
        """Of (batch, length, heads x width) each."""
        return self.op("Attention", query, key, value, q_num_heads=heads, kv_num_heads=heads)

    def model(self, name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> bytes:
        """The whole, as a template."""
        graph = message(
            onnx.MODEL_GRAPH,
            *self.nodes,
            string(onnx.GRAPH_NAME, name),
            *self.tensors.values(),
            *(declared(onnx.GRAPH_INPUT, tensor) for tensor in inputs),
            *(declared(onnx.GRAPH_OUTPUT, tensor) for tensor in outputs),
        )
        opset = message(onnx.MODEL_OPSET, varint(onnx.OPSET_VERSION, OPSET))
        return b"".join([varint(onnx.MODEL_IR_VERSION, _IR_VERSION), graph, opset])


def declared(number: int, tensor: Tensor) -> bytes:
    """A graph's input or output (`number` says which), its open sizes by their names."""
    sides = [
        message(
            onnx.SHAPE_DIMENSION,
            string(onnx.DIMENSION_NAME, side)
            if isinstance(side, str)
            else varint(onnx.DIMENSION_VALUE, side),
        )
        for side in tensor.shape
    ]
    described = message(
        onnx.TYPE_TENSOR,
        varint(onnx.TENSOR_TYPE_ELEMENT, _ELEMENTS[tensor.dtype]),
        message(onnx.TENSOR_TYPE_SHAPE, *sides),
    )
    return message(
        number, string(onnx.VALUE_NAME, tensor.name), message(onnx.VALUE_TYPE, described)
    )
