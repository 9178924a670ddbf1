"""Bundles by name: opened when a job first wants one, closed when another needs the memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from overpaint.bundle.errors import UsageError
from overpaint.bundle.format.manifest import Manifest

from .price import Price
from .worker import Pipeline

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A bundle to serve. `fingerprint` tells it from any other that could be served under its name.
    `bytes` is what it is counted as in memory: its weight files. `side` is that of the pictures it
    was trained on, in pixels; `samplers` are those that run it, each with the noise levels (sigmas)
    that it can be given. `loras` are the names of those that fit it, `controls` its control
    networks, as `ModelCapabilities` has them.

    `adapter` is the folder of the one through which it sees reference pictures, if any.

    `open` blocks until every engine is loaded; it is called in the model's own thread. So is
    `measure`, which says what jobs cost; None where nothing tells.
    """

    name: str
    manifest: Manifest
    fingerprint: str
    bytes: int
    side: int
    samplers: Mapping[str, tuple[str, ...]]
    open: Callable[[], Pipeline]
    adapter: Path | None = None
    loras: tuple[str, ...] = ()
    measure: Callable[[Pipeline], Price | None] = lambda pipeline: None
    controls: Mapping[str, int | None] = field(default_factory=dict)


class Model:
    """One bundle with the one thread that may touch its engines."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.pipeline: Pipeline | None = None
        self.device: str | None = None
        self.price: Price | None = None
        self.in_use = False
        self.job_bytes = 0
        self.last_used = 0
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=served.name)

    async def open(self) -> None:
        self.pipeline = pipeline = await self._in_thread(self.served.open)
        if self.price is None:
            self.price = await self._in_thread(lambda: self.served.measure(pipeline))
        log.info("opened %s", self.served.name)

    async def close(self) -> None:
        pipeline, self.pipeline = self.pipeline, None
        if pipeline is not None:
            await self._in_thread(pipeline.close)
            log.info("closed %s", self.served.name)

    def cost(self, pixels: int, n: int) -> int:
        """Bytes of the host's memory for a job of `n` pictures; 0 where that is not known, as
        before it was opened, and where its engines have a device of their own."""
        if self.price is None or self.price.room is not None:
            return 0
        return self.price.of(pixels, n)

    def _in_thread(self, function: Callable[[], T]) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self.thread, function)


class Models:
    """All served bundles; `budget` is in bytes, None for no limit: for the weights of those that
    are open and the jobs that they run. The first is the default.

    Whoever finds its model open takes it at once, unless another waits for memory: then the line
    is kept, so that a busy model cannot starve the others.
    """

    def __init__(self, served: tuple[Served, ...], budget: int | None) -> None:
        if not served:
            raise UsageError("expected at least one bundle to serve, got none")
        for one in served:
            if budget is not None and one.bytes > budget:
                raise UsageError(
                    f"{one.name} alone needs {_mega(one.bytes)}, the memory budget is "
                    f"{_mega(budget)}; raise --memory-budget"
                )
        self._models = {one.name: Model(one) for one in served}
        if len(self._models) < len(served):
            raise UsageError("expected bundles of different names; rename one of the folders")
        self._budget = budget
        self._uses = 0
        self._line = asyncio.Lock()
        self._released = asyncio.Event()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._models)

    def __getitem__(self, name: str) -> Model:
        return self._models[name]

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def room(self, name: str) -> int | None:
        """The bytes that a job of `name` may take, beside the weights; None for no limit."""
        price = self._models[name].price
        if price is not None and price.room is not None:
            return price.room
        return None if self._budget is None else self._budget - self._models[name].served.bytes

    @asynccontextmanager
    async def use(self, name: str, job_bytes: int = 0) -> AsyncIterator[Pipeline]:
        """The open pipeline of `name`, for one caller at a time (its lane sees to that), and room
        for its job."""
        model = self._models[name]
        try:
            if model.pipeline is None or self._line.locked() or not self._fits(job_bytes):
                async with self._line:
                    model.in_use = True
                    weights = 0 if model.pipeline else model.served.bytes
                    await self._make_room(weights + job_bytes, model)
                    if model.pipeline is None:
                        await model.open()
            model.in_use, model.job_bytes = True, job_bytes
            self._uses += 1
            model.last_used = self._uses
            assert model.pipeline is not None
            yield model.pipeline
        finally:
            model.in_use, model.job_bytes = False, 0
            self._released.set()

    async def _make_room(self, wanted: int, mine: Model) -> None:
        """Close idle models, least recently used first, until `wanted` bytes fit; then wait for
        those that run, as long as any does."""
        while not self._fits(wanted):
            idle = [model for model in self if model.pipeline and not model.in_use]
            if idle:
                await min(idle, key=lambda model: model.last_used).close()
            elif any(model.in_use for model in self if model is not mine):
                self._released.clear()
                await self._released.wait()
            else:
                return

    def _fits(self, wanted: int) -> bool:
        held = sum(model.served.bytes + model.job_bytes for model in self if model.pipeline)
        return self._budget is None or held + wanted <= self._budget

    async def close(self) -> None:
        """Close every model that nobody uses."""
        for model in self:
            if not model.in_use:
                await model.close()
            model.thread.shutdown(wait=False, cancel_futures=True)


def _mega(count: int) -> str:
    return f"{count / 1e6:.0f} MB"
