"""The queue in front of one model, and what is known about how it does.

Jobs wait in one line and the frames of live runs in another, of one frame a run. Where something is
in both they take turns, so that neither keeps the other waiting for more than one of its own.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from PIL import Image

from overpaint.serve.jobs.feed import Feed
from overpaint.serve.jobs.protocol import Event, Order, Queued

from .times import JobTimes
from .worker import Pipeline

FAILURES = 3
REST_SECONDS = 30.0


@dataclass(slots=True, kw_only=True, eq=False)
class Ticket:
    """A job as the local provider sees it. `stop` is what the engine's thread looks at; `heard` is
    set once whoever follows it has noted that it begins."""

    id: str
    order: Order
    feed: Feed[Event] = field(default_factory=Feed)
    stop: threading.Event = field(default_factory=threading.Event)
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    queued_at: float = field(default_factory=time.monotonic)


@dataclass(slots=True, kw_only=True, eq=False)
class Frame:
    """The turn of a live run. `begin` takes the newest frame, of so many `pixels` once it is as
    large as the run has it, and returns what the engine's thread does with it; `done` is the
    outcome."""

    pixels: int
    begin: Callable[[], Callable[[Pipeline], Image.Image]]
    done: asyncio.Future[Image.Image]

    def finish(self, picture: Image.Image) -> None:
        if not self.done.done():  # nobody may wait any longer
            self.done.set_result(picture)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class Lane:
    """First come, first served, in each of the two lines. All of it happens on the event loop.

    An engine that fails three jobs in a row, none of them at fault itself, rests half a minute.
    """

    def __init__(self) -> None:
        self.waiting: deque[Ticket] = deque()
        self.frames: deque[Frame] = deque()
        self._frame_was_last = False
        self.running: Ticket | None = None
        self.closed = False
        self.times: JobTimes | None = None
        self.stuck = False
        self._failures = 0
        self._rest_until = 0.0
        self._arrived = asyncio.Event()

    def append(self, ticket: Ticket) -> None:
        self.waiting.append(ticket)
        self._tell_positions()
        self._arrived.set()

    def append_frame(self, frame: Frame) -> None:
        self.frames.append(frame)
        self._arrived.set()

    def remove_frame(self, frame: Frame) -> None:
        if frame in self.frames:
            self.frames.remove(frame)

    def remove(self, ticket: Ticket) -> None:
        if ticket in self.waiting:
            self.waiting.remove(ticket)
            self._tell_positions()

    def close(self) -> None:
        """`next` gives what still waits, and then None."""
        self.closed = True
        self._arrived.set()

    async def next(self) -> Ticket | Frame | None:
        """Wait for a ticket, and make it the running one, or for a frame; None once the lane is
        closed."""
        while not self.waiting and not self.frames:
            if self.closed:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        self._frame_was_last = bool(self.frames) and not (self._frame_was_last and self.waiting)
        if self._frame_was_last:
            return self.frames.popleft()
        self.running = self.waiting.popleft()
        self._tell_positions()
        return self.running

    def _tell_positions(self) -> None:
        for position, ticket in enumerate(self.waiting):
            event = Queued(position)
            if ticket.feed.latest != event:
                ticket.feed.publish(event)

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self) -> bool:
        """Count a failure of the engine's own; True when it is to be closed and to rest."""
        self._failures += 1
        if self._failures < FAILURES:
            return False
        self._rest_until = time.monotonic() + REST_SECONDS
        return True

    @property
    def rest(self) -> float:
        """Seconds until an engine that failed too often is tried again; 0 where it works."""
        left = self._rest_until - time.monotonic()
        return max(0.0, left) if self._failures >= FAILURES else 0.0

    @property
    def trouble(self) -> str:
        """Why no job should come here now; empty where all is well."""
        if self.stuck:
            return "a job ran past its time and its step has not returned yet"
        if self.rest:
            return f"the last {self._failures} jobs failed in the engine"
        return ""
