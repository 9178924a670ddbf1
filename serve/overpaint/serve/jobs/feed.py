"""The newest event of a job, for any number of readers at any speed.

Only the newest event is kept, so memory does not grow with slow readers: they skip frames, but
never the last event. A reader that comes back says which number it saw, and goes on from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

E = TypeVar("E")


class Feed(Generic[E]):
    """Published on one event loop, followed on the same."""

    def __init__(self) -> None:
        self.number = 0
        self.ended = False
        self.latest: E | None = None
        self._changed = asyncio.Event()

    def publish(self, event: E, *, last: bool = False) -> bool:
        """Make `event` the newest; False, and nothing done, where the feed has ended already."""
        if self.ended:
            return False
        self.number += 1
        self.latest = event
        self.ended = last
        self._changed.set()
        self._changed = asyncio.Event()
        return True

    async def follow(self, after: int = 0) -> AsyncIterator[tuple[int, E]]:
        """(number, event) for what is newer than `after`, and in any case for the last event. A
        number that is not told yet is one of an earlier process: everything is new."""
        seen = after if after <= self.number else 0
        while True:
            if self.number == seen and not self.ended:
                await self._changed.wait()
                continue
            assert self.latest is not None  # number > 0
            seen, ended, event = self.number, self.ended, self.latest
            yield seen, event
            if ended:
                return

    async def end(self) -> None:
        """Return once the last event is published."""
        while not self.ended:
            await self._changed.wait()
