"""The group norms of a picture's encoder, taken exactly: a picture may be flat.

ONNX Runtime's instance normalization adds up a whole group in one go, in float32. Of a picture with
some noise that loses two digits; of a flat one (a poster's sky, the grey that an inpainting
checkpoint is shown under its mask) all that is left after the mean is taken away is what the mean
was wrong by, and it is made one deviation large. So the norm is written out: each group less its
first value, which leaves nothing of a flat one; then row by row, and the rows together, as exact
sums are made. Latents under noise are never flat: their graphs stay as they are.
docs/decisions/0012 has the figures.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final, cast

from overpaint.bundle.graph import proto as onnx
from overpaint.bundle.graph.nodes import Node, constant, node, nodes
from overpaint.bundle.graph.proto import graph_of, opset, with_graph
from overpaint.bundle.graph.tensors import read_tensor
from overpaint.bundle.graph.wire import read_fields

LEAST_OPSET: Final = 18
"""Before it, means are told their axes otherwise. What overpaint exports is later."""


_ONE: Final = struct.pack("<f", 1)
_ZERO: Final = struct.pack("<f", 0)


def normalize_exactly(model: bytes) -> bytes | None:
    """Rewrite each group norm; None where there is none.

    Raises:
        MalformedError: `model` is not an ONNX model.
    """
    if b"InstanceNormalization" not in model or opset(model) < LEAST_OPSET:
        return None
    graph = list(read_fields(graph_of(model)))
    reshapes = {reshape.output: reshape for reshape in nodes(graph, "Reshape")}
    stored = [
        read_tensor(model, field.start, field.end)
        for field in graph
        if field.number == onnx.GRAPH_INITIALIZER
    ]
    values = {one.name: model[one.content] for one in stored}
    replaced = {
        norm.at: _written_out(norm, reshapes[norm.input(0)])
        for norm in nodes(graph, "InstanceNormalization")
        if norm.input(0) in reshapes and _plain(norm, values)
    }
    if not replaced:
        return None
    constants = [
        constant("exactly/begin", [1], [0]),
        constant("exactly/end", [1], [1]),
        constant("exactly/values", [1], [2]),
        constant("exactly/row", [1], [-1]),
    ]
    kept = (replaced.get(at, [field.raw]) for at, field in enumerate(graph))
    return with_graph(model, [*constants, *(raw for some in kept for raw in some)])


def _plain(norm: Node, values: Mapping[str, bytes]) -> bool:
    """Whether it scales by ones and adds zeros: the weight and bias of each channel come after."""
    scale, bias = (values.get(name, b"") for name in norm.inputs[1:3])
    ones, zeros = _ONE * (len(scale) // len(_ONE)), _ZERO * (len(bias) // len(_ZERO))
    return bool(scale and bias) and (scale, bias) == (ones, zeros)


def _written_out(norm: Node, reshape: Node) -> list[bytes]:
    """The nodes that make what `norm` made of the picture that `reshape` lays out in groups."""
    name, groups = norm.output, norm.input(0)
    picture, laid_out = reshape.inputs
    first, shifted, centred = f"{name}:first", f"{name}:shifted", f"{name}:centred"
    squares, variance, spread = f"{name}:squares", f"{name}:variance", f"{name}:spread"
    epsilon = cast(float, norm.attributes.get("epsilon", 1e-5))

    def mean(of: str, output: str) -> list[bytes]:
        """(N,groups,1) of (N,groups,values): of each row of the picture, then of all rows."""
        return [
            node("Reshape", [of, f"{name}:shape"], f"{output}:picture"),
            node("ReduceMean", [f"{output}:picture", "exactly/row"], f"{output}:rows", keepdims=0),
            node("Reshape", [f"{output}:rows", laid_out], f"{output}:groups"),
            node("ReduceMean", [f"{output}:groups", "exactly/values"], output),
        ]

    return [
        node("Shape", [picture], f"{name}:shape"),
        node("Slice", [groups, "exactly/begin", "exactly/end", "exactly/values"], first),
        node("Sub", [groups, first], shifted),
        *mean(shifted, f"{name}:mean"),
        node("Sub", [shifted, f"{name}:mean"], centred),
        node("Mul", [centred, centred], squares),
        *mean(squares, variance),
        constant(f"{name}:epsilon", [1], [epsilon]),
        node("Add", [variance, f"{name}:epsilon"], f"{variance}:more"),
        node("Sqrt", [f"{variance}:more"], spread),
        node("Div", [centred, spread], name),
    ]
