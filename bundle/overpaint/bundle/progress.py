"""An import's progress, as one bar: small steps, LoRAs, then the hashing, which takes longest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

Progress: TypeAlias = Callable[[int, int, str], None]
"""Called with (done, in all, what comes next), for a progress bar."""

_PARTS: Final = 100


class Steps:
    """Counts `small` steps one each, and 100 for LoRAs and for hashing, by how far they are."""

    def __init__(self, progress: Progress | None, small: int, loras: bool) -> None:
        self._progress = progress
        self._total = small + _PARTS * (1 + loras)
        self._before = 0

    def next(self, doing: str) -> None:
        self._tell(self._before, doing)
        self._before += 1

    def fusing(self, done: int, total: int) -> None:
        self._part(done, total, "fusing LoRAs")

    def hashing(self, done: int, total: int) -> None:
        self._part(done, total, "hashing files")

    def _part(self, done: int, total: int, doing: str) -> None:
        self._tell(self._before + _PARTS * done // max(total, 1), doing)
        if done == total:
            self._before += _PARTS

    def _tell(self, done: int, doing: str) -> None:
        if self._progress is not None:
            self._progress(min(done, self._total), self._total, doing)
