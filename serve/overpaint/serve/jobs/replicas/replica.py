"""A replica: this process' engines, as they run jobs anywhere, behind a stream of events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final

from overpaint.serve.jobs.cluster import About
from overpaint.serve.jobs.feed import Feed
from overpaint.serve.jobs.protocol import (
    Cancelled,
    Event,
    Failed,
    Order,
    Painted,
    Provider,
    RefusedError,
)

EVENT_SECONDS: Final = 0.1
"""Steps that are faster are told together: each event is a message between machines, and previews
are not made more often."""


class Replica:
    """The deployment's class. Ray Serve makes one in each replica, hands it jobs, and asks whether
    it is well; `make` gives the provider that runs them, and `jobs` is as `About` has it."""

    async def __init__(self, make: Callable[[], Provider], jobs: int) -> None:  # type: ignore[misc]
        """Returns once the first model is open and warm, so that Serve sends nothing before."""
        from ray import serve

        self._name = serve.get_replica_context().replica_id.unique_id
        self._jobs = jobs
        self._following: set[asyncio.Task[None]] = set()
        self._provider = make()
        await self._provider.start()

    async def about(self) -> About:
        return About(self._name, self._jobs, await self._provider.capabilities())

    async def run(self, order: Order) -> AsyncIterator[About | Event]:
        """`About`, the events of the job, and `About` again before the last one. Where the caller
        cancels, Serve cancels this, and the job stops within one step."""
        yield await self.about()
        try:
            ticket = await self._provider.submit(order)
        except RefusedError as refused:
            yield Failed(code=refused.reason, message=str(refused), id=self._name, elsewhere=True)
            return
        feed: Feed[Event] = Feed()
        following = asyncio.create_task(self._follow(ticket, feed))
        self._following.add(following)
        following.add_done_callback(self._following.discard)
        try:
            async for _, event in feed.follow():
                if feed.ended:
                    yield await self.about()  # its engine has a pace, once it has run
                yield event
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(feed.end(), EVENT_SECONDS)
        finally:
            await self._provider.cancel(ticket, Cancelled())  # of one that has ended it is nothing

    async def _follow(self, ticket: str, feed: Feed[Event]) -> None:
        """In a task of its own: a provider's events end with whoever reads them."""
        async for event in self._provider.progress(ticket):
            feed.publish(event, last=isinstance(event, (Painted, Failed, Cancelled)))

    async def check_health(self) -> None:
        """Serve puts another in the place of a replica that raises here three times in a row."""
        health = await self._provider.health()
        if health.state == "unhealthy":
            raise RuntimeError(health.detail)
