"""The job service: everything that the routes need goes through it.

It gives each job its id, hands it to the first provider that takes it, republishes its progress,
keeps what it made, and goes to the next provider where an engine, and not the request, failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from overpaint.bundle.errors import OverpaintError, UsageError
from overpaint.runtime.resolved import random_seed
from overpaint.serve.ids import new_id
from overpaint.serve.store.kept import Kept
from overpaint.serve.telemetry.journal import note_error
from overpaint.serve.telemetry.metrics import Metrics

from .capabilities import ModelCapabilities
from .ledger import Accepted, Ledger
from .protocol import (
    Cancelled,
    Failed,
    Health,
    LiveRun,
    Order,
    Painted,
    Provider,
    Queued,
    RefusedError,
    Started,
)
from .record import STATUS, Complete, Job, JobEvent, Tried

CANCEL_SECONDS = 5.0
PLACE_SECONDS = 0.5
AGAIN_SECONDS = 0.2
LOOKED_THROUGH = 1000
MOST_BEGUN: Final = 2  # a job that brings the server down does not do so for ever
OLDEST: Final = 24 * 3600.0  # nobody waits for it any more
RESTARTED: Final = "restarted"
SHUT_DOWN: Final = "the server shut down before this job had ended"
NOBODY = "this server has no engines of its own, and passes nothing on that was passed on to it"


class UnknownModelError(OverpaintError):
    """No provider has a model of that name."""

    def __init__(self, known: Sequence[str]) -> None:
        self.known = ", ".join(known)
        super().__init__(f"there is no such model; there is: {self.known}")


class NoProviderError(OverpaintError):
    """No provider took the job, or answered. `tried` says what each said instead."""

    def __init__(self, refusals: list[tuple[str, RefusedError]]) -> None:
        super().__init__("; ".join(f"{name}: {refused}" for name, refused in refusals) or NOBODY)
        self.tried = [Tried(name, one.reason, str(one)) for name, one in refusals]
        self.full = any(one.reason == "full" for _, one in refusals)
        self.reason = "full" if self.full else self.tried[0].reason if refusals else "unhealthy"
        waits = [one.retry_after for _, one in refusals if one.retry_after is not None]
        self.retry_after = min(waits, default=1.0)


class LostError(OverpaintError):
    """A job that a restart ended, and why it was not run again."""


class JobService:
    """Jobs on an ordered list of providers of different names.

    `passed_on` marks what came from another server: it goes to providers that pass nothing on, so
    that two servers which fall back to each other never ask in a circle.
    """

    def __init__(
        self,
        providers: Sequence[Provider],
        *,
        media: Kept,
        finished: Kept,
        ledger: Ledger,
        metrics: Metrics,
    ) -> None:
        self.providers = tuple(providers)
        names = [one.name for one in self.providers]
        if len(set(names)) < len(names):
            raise UsageError(f"--fallback: expected each provider once, got {', '.join(names)}")
        self.media = media
        self._finished = finished
        self._ledger = ledger
        self._metrics = metrics
        self._live: dict[str, Job] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._line = asyncio.Lock()

    def _those_for(self, passed_on: bool) -> tuple[Provider, ...]:
        return tuple(one for one in self.providers if not (passed_on and one.passes_on))

    async def capabilities(self, *, passed_on: bool = False) -> tuple[ModelCapabilities, ...]:
        """Every model, as the first provider that has it describes it; the default one first.
        Raises NoProviderError where nobody answers."""
        providers = self._those_for(passed_on)
        answers = await asyncio.gather(*(_capabilities(one) for one in providers))
        refusals = [
            (provider.name, answer)
            for provider, answer in zip(providers, answers, strict=True)
            if isinstance(answer, RefusedError)
        ]
        if len(refusals) == len(providers):
            raise NoProviderError(refusals)
        found: dict[str, ModelCapabilities] = {}
        for answer in answers:
            for model in () if isinstance(answer, RefusedError) else answer:
                found.setdefault(model.name, model)
        return tuple(found.values())

    async def model(self, name: str | None, *, passed_on: bool = False) -> ModelCapabilities:
        """The model called `name`, None for the default one. Providers are asked in order, and
        none after the first that has it. Raises UnknownModelError, NoProviderError."""
        refusals: list[tuple[str, RefusedError]] = []
        known: list[str] = []
        for provider in self._those_for(passed_on):
            answer = await _capabilities(provider)
            if isinstance(answer, RefusedError):
                refusals.append((provider.name, answer))
                continue
            for model in answer:
                if name in (None, model.name):
                    return model
                known.append(model.name)
        raise UnknownModelError(known) if known else NoProviderError(refusals)

    def expect_room(self, *, passed_on: bool = False) -> None:
        """Raises NoProviderError where every provider is known to refuse any job now."""
        providers = self._those_for(passed_on)
        refusals = [(one.name, refused) for one in providers if (refused := one.refusal())]
        if len(refusals) == len(providers):
            raise NoProviderError(refusals)

    def begin_live(self, order: Order) -> LiveRun:
        """A live run of the first provider that has it. Raises NoProviderError."""
        refusals: list[tuple[str, RefusedError]] = []
        for provider in self.providers:
            try:
                return provider.begin_live(order)
            except RefusedError as refused:
                refusals.append((provider.name, refused))
        raise NoProviderError(refusals)

    async def submit(
        self,
        order: Order,
        *,
        passed_on: bool = False,
        client: str | None = None,
        bundle: str | None = None,
    ) -> Job:
        """Give `order` to the first provider that takes it; NoProviderError where none does.

        `bundle` is the fingerprint of what it is to run on; with it a server that is killed goes on
        with the job when it is begun anew. None: the job's client waits on its connection, and
        nobody would ask for it after that.
        """
        if order.settings.seed is None:  # so that another attempt paints the same
            order = replace(order, settings=replace(order.settings, seed=random_seed()))
        providers = self._those_for(passed_on)
        provider, ticket, refusals = await _hand_over(order, providers)
        job = Job(
            id=new_id(),
            model=order.model,
            provider=provider.name,
            ticket=ticket,
            tried=[Tried(name, one.reason, str(one)) for name, one in refusals],
            client=client,
        )
        self._note_fallback(job)
        if bundle is not None:
            job.accepted = Accepted(
                id=job.id,
                order=order,
                bundle=bundle,
                provider=provider.name,
                ticket=ticket,
                client=client,
                passed_on=passed_on,
                created_at=job.created_at,
            )
        rest = providers[providers.index(provider) + 1 :]
        writing = asyncio.create_task(self._write_down(job))

        async def run() -> Painted | Failed | Cancelled:
            await writing  # no engine begins with it before: see `Started`
            return await self._follow(job, order, provider, rest)

        self._begin(job, run())
        await asyncio.shield(writing)
        with contextlib.suppress(TimeoutError):  # its place in the queue is told at once
            async with asyncio.timeout(PLACE_SECONDS):
                await anext(job.feed.follow())
        return job

    def _begin(self, job: Job, run: Awaitable[Painted | Failed | Cancelled]) -> None:
        self._live[job.id] = job
        task = asyncio.create_task(self._see_through(job, run))
        self._tasks[job.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(job.id, None))

    async def _write_down(self, job: Job, **changes: Any) -> None:
        """What a restart would go on with."""
        if job.accepted is not None:
            job.accepted = replace(job.accepted, **changes)
            await asyncio.to_thread(self._ledger.put, job.accepted)

    def when_ended(self, job: Job, then: Callable[[], None]) -> None:
        """Call `then` once `job` has ended, at once where it has."""
        if (task := self._tasks.get(job.id)) is None:
            then()
        else:
            task.add_done_callback(lambda _: then())

    def live(self, job_id: str) -> Job | None:
        """The job, while it waits or runs."""
        return self._live.get(job_id)

    async def view(self, job_id: str) -> dict[str, Any]:
        """A job as its client sees it. Raises GoneError, UnknownKeyError; LostError for one that a
        restart ended."""
        if (job := self._live.get(job_id)) is not None:
            return job.view()
        kept: dict[str, Any] = json.loads(await asyncio.to_thread(self._finished.get, job_id))
        if kept["error"] is not None and kept["error"]["code"] == RESTARTED:
            raise LostError(kept["error"]["message"])
        return kept

    async def recent(self, client: str | None, most: int) -> list[dict[str, Any]]:
        """The jobs of `client` that wait, run, or are still kept, the newest first."""
        live = [job.view() for job in reversed(self._live.values()) if job.client == client]
        kept = await asyncio.to_thread(self._kept_of, client, most)
        seen = {view["id"] for view in live}
        return [*live, *(view for view in kept if view["id"] not in seen)][:most]

    def _kept_of(self, client: str | None, most: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for key in self._finished.newest(LOOKED_THROUGH):
            with contextlib.suppress(OverpaintError):  # its time may be over by now
                view = json.loads(self._finished.get(key))
                found += [view] if view.get("client") == client else []
            if len(found) >= most:
                break
        return found

    async def resume(self) -> None:
        """Go on with what an earlier process had accepted. Its clients find their jobs at once;
        providers get them in the order in which they came, as soon as one takes any."""
        for job_id, accepted in await asyncio.to_thread(self._ledger.take_up):
            if self._is_over(job_id):
                self._ledger.drop(job_id)
                continue
            self._finished.drop(job_id)  # its pictures went with the process
            if accepted is None:
                job = Job(id=job_id, model="", provider="", ticket="")
                self._begin(job, _at_once(_lost("what was kept of it cannot be read")))
                continue
            job = Job(
                id=job_id,
                model=accepted.order.model,
                provider=accepted.provider,
                ticket="",
                client=accepted.client,
                accepted=replace(accepted, restarts=accepted.restarts + 1),
                created_at=accepted.created_at,
            )
            job.note(Queued(len(self._live)), last=False)
            self._begin(job, self._go_on(job, accepted))

    def _is_over(self, job_id: str) -> bool:
        """Whether it had ended, and all that it made is still there."""
        try:
            view = json.loads(self._finished.get(job_id))
        except (OverpaintError, ValueError):
            return False
        return all(map(self.media.on_disk, (view["result"] or {}).get("media", ())))

    async def _go_on(self, job: Job, accepted: Accepted) -> Painted | Failed | Cancelled:
        """Run a job of an earlier process again or, where another server has it, follow it there.
        Says why where that cannot be."""
        if accepted.begun >= MOST_BEGUN:
            return _lost(f"the server went down {accepted.begun} times while it ran")
        if time.time() - accepted.created_at > OLDEST:
            return _lost("it was accepted more than a day ago")
        providers = self._those_for(accepted.passed_on)
        there = [one for one in providers if one.passes_on and one.name == accepted.provider]
        if there:
            provider, ticket, rest = there[0], accepted.ticket, providers
        else:
            async with self._line:
                taken = await self._hand_over_again(job, accepted, providers)
            if isinstance(taken, (Failed, Cancelled)):
                return taken
            provider, ticket, refusals = taken
            job.tried = [Tried(name, one.reason, str(one)) for name, one in refusals]
            rest = providers[providers.index(provider) + 1 :]
        job.provider, job.ticket = provider.name, ticket
        self._note_fallback(job)
        if job.cancelled:  # meanwhile
            await provider.cancel(ticket, job.cancelled)
        await self._write_down(job, provider=provider.name, ticket=ticket)
        return await self._follow(job, accepted.order, provider, rest)

    async def _hand_over_again(
        self, job: Job, accepted: Accepted, providers: Sequence[Provider]
    ) -> tuple[Provider, str, list[tuple[str, RefusedError]]] | Failed | Cancelled:
        """`_hand_over`, as soon as a provider takes it; or how it ends before that."""
        order = accepted.order
        while not job.cancelled:
            try:
                model = await self.model(order.model, passed_on=accepted.passed_on)
                if accepted.bundle and model.fingerprint not in ("", accepted.bundle):
                    return _lost(f"{order.model} is another bundle now")
                return await _hand_over(order, providers)
            except UnknownModelError as unknown:
                return _lost(f"{order.model} is not served any more: {unknown}")
            except NoProviderError as nobody:
                if any(one.reason == "draining" for one in nobody.tried):
                    return Cancelled(SHUT_DOWN)
            await asyncio.sleep(AGAIN_SECONDS)
        return job.cancelled

    def sweep(self) -> None:
        """Let go of jobs whose end could not be written, once it is forgotten in memory too."""
        for job_id in self._ledger.ids():
            if job_id not in self._live and job_id not in self._finished:
                self._ledger.drop(job_id)

    async def cancel(self, job_id: str, why: str = "cancelled by the client") -> None:
        """Stop a job that waits or runs; one that has ended stays as it is. Returns when it has
        ended, or after five seconds: a provider far away may take its time."""
        if (job := self._live.get(job_id)) is not None and not job.feed.ended:
            job.cancelled = Cancelled(why)
            if job.ticket:  # else it waits for a provider, and stops waiting
                provider = next(one for one in self.providers if one.name == job.provider)
                await provider.cancel(job.ticket, job.cancelled)
            await asyncio.wait({asyncio.ensure_future(job.feed.end())}, timeout=CANCEL_SECONDS)

    async def cancel_all(self, why: str) -> None:
        await asyncio.gather(*(self.cancel(job_id, why) for job_id in list(self._live)))

    @property
    def busy(self) -> bool:
        """Whether a job waits or runs."""
        return bool(self._tasks)

    async def idle(self) -> None:
        """Return when no job waits or runs."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    async def health(self, *, passed_on: bool = False) -> list[Health]:
        """Of each provider that a job could go to."""
        return list(await asyncio.gather(*(one.health() for one in self._those_for(passed_on))))

    async def _see_through(self, job: Job, run: Awaitable[Painted | Failed | Cancelled]) -> None:
        """Follow the job to its end, and keep how it ended."""
        last: JobEvent
        try:
            end = await run
            last = end if not isinstance(end, Painted) else await self._keep(end)
        except Exception as error:
            error_id = note_error(error, "a job was lost by the service")
            last = Failed(code="internal_error", message="something broke here", id=error_id)
        job.finished_at = time.time()
        job.expires_at = job.finished_at + self._finished.seconds
        self._count(job, last)
        # Kept before anybody is told: what a client was told is not lost with the process.
        try:
            await asyncio.to_thread(self._finished.put, job.id, _record(job, last))
        except Exception as error:
            note_error(error, "the record of a job could not be kept")
        finally:
            job.note(last, last=True)
            del self._live[job.id]
            if self._is_kept(job.id, last):
                self._ledger.drop(job.id)

    def _is_kept(self, job_id: str, last: JobEvent) -> bool:
        """Whether a restart need not go on with it: all that it made is on the disk, or nobody
        wants it."""
        if isinstance(last, Cancelled):
            return True
        media = last.media if isinstance(last, Complete) else ()
        return self._finished.on_disk(job_id) and all(map(self.media.on_disk, media))

    async def _follow(
        self, job: Job, order: Order, provider: Provider, rest: Sequence[Provider]
    ) -> Painted | Failed | Cancelled:
        """The job's end, over as many providers as that takes."""
        end = await self._republish(job, provider)
        while isinstance(end, Failed) and end.elsewhere and rest and not job.cancelled:
            job.tried.append(Tried(provider.name, end.code, end.message))
            try:
                provider, job.ticket, refusals = await _hand_over(order, rest)
            except NoProviderError as nobody:
                job.tried += nobody.tried
                return end
            job.tried += [Tried(name, one.reason, str(one)) for name, one in refusals]
            job.provider = provider.name
            await self._write_down(job, provider=provider.name, ticket=job.ticket)
            self._note_fallback(job)
            rest = rest[rest.index(provider) + 1 :]
            if job.cancelled:  # while it was handed over
                await provider.cancel(job.ticket, job.cancelled)
            end = await self._republish(job, provider)
        return end

    async def _republish(self, job: Job, provider: Provider) -> Painted | Failed | Cancelled:
        end: Painted | Failed | Cancelled | None = None
        async for event in provider.progress(job.ticket):
            if isinstance(event, (Painted, Failed, Cancelled)):
                end = event
                continue
            if isinstance(event, Started) and job.accepted and not provider.passes_on:
                job.accepted = replace(job.accepted, begun=job.accepted.begun + 1)
                await asyncio.to_thread(self._ledger.begin, job.accepted)
            job.note(event, last=False)
        if end is None:
            raise AssertionError(f"the progress of {provider.name} had no last event")
        return end

    async def _keep(self, painted: Painted) -> Complete:
        media = tuple(new_id() for _ in painted.images)
        for key, image in zip(media, painted.images, strict=True):
            await asyncio.to_thread(self.media.put, key, image)
        return Complete(media=media, painted=replace(painted, images=()))

    def _note_fallback(self, job: Job) -> None:
        if job.fallback is not None:
            self._metrics.fallbacks.labels(job.provider, job.tried[-1].reason).inc()

    def _count(self, job: Job, last: JobEvent) -> None:
        code = last.code if isinstance(last, Failed) else ""
        self._metrics.outcomes.labels(STATUS[type(last)], code).inc()
        if isinstance(last, Complete):
            for stage, seconds in last.painted.timings.items():
                self._metrics.stages.labels(job.model, stage).observe(seconds)


def _record(job: Job, last: JobEvent | None = None) -> bytes:
    return json.dumps(job.view(last) | {"client": job.client}).encode()


async def _at_once(end: Failed) -> Failed:
    return end


def _lost(why: str) -> Failed:
    message = f"the server was restarted before this job had ended, and did not run it again: {why}"
    return Failed(code=RESTARTED, message=message, id=new_id())


async def _hand_over(
    order: Order, providers: Sequence[Provider]
) -> tuple[Provider, str, list[tuple[str, RefusedError]]]:
    """The first provider that takes `order`, its ticket, and what those before it answered."""
    refusals: list[tuple[str, RefusedError]] = []
    for provider in providers:
        try:
            return provider, await provider.submit(order), refusals
        except RefusedError as refused:
            refusals.append((provider.name, refused))
    raise NoProviderError(refusals)


async def _capabilities(provider: Provider) -> tuple[ModelCapabilities, ...] | RefusedError:
    try:
        return await provider.capabilities()
    except RefusedError as refused:
        return refused
