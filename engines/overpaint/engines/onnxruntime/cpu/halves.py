"""Large half-precision weights that stay where their file is mapped.

ONNX Runtime folds the cast behind a stored tensor into a copy in float32, of twice the size, and
packs that for its kernels into another. It folds nothing that a caller might replace, which is what
an initializer is that the graph also names among its inputs: such a one is read from the mapped
file, which processes share, and cast in each run. docs/decisions/0030 has what that costs.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Final

from overpaint.bundle.graph import proto as onnx
from overpaint.bundle.graph.nodes import Node, graph_input, nodes, readers
from overpaint.bundle.graph.proto import graph_of, mapped_model, with_graph
from overpaint.bundle.graph.tensors import StoredTensor, initializers
from overpaint.bundle.graph.wire import read_fields

SMALLEST_MATRIX: Final = 1 << 18
SMALLEST_KERNEL: Final = 1 << 22
"""Values. Products with matrices are as fast as with packed ones. Kernels lose the layout that
convolutions are fastest in, and so are left where memory is worth the time: the large ones, which
are those of the smallest pictures and take the fewest sums for each value."""

_HALVES: Final = (onnx.FLOAT16, onnx.BFLOAT16)


def leave_mapped(model: bytes, kernels: bool) -> bytes | None:
    """Name the large halves that a graph stores in other files among its inputs; None where there
    are none. `kernels`: those of convolutions as well.

    Raises:
        MalformedError: `model` is not an ONNX model.
    """
    graph = list(read_fields(graph_of(model)))
    mapped = {tensor.name: tensor for tensor in initializers(model) if _stays(tensor, kernels)}
    if not mapped:
        return None
    replaced: dict[int, bytes] = {}
    tables = {cast.output: cast for cast in nodes(graph, "Cast") if cast.input(0) in mapped}
    for lookup in nodes(graph, "Gather"):
        cast = tables.get(lookup.input(0))
        if cast is not None and readers(graph, cast.output) == 1:
            replaced |= _cast_what_was_found(lookup, cast)
    inputs = [graph_input(one.name, one.dtype, one.shape) for one in mapped.values()]
    return with_graph(
        model, [*inputs, *(replaced.get(at, field.raw) for at, field in enumerate(graph))]
    )


@functools.cache
def widened(graph: Path, kernels: bool) -> int:
    """How many of a graph's numbers a session holds in float32: all that do not stay mapped, as
    `leave_mapped` has it.

    Raises:
        IntegrityError: it is not an ONNX graph, or cannot be read.
    """
    with mapped_model(graph) as model:
        return sum(prod(one.shape) for one in initializers(model) if not _stays(one, kernels))


def _stays(tensor: StoredTensor, kernels: bool) -> bool:
    matrix = len(tensor.shape) == 2
    smallest = SMALLEST_MATRIX if matrix else SMALLEST_KERNEL
    large = prod(tensor.shape) >= smallest
    return (matrix or kernels) and large and tensor.dtype in _HALVES and tensor.outside


def _cast_what_was_found(lookup: Node, cast: Node) -> Mapping[int, bytes]:
    """A look-up of a few rows first, then their cast: not the whole table's in each run."""
    found = f"{lookup.output}:halves"
    rows = lookup.like([cast.input(0), *lookup.inputs[1:]], found)
    return {cast.at: b"", lookup.at: rows + cast.like([found], lookup.output)}
