"""What a library does for a session. Everything else is the same for all of them: `Session`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol

from overpaint.bundle.arrays import Array
from overpaint.bundle.errors import SessionError

NOTHING: Final[Mapping[str, Array]] = MappingProxyType({})
"""What is held outside a binding."""


class Engine(Protocol):
    """One graph, loaded; its constructor does that. Each says which threads may run it, and for how
    long the arrays that it gives are the caller's."""

    @property
    def device(self) -> str:
        """What runs it, for people: `onnxruntime 1.31.1 CPU`, `TensorRT 11.4 on NVIDIA H200`, …"""
        ...

    def run(self, feed: Mapping[str, Array], held: Mapping[str, Array]) -> Mapping[str, Array]:
        """All outputs by name.

        Args:
            feed: every input by name, checked against the manifest.
            held: those of them that are bound. All steps of a binding come with the very same
                mapping, whose arrays never change, so an engine that remembers which mapping came
                last need not copy its arrays again. `NOTHING` outside a binding.

        Raises:
            SessionError: the engine failed, or was closed meanwhile.
        """
        ...

    def close(self) -> None:
        """Give back what the garbage collector would not. Called once; no `run` begins after."""
        ...


def closed(name: str) -> SessionError:
    """What is raised where the engine of component `name` is gone."""
    return SessionError(f"{name}: this session is closed")
