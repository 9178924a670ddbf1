"""Graphs as Triton takes them: it has no tensor without sizes, and a denoiser's timestep is one."""

from __future__ import annotations

from overpaint.bundle.graph import proto as onnx
from overpaint.bundle.graph.nodes import node
from overpaint.bundle.graph.proto import graph_of, with_graph
from overpaint.bundle.graph.signature import written_input
from overpaint.bundle.graph.wire import read_fields
from overpaint.bundle.tensor import Tensor


def taken(tensor: Tensor) -> Tensor:
    """What Triton is told of a tensor: a number `t` is `t_1`, of one element."""
    if tensor.shape:
        return tensor
    return Tensor(name=f"{tensor.name}_1", dtype=tensor.dtype, shape=(1,))


def taking_numbers(model: bytes, inputs: tuple[Tensor, ...]) -> bytes:
    """An ONNX model whose inputs are those that are `taken`; the rest of it is as it was."""
    numbers = {tensor.name: tensor for tensor in inputs if not tensor.shape}
    fields = [node("Squeeze", [taken(one).name], name) for name, one in numbers.items()]
    for field in read_fields(graph_of(model)):
        name = ""
        if field.number == onnx.GRAPH_INPUT:
            name = next(p.text for p in read_fields(field) if p.number == onnx.VALUE_NAME)
        fields.append(written_input(taken(numbers[name])) if name in numbers else field.raw)
    return with_graph(model, fields)
