"""Where a weight comes from: tensors of a checkpoint, whole or in equal parts of their rows."""

from __future__ import annotations

from typing import Final, NamedTuple


class Rows(NamedTuple):
    """Part number `part` of the tensor `name`, its rows divided equally into `of`."""

    name: str
    part: int = 0
    of: int = 1


class Source(NamedTuple):
    """The row ranges that a weight is made of, in order. `transposed`: then turned over (2D)."""

    rows: tuple[Rows, ...]
    transposed: bool = False


def whole(name: str) -> Source:
    """All of a tensor, as it lies (a 1x1 convolution and a matrix are the same bytes)."""
    return Source((Rows(name),))


def third(name: str, part: int) -> Source:
    """One of query, key and value in a fused projection."""
    return Source((Rows(name, part, 3),))


def swapped_halves(name: str) -> Source:
    """(shift, scale) where (scale, shift) is wanted."""
    return Source((Rows(name, 1, 2), Rows(name, 0, 2)))


IDENTITY: Final = Source(())
"""A square matrix of ones on the diagonal: stored nowhere."""
