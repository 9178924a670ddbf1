"""A graph whose products with weights are made of eight-bit numbers, by explicit quantisation.

Before each Conv, Gemm and MatMul that multiplies by a weight, both factors pass a QuantizeLinear
and a DequantizeLinear, whose scales are in the graph: of an activation one, of a weight one for
each output channel; zero is always 0. ONNX Runtime and both TensorRTs make kernels of that pattern
(docs.nvidia.com/deeplearning/tensorrt, Working with Quantized Types; onnx.ai, QuantizeLinear).
Weights stay where they lie, in the checkpoint's own bytes: whoever loads the graph rounds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from overpaint.bundle.graph import proto as onnx
from overpaint.bundle.graph.nodes import Node, node, read_node
from overpaint.bundle.graph.proto import graph_of, with_graph
from overpaint.bundle.graph.weights import Slot, Weight, bind, slots, unbind
from overpaint.bundle.graph.wire import Field, message, read_fields, string, varint

Values: TypeAlias = npt.NDArray[np.floating]

NARROW: Final = 16
"""A weight with fewer channels in or out is left as it is: the first and the last convolution, to
which a picture is sensitive, and which take no time."""

_PRODUCTS: Final = ("Conv", "Gemm", "MatMul")
_STORED: Final[Mapping[str, type[np.floating]]] = {"F16": np.float16, "F32": np.float32}


@dataclass(frozen=True, slots=True)
class Format:
    """Eight bits: `onnx_type` is onnx.proto's number, `largest` what they reach to."""

    onnx_type: int
    largest: float


FORMATS: Final[Mapping[str, Format]] = {
    "int8": Format(3, 127.0),
    "fp8": Format(onnx.FLOAT8_E4M3, 448.0),
}


@dataclass(frozen=True, slots=True)
class Product:
    """Node number `at` of a graph multiplies `activation` by `factor`, whose output channels lie
    along `axis`. The factor is the weight `stored`, or that transposed."""

    at: int
    activation: str
    factor: str
    stored: str
    axis: int


def products(template: bytes) -> list[Product]:
    """What is quantised of a template (`graph.weights`), in the graph's order."""
    weights = slots(template)
    found = dict(_nodes(template))
    turned = {one.output: one.inputs[0] for one in found.values() if one.op == "Transpose"}
    listed = []
    for at, one in found.items():
        if one.op not in _PRODUCTS:
            continue
        activation, factor = one.inputs[:2]
        stored = turned.get(factor, factor)
        rows_first = one.op == "Conv" or bool(one.attributes.get("transB"))
        known = stored in weights and (rows_first or factor in turned)
        if known and min(weights[stored].shape[:2]) >= NARROW:
            listed.append(Product(at, activation, factor, stored, int(factor in turned)))
    return listed


def watched(model: bytes) -> bytes:
    """The graph with one more output for each activation that would be quantised, NAME:most: the
    largest absolute value in it, a float32 scalar."""
    template, _ = unbind(model)
    added = []
    for name in {one.activation: None for one in products(template)}:
        added += [
            node("Abs", [name], f"{name}:abs"),
            node("ReduceMax", [f"{name}:abs"], f"{name}:own", keepdims=0),
            node("Cast", [f"{name}:own"], most(name), to=onnx.FLOAT),
            _output(most(name)),
        ]
    return with_graph(model, [*(field.raw for field in read_fields(graph_of(model))), *added])


def most(activation: str) -> str:
    """The output of `watched` that belongs to an activation."""
    return f"{activation}:most"


def quantised(
    model: bytes,
    format_: Format,
    reach: Mapping[str, float],
    read: Callable[[Weight, Slot], Values],
) -> bytes:
    """The graph with its products in eight bits.

    Args:
        reach: of each activation that `products` names, the largest absolute value to keep.
        read: a weight's values, of its shape.
    """
    template, weights = unbind(model)
    asked = slots(template)
    before: dict[int, list[bytes]] = {}
    renamed: dict[int, dict[str, str]] = {}
    initializers: list[bytes] = []
    rounded: set[str] = set()
    for one in products(template):
        slot = asked[one.stored]
        rows = np.abs(read(weights[one.stored], slot)).reshape(slot.shape[0], -1).max(axis=1)
        both: dict[str, tuple[Values, int]] = {
            one.activation: (np.asarray(reach[one.activation]), 1),
            one.factor: (rows, one.axis),
        }
        renamed[one.at] = {name: f"{name}:rounded" for name in both}
        for name, (far, axis) in both.items():
            if name not in rounded:
                rounded.add(name)
                scale = np.where(far > 0, far, 1.0) / format_.largest
                initializers += _scale_and_zero(name, scale, slot.dtype, format_)
                before.setdefault(one.at, []).extend(_there_and_back(name, axis))
    fields: list[bytes] = []
    for at, field in enumerate(read_fields(graph_of(template))):
        fields += before.get(at, [])
        fields.append(_reading(field, renamed[at]) if at in renamed else field.raw)
    return bind(with_graph(template, [*fields, *initializers]), weights)


def reader_of(folder: Path) -> Callable[[Weight, Slot], Values]:
    """Read weights from the files that a graph in `folder` points into."""

    def read(weight: Weight, slot: Slot) -> Values:
        dtype = _STORED[weight.dtype]
        size = np.dtype(dtype).itemsize
        rows = [
            np.fromfile(folder / one.location, dtype, one.length // size, "", one.offset)
            for one in weight.pieces
        ]
        assert sum(map(len, rows)) == prod(slot.shape)
        return np.concatenate(rows).astype(np.float32).reshape(slot.shape)

    return read


def _nodes(model: bytes) -> Iterator[tuple[int, Node]]:
    for at, field in enumerate(read_fields(graph_of(model))):
        if field.number == onnx.GRAPH_NODE:
            yield at, read_node(field, at)


def _reading(field: Field, names: Mapping[str, str]) -> bytes:
    """The same node, some of its inputs named otherwise."""
    parts = (
        string(onnx.NODE_INPUT, names.get(part.text, part.text))
        if part.number == onnx.NODE_INPUT
        else part.raw
        for part in read_fields(field)
    )
    return message(onnx.GRAPH_NODE, *parts)


def _there_and_back(name: str, axis: int) -> list[bytes]:
    """The two nodes between NAME and NAME:rounded; where there is one scale, no axis counts."""
    parameters = [f"{name}:scale", f"{name}:zero"]
    return [
        node("QuantizeLinear", [name, *parameters], f"{name}:eight", axis=axis),
        node("DequantizeLinear", [f"{name}:eight", *parameters], f"{name}:rounded", axis=axis),
    ]


def _scale_and_zero(name: str, scale: Values, dtype: str, format_: Format) -> Iterator[bytes]:
    """Initializers NAME:scale, of the graph's own dtype, and NAME:zero, of the format."""
    stored = np.asarray(scale).astype(_STORED[dtype])
    stored = np.maximum(stored, np.finfo(stored.dtype).tiny)  # a scale of 0 would divide by it
    number = onnx.FLOAT16 if dtype == "F16" else onnx.FLOAT
    yield _initializer(f"{name}:scale", number, stored.shape, stored.tobytes())
    yield _initializer(f"{name}:zero", format_.onnx_type, stored.shape, bytes(stored.size))


def _initializer(name: str, dtype: int, shape: tuple[int, ...], data: bytes) -> bytes:
    return message(
        onnx.GRAPH_INITIALIZER,
        *(varint(onnx.TENSOR_DIMS, side) for side in shape),
        varint(onnx.TENSOR_DTYPE, dtype),
        string(onnx.TENSOR_NAME, name),
        message(onnx.TENSOR_RAW, data),
    )


def _output(name: str) -> bytes:
    """The declaration of a float32 scalar as an output."""
    scalar = (varint(onnx.TENSOR_TYPE_ELEMENT, onnx.FLOAT), message(onnx.TENSOR_TYPE_SHAPE))
    typed = message(onnx.VALUE_TYPE, message(onnx.TYPE_TENSOR, *scalar))
    return message(onnx.GRAPH_OUTPUT, string(onnx.VALUE_NAME, name), typed)
