"""A graph's inputs and outputs: their names, dtypes and shapes, and the arrays that they take."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from .record import Record

Array: TypeAlias = npt.NDArray[Any]
DType = Literal["float32", "float16", "bfloat16", "int64", "int32", "bool"]

NUMPY_DTYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "int64": np.dtype(np.int64),
    "int32": np.dtype(np.int32),
    "bool": np.dtype(np.bool_),
}
"""Those that NumPy has: a tensor of another dtype can be inside a graph, not at its ends."""


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
