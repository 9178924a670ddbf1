"""Arrays checked before an engine runs, so that a message names the tensor and not a kernel.

A loop feeds the same names, dtypes and shapes again and again, so a feed like the last good one is
recognised (under a microsecond) and not examined.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from overpaint.bundle.arrays import NUMPY_DTYPES, Array
from overpaint.bundle.errors import FeedError
from overpaint.bundle.tensor import Range, Tensor, written_shape


class FeedCheck:
    """The inputs of one engine: their names, dtypes, shapes and the ranges of symbolic sizes."""

    def __init__(
        self, engine: str, inputs: Mapping[str, Tensor], ranges: Mapping[str, Range]
    ) -> None:
        self._engine = engine
        self._inputs = inputs
        self._ranges = ranges
        self._good: list[tuple[Any, Any]] | None = None
        self._good_names: list[str] = []

    def all(self, feed: Mapping[str, Array]) -> None:
        """Check a whole feed.

        Raises:
            FeedError: a name, dtype, shape or size is not what the engine takes.
        """
        try:
            signature = [(array.shape, array.dtype) for array in feed.values()]
        except AttributeError:
            signature = []  # something is no array: `some` says what
        if signature == self._good and list(feed) == self._good_names:
            return
        self.some(feed)
        if missing := [name for name in self._inputs if name not in feed]:
            raise FeedError(f"{self._engine}: missing {_listed(missing)}; {self._takes()}")
        self._good, self._good_names = signature, list(feed)

    def some(self, feed: Mapping[str, Array]) -> None:
        """Check the arrays that are there; others may be missing.

        Raises:
            FeedError: as `all`.
        """
        sizes: dict[str, tuple[int, str]] = {}
        for name, array in feed.items():
            if (tensor := self._inputs.get(name)) is None:
                raise FeedError(f"{self._engine}: unknown input {name!r}; {self._takes()}")
            self._check_kind(tensor, array)
            for dimension, size in zip(tensor.shape, array.shape, strict=True):
                if isinstance(dimension, str):
                    self._check_size(tensor.name, dimension, size, sizes)

    def _check_kind(self, tensor: Tensor, array: object) -> None:
        wanted = NUMPY_DTYPES[tensor.dtype]
        if isinstance(array, np.ndarray):
            same_rank = array.ndim == len(tensor.shape)
            if array.dtype == wanted and same_rank and _fits(tensor.shape, array.shape):
                return
            got = f"{written_shape(array.shape)} {array.dtype}"
        else:
            got = f"a {type(array).__name__}; convert it with numpy.asarray"
        raise FeedError(
            f"{self._engine}: expected {written_shape(tensor.shape)} {tensor.dtype} "
            f"for {tensor.name!r}, got {got}"
        )

    def _check_size(
        self, name: str, dimension: str, size: int, sizes: dict[str, tuple[int, str]]
    ) -> None:
        allowed = self._ranges[dimension]
        if not allowed.minimum <= size <= allowed.maximum or size % allowed.multiple:
            raise FeedError(
                f"{self._engine}: expected {dimension} {_range(allowed)} in {name!r}, got {size}"
            )
        other, where = sizes.setdefault(dimension, (size, name))
        if other != size:
            raise FeedError(
                f"{self._engine}: expected one {dimension} in all inputs, "
                f"got {other} in {where!r} and {size} in {name!r}"
            )

    def _takes(self) -> str:
        return f"it takes {_listed(list(self._inputs))}"


def _fits(declared: tuple[int | str, ...], shape: tuple[int, ...]) -> bool:
    pairs = zip(declared, shape, strict=True)
    return all(isinstance(wanted, str) or wanted == size for wanted, size in pairs)


def _range(allowed: Range) -> str:
    if allowed.minimum == allowed.maximum:
        return f"of {allowed.minimum}"
    steps = f" in multiples of {allowed.multiple}" if allowed.multiple > 1 else ""
    return f"of {allowed.minimum} to {allowed.maximum}{steps}"


def _listed(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names)
