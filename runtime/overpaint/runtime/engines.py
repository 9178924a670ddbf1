"""What a run works with: a bundle's sessions and text encoders, used by one run at a time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from overpaint.bundle.errors import UsageError
from overpaint.bundle.format.bundle import Bundle
from overpaint.engines.choose import Decision

from .components import Components
from .text import TextEncoders


@dataclass(frozen=True, slots=True)
class Engines:
    """A bundle, its sessions, its text encoders and what they remember."""

    bundle: Bundle
    components: Components
    text: TextEncoders
    decision: Decision | None
    _running: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def of(
        cls, bundle: Bundle, components: Components, decision: Decision | None = None
    ) -> Engines:
        """The engines of `bundle`, with text encoders that remember nothing yet."""
        return cls(bundle, components, TextEncoders(bundle.folder, components), decision)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """While the block runs, the sessions' buffers are this run's.

        Raises UsageError where another run is under way.
        """
        if not self._running.acquire(blocking=False):
            raise UsageError(
                "this pipeline is already running; finish or close its other stream first, "
                "or open a pipeline for each thread"
            )
        try:
            yield
        finally:
            self._running.release()
