"""What the routes share, and its life: opened with the server, drained and closed with it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from overpaint.serve.http.clients import Share
from overpaint.serve.jobs.engines.models import Served
from overpaint.serve.jobs.ledger import Ledger
from overpaint.serve.jobs.protocol import Provider
from overpaint.serve.jobs.providers import make_of
from overpaint.serve.jobs.resources import Resources
from overpaint.serve.jobs.service import JobService
from overpaint.serve.pictures.reader import Intake
from overpaint.serve.pictures.sources import Sources
from overpaint.serve.store.kept import Kept, lock
from overpaint.serve.telemetry.journal import describe, note_error
from overpaint.serve.telemetry.metrics import Metrics

from .config import Config

log = logging.getLogger("overpaint.serve")
SWEEP_SECONDS = 5.0


class State:
    """One server. `live` sessions are here, and end once it is `leaving`. `broken` is what kept
    every provider from starting; `hanging` is set at the end where an engine's step did not
    return."""

    def __init__(self, config: Config, served: Sequence[Served]) -> None:
        self.config = config
        self.metrics = Metrics()
        resources = Resources(
            served=tuple(served),
            memory_budget=config.memory_budget,
            queue=config.queue,
            job_seconds=config.job_seconds,
            max_steps=config.limits.steps,
            max_images=config.limits.n,
            token=config.fallback_token,
            metrics=self.metrics,
        )
        self.uploads = Kept(seconds=config.upload_seconds, max_bytes=config.upload_bytes)
        self._lock, folder = _own(config.folder)
        self.media = self._results(folder, "media", ".png")
        self.finished = self._results(folder, "jobs", ".json")
        self.jobs = JobService(
            [make_of(url)(url, resources) for url in config.providers],
            media=self.media,
            finished=self.finished,
            ledger=self._ledger(folder),
            metrics=self.metrics,
        )
        self.sources = Sources(self.uploads, Intake(config.limits), config.image_hosts)
        self.clients = Share(config.limits.client_jobs)
        self.connections = Share(config.limits.client_connections)
        self.live = 0
        self.leaving = asyncio.Event()
        self.draining = False
        self.broken: Exception | None = None
        self.hanging = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start the providers in the background, so that the server answers while they load."""
        self.sources.intake.start()
        await self.jobs.resume()
        tasks = [asyncio.create_task(self._open()), asyncio.create_task(self._sweep())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.jobs.cancel_all("the server shut down")
            await self.jobs.idle()
            self.sources.intake.close()
            closed = await asyncio.gather(*(one.close() for one in self.jobs.providers))
            self.hanging = not all(closed)
            if self._lock is not None:
                self._lock.close()

    async def drain(self) -> bool:
        """Take nothing new; return when every job has ended, by itself or by the deadline. False
        where there was none."""
        self.draining = True
        self.leaving.set()
        for provider in self.jobs.providers:
            provider.drain()
        if not self.jobs.busy:
            return False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.config.drain_seconds):
                await self.jobs.idle()
                return True
        log.warning("cancelling what is left: %g seconds are over", self.config.drain_seconds)
        await self.jobs.cancel_all("the server shut down before this job had ended")
        await self.jobs.idle()
        return True

    async def _open(self) -> None:
        """Start every provider; where none of them can, the server is broken."""
        failures = await asyncio.gather(*(_start(one) for one in self.jobs.providers))
        if all(failures):
            self.broken = failures[0]

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            for kept in (self.uploads, self.media, self.finished, self.jobs):
                await asyncio.to_thread(kept.sweep)

    def _ledger(self, base: Path | None) -> Ledger:
        """Accepted work, on disk alone: memory would go with it."""

        def refused(why: str) -> None:
            self.metrics.unwritten.inc()
            log.warning("a job is not kept against a crash: %s", why)

        return Ledger(base and base / "accepted", self.config.result_bytes, refused)

    def _results(self, base: Path | None, kind: str, suffix: str) -> Kept:
        """Finished work: on disk, so that a restart loses none; in memory where that fails."""

        def refused(error: OSError) -> None:
            self.metrics.unsaved.inc()
            log.warning("a result stays in memory, the disk refused it: %s", error.strerror)

        seconds, most = self.config.result_seconds, self.config.result_bytes
        folder = base and base / kind
        try:
            return Kept(
                seconds=seconds, max_bytes=most, folder=folder, suffix=suffix, refused=refused
            )
        except OSError as error:
            log.warning("results stay in memory: %s (%s)", describe(error), error.strerror)
            return Kept(seconds=seconds, max_bytes=most)


def _own(folder: Path | None) -> tuple[IO[bytes] | None, Path | None]:
    """The lock on `folder` and the folder itself; neither where it cannot be had."""
    if folder is None:
        return None, None
    try:
        return lock(folder), folder
    except BlockingIOError:
        log.warning(
            "results stay in memory: another server keeps its own in %s; "
            "give this one a folder with --results",
            folder,
        )
    except OSError as error:
        log.warning("results stay in memory: %s (%s)", describe(error), error.strerror)
    return None, None


async def _start(provider: Provider) -> Exception | None:
    """What kept it from starting."""
    try:
        await provider.start()
    except Exception as error:
        note_error(error, f"{provider.name} cannot be started")
        return error
    return None
