"""An engine that is right for most sizes, and one for the others, loaded when they come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock
from typing import Final, Generic, TypeVar

from .manifest import Tensor
from .session import Array

E = TypeVar("E")

_LATENT_SIDES: Final = ("latent_height", "latent_width")


class BySize(Generic[E]):
    """`even`, for latents whose sides are multiples of `multiple`; for others what `load` gives."""

    def __init__(
        self, inputs: Mapping[str, Tensor], even: E, multiple: int, load: Callable[[], E]
    ) -> None:
        self.even = even
        self._multiple = multiple
        self._load = load
        self._any: E | None = None
        self._loading = Lock()
        self._sides = [
            (name, axis)
            for name, tensor in inputs.items()
            for axis, side in enumerate(tensor.shape)
            if side in _LATENT_SIDES
        ]

    def pick(self, feed: Mapping[str, Array]) -> E:
        """The engine for a whole feed. Raises what `load` raises."""
        if all(feed[name].shape[axis] % self._multiple == 0 for name, axis in self._sides):
            return self.even
        with self._loading:
            if self._any is None:
                self._any = self._load()
            return self._any
