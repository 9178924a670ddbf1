"""How many nodes and numbers a graph has, counted without opening an engine."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Final

from overpaint.bundle.errors import IntegrityError

from .wire import LENGTH, VARINT, MalformedError, fields, read_varint

FLOATS: Final = {1: "float32", 10: "float16", 16: "bfloat16"}  # TensorProto.data_type


@dataclass(frozen=True, slots=True)
class Counted:
    """How many nodes a graph has, how many numbers its initializers hold, and the floating types
    that it stores them in."""

    nodes: int
    weights: int
    stored: frozenset[str]


def count(graph: Path) -> Counted:
    """Count without the onnx package: ModelProto.graph is 7; GraphProto.node 1, initializer 5.

    Raises:
        IntegrityError: it is not an ONNX graph.
    """
    nodes = weights = 0
    stored: set[str] = set()
    try:
        with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for number, wire, start, end in fields(data, 0, len(data)):
                if number != 7 or wire != LENGTH:
                    continue
                for inner, kind, a, b in fields(data, start, end):
                    nodes += inner == 1 and kind == LENGTH
                    if inner == 5 and kind == LENGTH:
                        size, dtype = _tensor(data, a, b)
                        weights += size
                        stored |= {dtype} if dtype and size > 1 else set()
    except MalformedError as error:
        raise IntegrityError(f"{graph}: expected an ONNX graph, but {error}") from None
    return Counted(nodes, weights, frozenset(stored))


def _tensor(data: mmap.mmap, start: int, end: int) -> tuple[int, str | None]:
    """How many numbers the TensorProto in data[start:end] holds, and of which floating type.

    Its sizes are field 1, its data type is field 2.
    """
    sizes, dtype = [], None
    for number, wire, a, b in fields(data, start, end):
        if number == 2 and wire == VARINT:
            dtype = FLOATS.get(a)
        elif number == 1 and wire == VARINT:
            sizes.append(a)
        elif number == 1 and wire == LENGTH:  # packed
            while a < b:
                size, a = read_varint(data, a, b)
                sizes.append(size)
    return prod(sizes), dtype
