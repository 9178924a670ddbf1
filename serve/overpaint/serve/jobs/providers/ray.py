"""Jobs on the replicas of a Ray cluster: one stream of events a job, from whichever runs it.

Ray Serve finds a replica with room, cancels there what is cancelled here, and puts another in the
place of one that dies. A job whose replica was lost begins anew on the next, twice at most: what
brings replicas down gets one more attempt.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

from overpaint.bundle.errors import UsageError, one_line
from overpaint.scale.cluster import connect
from overpaint.serve.ids import new_id
from overpaint.serve.jobs.capabilities import ModelCapabilities
from overpaint.serve.jobs.cluster import APPLICATION, About, ray_serve
from overpaint.serve.jobs.feed import Feed
from overpaint.serve.jobs.protocol import (
    Cancelled,
    Event,
    Failed,
    Health,
    Order,
    Painted,
    Provider,
    Queued,
    RefusedError,
    Started,
    State,
)
from overpaint.serve.jobs.resources import Resources
from overpaint.serve.telemetry.journal import note_error

SCHEMES = ("ray",)
LOOK_SECONDS: Final = 5.0  # between two looks at Serve's state: each takes 50 ms of a processor
AGAIN_SECONDS: Final = 0.5
MOST_BEGUN: Final = 2
MOST_TRIED: Final = 60  # replicas that were lost, or took no jobs, before they began with this one
OUTCOMES: Final = {Painted: "completed", Failed: "failed", Cancelled: "cancelled"}
PLACE_SECONDS: Final = 0.5  # after which those who wait are told that the line has moved
GUESS: Final = 5.0  # seconds of a job, before the first
RECENT: Final = 0.2

log = logging.getLogger("overpaint.serve")


def make(url: str, resources: Resources) -> RayProvider:
    """Raises UsageError where the URL has no address."""
    address = url.removeprefix("ray://")
    if address in ("", "ray"):
        raise UsageError("expected ray://local, ray://auto or ray://HOST:PORT")
    return RayProvider(address, resources)


@dataclass(slots=True, kw_only=True, eq=False)
class Ticket:
    """A job on its way, with which engines have `begun` so often."""

    order: Order
    feed: Feed[Event] = field(default_factory=Feed)
    queued_at: float = field(default_factory=time.monotonic)
    begun: int = 0


class RayProvider(Provider):
    """The replicas of the application `overpaint` on the cluster at `address`.

    `queue` jobs may wait beside those that are given to replicas already.
    """

    passes_on = False

    def __init__(self, address: str, resources: Resources) -> None:
        self.name = f"ray://{address}"
        self._address = address
        self._queue, self._metrics = resources.queue, resources.metrics
        self._state: State = "loading"
        self._detail = "the cluster is being joined"
        self._began = time.monotonic()
        self._models: tuple[ModelCapabilities, ...] = ()
        self._jobs = 1
        self._replicas = 0
        self._seconds = GUESS
        self._handle: Any = None
        self._looking: asyncio.Task[None] | None = None
        self._moving: asyncio.TimerHandle | None = None
        self._tickets: dict[str, Ticket] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Join the cluster and wait for a replica. Raises what keeps one from ever coming up."""
        try:
            await asyncio.to_thread(connect, self._address)
            while not await self._look():
                await asyncio.sleep(AGAIN_SECONDS)
            about: About = await self._handle.about.remote()
            self._models, self._jobs = about.models, about.jobs
        except Exception as error:
            self._state, self._detail = "unhealthy", one_line(str(error))
            raise
        if self._state == "loading":
            self._state, self._detail = "ready", ""
        self._looking = asyncio.create_task(self._keep_looking())
        log.info("ready: %s", ", ".join(model.name for model in self._models))

    async def _look(self) -> bool:
        """Whether a replica runs, by Serve's own account."""
        serve = ray_serve()
        status = await asyncio.to_thread(serve.status)
        found = status.applications.get(APPLICATION)
        if found is None:
            self._detail = f"the cluster runs no application {APPLICATION}"
            self._replicas = 0
            return False
        if found.status == "DEPLOY_FAILED":
            why = found.message.strip().splitlines()[-1]
            raise UsageError(f"the replicas do not come up: {one_line(why)}")
        deployment = next(iter(found.deployments.values()), None)  # none while a config is read
        states = deployment.replica_states if deployment else {}
        self._metrics.set_replicas(states)
        self._replicas = states.get("RUNNING", 0)
        self._detail = "" if self._replicas else "no replica is up"
        if self._replicas and self._handle is None:
            self._handle = serve.get_app_handle(APPLICATION)
        return bool(self._replicas)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._look()
            except UsageError as error:
                self._replicas, self._detail = 0, str(error)
            except Exception as error:  # Serve's controller may be away for a while; replicas work
                log.warning("Ray Serve does not say how it is: %s", one_line(str(error)))

    def drain(self) -> None:
        self._state, self._detail = "draining", "the server is shutting down"

    async def close(self) -> bool:
        for ticket in list(self._tickets):
            await self.cancel(ticket, Cancelled("the server shut down"))
        if self._moving is not None:
            self._moving.cancel()
        tasks = [*self._tasks.values(), *([self._looking] if self._looking else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return True

    async def health(self) -> Health:
        ready = self._state == "ready" and not self._replicas
        waiting = len(self._waiting())
        return Health(
            provider=self.name,
            state="unhealthy" if ready else self._state,
            detail=self._detail,
            waiting=waiting,
            running=len(self._tickets) - waiting,
            capacity=self._room(),
        )

    async def capabilities(self) -> tuple[ModelCapabilities, ...]:
        if not self._models:
            raise self._unready() or RefusedError("loading", "no replica has told of itself yet")
        return self._models

    def _room(self) -> int:
        """How many jobs may be here: those that replicas are given, and those that wait."""
        return self._queue + self._replicas * self._jobs

    def _unready(self) -> RefusedError | None:
        if self._state != "ready":
            loading_for = time.monotonic() - self._began
            return RefusedError(self._state, f"the cluster is {self._state}", max(5.0, loading_for))
        if not self._replicas:
            return RefusedError("unhealthy", self._detail, 5.0)
        return None

    def refusal(self) -> RefusedError | None:
        if (unready := self._unready()) is not None:
            return unready
        if (here := len(self._tickets)) >= self._room():
            message = f"{here} jobs are here already, and no more than that may be"
            return RefusedError("full", message, self._seconds * here / self._replicas)
        return None

    async def submit(self, order: Order) -> str:
        if (refused := self.refusal()) is not None:
            raise refused
        if order.model not in {model.name for model in self._models}:
            raise RefusedError("no_model", f"there is no model {order.model!r} there")
        name, ticket = new_id(), Ticket(order=order)
        ticket.feed.publish(Queued(len(self._waiting())))
        self._tickets[name] = ticket
        task = asyncio.create_task(self._see_through(ticket))
        self._tasks[name] = task
        task.add_done_callback(lambda _: self._tasks.pop(name, None))
        return name

    async def progress(self, ticket: str) -> AsyncIterator[Event]:
        found = self._tickets[ticket]
        try:
            async for _, event in found.feed.follow():
                yield event
        finally:
            del self._tickets[ticket]
            self._move_up()

    async def cancel(self, ticket: str, why: Cancelled) -> None:
        if (found := self._tickets.get(ticket)) is not None:
            if (task := self._tasks.get(ticket)) is not None:
                task.cancel()
            found.feed.publish(why, last=True)

    def _move_up(self) -> None:
        """Tell those who wait their places, soon: with many, the line moves all the time."""
        if self._moving is None:
            loop = asyncio.get_running_loop()
            self._moving = loop.call_later(PLACE_SECONDS, self._tell_places)

    def _tell_places(self) -> None:
        self._moving = None
        for place, ticket in enumerate(self._waiting()):
            event = Queued(place)
            if ticket.feed.latest != event:
                ticket.feed.publish(event)

    def _waiting(self) -> list[Ticket]:
        return [one for one in self._tickets.values() if not one.begun and not one.feed.ended]

    async def _see_through(self, ticket: Ticket) -> None:
        """Run the job, on as many replicas as that takes."""
        try:
            for _ in range(MOST_TRIED):
                end = await self._attempt(ticket)
                if not (isinstance(end, Failed) and end.elsewhere) or ticket.begun >= MOST_BEGUN:
                    break
                log.warning("a job goes to another replica: %s", end.message)
                self._metrics.replica_losses.inc()
                await asyncio.sleep(AGAIN_SECONDS)
        except Exception as error:
            error_id = note_error(error, "a job was lost on its way to a replica")
            message = "something broke on the way to a replica"
            end = Failed(code="internal_error", message=message, id=error_id)
        ticket.feed.publish(end, last=True)

    async def _attempt(self, ticket: Ticket) -> Painted | Failed | Cancelled:
        """The job's end on one replica; Failed with `elsewhere` where that was lost."""
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        replica, begun_at = "", 0.0
        end: Painted | Failed | Cancelled = _lost("its events ended early")
        stream = self._handle.options(stream=True).run.remote(ticket.order)
        try:
            async for told in stream:
                if isinstance(told, About):
                    replica, self._models, self._jobs = told.replica, told.models, told.jobs
                elif isinstance(told, Started):
                    begun_at = time.monotonic()
                    self._metrics.replica_running.labels(replica).inc()
                    self._start(ticket)
                elif isinstance(told, (Painted, Failed, Cancelled)):
                    end = told
                elif not isinstance(told, Queued):  # its place is told from here
                    ticket.feed.publish(told)
        except asyncio.CancelledError:
            if (me := asyncio.current_task()) is not None and me.cancelling():
                end = Cancelled()
                raise
            end = _lost("it was shut down")  # a replica's cancellation comes as one of our own
        except (RayError, RayServeException) as error:
            end = _lost(type(error).__name__)
        finally:
            stream.cancel()  # nothing where it has ended
            if begun_at:
                self._ended(replica, end, time.monotonic() - begun_at)
        return end

    def _start(self, ticket: Ticket) -> None:
        ticket.begun += 1
        if ticket.begun == 1:
            self._metrics.wait.observe(time.monotonic() - ticket.queued_at)
            ticket.feed.publish(Started())
            self._move_up()

    def _ended(self, replica: str, end: Painted | Failed | Cancelled, seconds: float) -> None:
        self._metrics.replica_running.labels(replica).dec()
        self._metrics.replica_jobs.labels(replica, OUTCOMES[type(end)]).inc()
        self._metrics.replica_seconds.labels(replica).inc(seconds)
        if isinstance(end, Painted):
            self._seconds += RECENT * (seconds - self._seconds)


def _lost(why: str) -> Failed:
    return Failed(
        code="engine_failed",
        message=f"the replica that ran this job was lost: {why}",
        id=new_id(),
        elsewhere=True,
    )
