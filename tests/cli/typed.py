"""What a test types, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Outcome:
    """`written`: what stdout got, byte by byte; `out`, as text."""

    code: int
    written: bytes
    err: str

    @property
    def out(self) -> str:
        return self.written.decode()


Command = Callable[..., Outcome]


def files(folder: str | Path = ".") -> set[str]:
    return {path.name for path in Path(folder).iterdir()}


def pictures(folder: str | Path) -> set[str]:
    """The paintings in a folder, without what is remembered of the run."""
    return files(folder) - {"overpaint-run.json"}
