"""A place for one: the newest."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Newest(Generic[Item]):
    """Whatever comes takes the place of what waits; `dropped` counts that. On one event loop."""

    def __init__(self) -> None:
        self.dropped = 0
        self._item: Item | None = None
        self._there = asyncio.Event()

    def put(self, item: Item) -> bool:
        """Whether one that waited was dropped for it."""
        late = self._item is not None
        self.dropped += late
        self._item = item
        self._there.set()
        return late

    async def wait(self) -> None:
        """Return when there is one."""
        await self._there.wait()

    def take(self) -> Item:
        """The one that is there."""
        item, self._item = self._item, None
        self._there.clear()
        if item is None:
            raise LookupError("expected one to be there; wait for it first")
        return item
