"""Seconds by stage, without those in which the caller had the word."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter


class Stopwatch:
    """Adds up stages by name. What passes inside `away()` is nobody's time."""

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}
        self._start = perf_counter()
        self._away = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start, away = perf_counter(), self._away
        try:
            yield
        finally:
            spent = perf_counter() - start - (self._away - away)
            self.stages[name] = self.stages.get(name, 0.0) + spent

    @contextmanager
    def away(self) -> Iterator[None]:
        """Around a `yield`: the consumer works, or has gone for coffee."""
        start = perf_counter()
        try:
            yield
        finally:
            self._away += perf_counter() - start

    @property
    def total(self) -> float:
        return perf_counter() - self._start - self._away
