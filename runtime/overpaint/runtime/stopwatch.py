"""Seconds by stage, without those in which somebody else had the word."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter


class Stopwatch:
    """Adds up stages by name; a stage inside another is not counted in the outer one as well."""

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}
        self._start = perf_counter()
        self._counted = 0.0
        self._away = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start, counted = perf_counter(), self._counted
        try:
            yield
        finally:
            spent = perf_counter() - start - (self._counted - counted)
            self.stages[name] = self.stages.get(name, 0.0) + spent
            self._counted += spent

    @contextmanager
    def away(self) -> Iterator[None]:
        """Around a `yield`: the consumer works, or has gone for coffee. Counted nowhere."""
        start = perf_counter()
        try:
            yield
        finally:
            self._away += perf_counter() - start

    @property
    def total(self) -> float:
        return perf_counter() - self._start - self._away
