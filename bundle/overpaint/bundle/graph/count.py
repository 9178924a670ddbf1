"""How many nodes and numbers a graph has, counted without opening an engine."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from math import prod
from pathlib import Path

from . import proto as onnx
from .proto import mapped_model
from .tensors import read_tensor
from .wire import LENGTH, fields, messages


@dataclass(frozen=True, slots=True)
class Counted:
    """How many nodes a graph has, how many numbers its initializers hold, and the floating types
    that it stores them in."""

    nodes: int
    weights: int
    stored: frozenset[str]


def count(path: Path) -> Counted:
    """Count an ONNX file's graph.

    Raises:
        IntegrityError: it is not an ONNX graph, or cannot be read.
    """
    nodes = weights = 0
    stored: set[str] = set()
    with mapped_model(path) as model:
        for start, end in messages(model, (0, len(model)), onnx.MODEL_GRAPH):
            for number, wire, a, b in fields(model, start, end):
                if number == onnx.GRAPH_NODE and wire == LENGTH:
                    nodes += 1
                elif number == onnx.GRAPH_INITIALIZER and wire == LENGTH:
                    tensor = read_tensor(model, a, b)
                    size = prod(tensor.shape)
                    weights += size
                    if size > 1 and tensor.dtype in onnx.FLOATS:
                        stored.add(onnx.FLOATS[tensor.dtype])
    return Counted(nodes, weights, frozenset(stored))


@functools.cache
def weights(graph: Path) -> int:
    """How many numbers a graph's initializers hold; counted once.

    Raises:
        IntegrityError: as `count`.
    """
    return count(graph).weights
