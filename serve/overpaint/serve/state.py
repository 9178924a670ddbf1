"""What the routes share, and its life: opened with the server, drained and closed with it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from overpaint.serve.jobs.engines.models import Models, Served
from overpaint.serve.jobs.providers.local import LocalProvider
from overpaint.serve.jobs.providers.remote import RemoteProvider
from overpaint.serve.jobs.service import JobService
from overpaint.serve.pictures.intake import Intake
from overpaint.serve.pictures.sources import Sources
from overpaint.serve.store.kept import Kept
from overpaint.serve.telemetry.journal import describe, note_error
from overpaint.serve.telemetry.metrics import Metrics

from .config import Config

log = logging.getLogger("overpaint.serve")
SWEEP_SECONDS = 5.0


class State:
    """One server. `broken` is what kept the engine from opening, where nothing else can help;
    `hanging` is set at the end where an engine's step did not return."""

    def __init__(self, config: Config, served: Sequence[Served]) -> None:
        self.config = config
        self.metrics = Metrics()
        self.models = Models(tuple(served), config.memory_budget)
        self.local = LocalProvider(
            self.models,
            capacity=config.queue,
            timeout=config.job_seconds,
            metrics=self.metrics,
        )
        self.remotes = [RemoteProvider(url, config.fallback_token) for url in config.fallbacks]
        self.uploads = Kept(seconds=config.upload_seconds, max_bytes=config.upload_bytes)
        self.media = self._results("media", ".png")
        self.finished = self._results("jobs", ".json")
        self.jobs = JobService(
            [self.local, *self.remotes],
            media=self.media,
            finished=self.finished,
            metrics=self.metrics,
        )
        self.sources = Sources(self.uploads, Intake(config.limits), config.image_hosts)
        self.draining = False
        self.broken: Exception | None = None
        self.hanging = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open the engine in the background, so that the server answers while it loads."""
        tasks = [asyncio.create_task(self._open()), asyncio.create_task(self._sweep())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.hanging = not await self.local.close()
            await self.jobs.idle()
            for remote in self.remotes:
                await remote.close()

    async def drain(self) -> bool:
        """Take nothing new; return when every job has ended, by itself or by the deadline. False
        where there was none."""
        self.draining = True
        self.local.drain()
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
        try:
            await self.local.start()
            log.info("ready: %s", ", ".join(self.models.names))
        except Exception as error:
            note_error(error, "the engine cannot be opened")
            if not self.remotes:
                self.broken = error

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            for kept in (self.uploads, self.media, self.finished):
                await asyncio.to_thread(kept.sweep)

    def _results(self, kind: str, suffix: str) -> Kept:
        """Finished work: on disk, so that a restart loses none; in memory where that fails."""

        def refused(error: OSError) -> None:
            self.metrics.unsaved.inc()
            log.warning("a result stays in memory, the disk refused it: %s", error.strerror)

        seconds, most = self.config.result_seconds, self.config.result_bytes
        folder: Path | None = self.config.folder and self.config.folder / kind
        try:
            return Kept(
                seconds=seconds, max_bytes=most, folder=folder, suffix=suffix, refused=refused
            )
        except OSError as error:
            log.warning("results stay in memory: %s (%s)", describe(error), error.strerror)
            return Kept(seconds=seconds, max_bytes=most)
