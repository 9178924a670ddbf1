"""What one call of an engine costs at least, counted from its graph: operations and weight bytes.

Counted are convolutions, matrix products and attention, two operations a multiply-add, as torch's
FlopCounterMode counts them; the rest is less than a hundredth of the arithmetic of these networks.
Bytes are the weights that a node reads, at the width it computes in. Activations are left out: they
may stay in a cache, and a floor must not assume that they do not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overpaint.engines.onnxruntime.cpu.doubling import convolve_before_doubling

from .graph_shapes import Shapes, import_onnx, infer_shapes


@dataclass(frozen=True, slots=True)
class NodeCost:
    """One node: floating-point operations, and the values of weights that it reads."""

    kind: str
    flop: int
    weights: int


def graph_cost(path: Path, sizes: Mapping[str, int], *, rewritten: bool = False) -> list[NodeCost]:
    """The nodes of the graph in `path` that do arithmetic, at these sizes of its dimensions.

    rewritten: of the graph as the processor's engines open it
        (`overpaint.engines.onnxruntime.cpu.doubling`).

    Raises:
        MissingExtraError: the onnx package is not installed.
        OverpaintError: a shape cannot be inferred.
    """
    data = path.read_bytes()
    model = import_onnx().load_from_string(data)
    if rewritten and (less := convolve_before_doubling(data)) is not None:
        opened = import_onnx().load_from_string(less)
        if _doubles_throughout(opened, sizes):
            _take_first_branches(opened)
            model = opened
    shapes = infer_shapes(model, sizes)
    weights = _folded(model, shapes)
    return list(_costs(model, shapes, weights))


def _doubles_throughout(model: Any, sizes: Mapping[str, int]) -> bool:
    """Whether latents halve evenly all the way down, so that every choice falls on doubling. (Where
    one does not, the graph is counted as exported.)"""
    choices = sum(node.op_type == "If" for node in model.graph.node)
    sides = (sizes.get(side, 0) for side in ("latent_height", "latent_width"))
    return all(side % (1 << choices) == 0 for side in sides)


def _take_first_branches(model: Any) -> None:
    """The only choice in our graphs is `convolve_before_doubling`'s: whether a picture doubles."""
    flat = []
    for node in model.graph.node:
        if node.op_type != "If":
            flat.append(node)
            continue
        taken = next(one.g for one in node.attribute if one.name == "then_branch")
        taken.node[-1].output[0] = node.output[0]
        flat += taken.node
    del model.graph.node[:]
    model.graph.node.extend(flat)


def _costs(model: Any, shapes: Shapes, weights: Mapping[str, int]) -> Iterator[NodeCost]:
    for node in model.graph.node:
        count = _FLOP.get(node.op_type)
        if count is None or node.output[0] in weights:
            continue
        inputs = [shapes.get(name, ()) for name in node.input]
        attributes = {a.name: a for a in node.attribute}
        flop = count(inputs, shapes[node.output[0]], attributes)
        read = sum(weights.get(name, 0) for name in node.input)
        yield NodeCost(node.op_type, flop, read)


def _folded(model: Any, shapes: Shapes) -> dict[str, int]:
    """Tensor -> values, of initializers and of what is made of nothing else: an engine folds it."""
    found = {one.name: math.prod(one.dims) for one in model.graph.initializer}
    for node in model.graph.node:
        if all(name in found for name in node.input if name):
            found |= {name: math.prod(shapes.get(name, ())) for name in node.output}
    return found


def _conv(inputs: list[tuple[int, ...]], out: tuple[int, ...], _: Mapping[str, Any]) -> int:
    # The weight is (out channels, in channels of a group, *kernel).
    return 2 * math.prod(out) * math.prod(inputs[1][1:])


def _matmul(inputs: list[tuple[int, ...]], out: tuple[int, ...], _: Mapping[str, Any]) -> int:
    return 2 * math.prod(out) * inputs[0][-1]


def _gemm(inputs: list[tuple[int, ...]], out: tuple[int, ...], having: Mapping[str, Any]) -> int:
    turned = "transA" in having and having["transA"].i
    return 2 * math.prod(out) * inputs[0][0 if turned else 1]


def _attention(
    inputs: list[tuple[int, ...]], out: tuple[int, ...], having: Mapping[str, Any]
) -> int:
    """Queries by keys, then weights by values; (B,H,L,D), or (B,L,H*D) of which H drops out."""
    query, key, value = inputs[:3]
    pairs = math.prod(query[:-1]) * key[-2]
    return 2 * pairs * (query[-1] + value[-1])


_FLOP = {"Conv": _conv, "MatMul": _matmul, "Gemm": _gemm, "Attention": _attention}
