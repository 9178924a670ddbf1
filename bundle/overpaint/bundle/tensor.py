"""A graph's inputs and outputs: their names, dtypes and shapes."""

from __future__ import annotations

from typing import Literal

from .record import Record

DType = Literal["float32", "float16", "bfloat16", "int64", "int32", "bool"]


def written_shape(shape: tuple[int | str, ...]) -> str:
    """A shape as NumPy writes it, symbolic sizes by name: `(batch, 4)`, `(1,)`, `()`."""
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


class Range(Record, frozen=True, kw_only=True):
    """The values that a symbolic dimension may take, both ends included, in `multiple`s."""

    minimum: int
    maximum: int
    multiple: int = 1


class Tensor(Record, frozen=True, kw_only=True):
    """One input or output of a graph. A dimension is a number, or the name of a `Range`."""

    name: str
    dtype: DType
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        """`sample float32 (batch, 4, height, width)`."""
        return f"{self.name} {self.dtype} {written_shape(self.shape)}"
