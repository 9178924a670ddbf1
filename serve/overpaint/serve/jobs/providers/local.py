"""Jobs on this machine's engines: a bounded queue, and one worker thread a model.

Waiting, order, time limits and cancellation live on the event loop; only `repaint`, and frames of
live runs, run in the model's thread. Requests are not batched: docs/serving.md has the measurement
behind that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from PIL import Image

from overpaint.bundle.errors import CancelledError, ImageError, UsageError
from overpaint.bundle.families import FAMILIES
from overpaint.runtime.choices import MASK_MODES
from overpaint.runtime.memory import HELD
from overpaint.runtime.prepare import image_sides
from overpaint.runtime.result import Result
from overpaint.serve.ids import new_id
from overpaint.serve.jobs.capabilities import ModelCapabilities
from overpaint.serve.jobs.engines.lane import Frame, Lane, Ticket
from overpaint.serve.jobs.engines.live import LocalLive, Paint
from overpaint.serve.jobs.engines.memory import is_out_of_memory
from overpaint.serve.jobs.engines.models import Model, Models
from overpaint.serve.jobs.engines.price import LARGE, paint_small
from overpaint.serve.jobs.engines.times import JobTimes, expected_seconds
from overpaint.serve.jobs.engines.worker import Pipeline, as_files, repaint
from overpaint.serve.jobs.protocol import (
    Cancelled,
    Event,
    Failed,
    FrameError,
    Health,
    LiveRun,
    Order,
    Provider,
    RefusedError,
    Started,
    State,
    Step,
    check_memory,
)
from overpaint.serve.jobs.resources import Resources
from overpaint.serve.telemetry.journal import describe, note_error

SCHEMES = ("local",)
CLOSE_SECONDS = 5.0
HEARD_SECONDS = 10.0

log = logging.getLogger("overpaint.serve")


def make(url: str, resources: Resources) -> LocalProvider:
    """Raises UsageError where the bundles cannot be served together."""
    if url != "local":
        raise UsageError(f"expected local, which has one place only, got {url}")
    return LocalProvider(resources)


class LocalProvider(Provider):
    """The engines of this process. `queue` jobs may wait, over all models."""

    name = "local"
    passes_on = False

    def __init__(self, resources: Resources) -> None:
        self.models = Models(resources.served, resources.memory_budget)
        self._resources = resources
        self._began = time.monotonic()
        self._state: State = "loading"
        self._detail = "the first bundle is being opened"
        self._lanes = {name: Lane() for name in self.models.names}
        self._tickets: dict[str, Ticket] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Open and warm the default model, then take jobs. Raises what kept it from opening."""
        for model in self.models:
            self._keep(self._work(model, self._lanes[model.served.name]))
        try:
            async with self.models.use(self.models.names[0]):
                pass
        except Exception as error:
            self._state, self._detail = "unhealthy", describe(error)
            raise
        if self._state == "loading":
            self._state, self._detail = "ready", ""
        log.info("ready: %s", ", ".join(self.models.names))

    def drain(self) -> None:
        self._state, self._detail = "draining", "the server is shutting down"

    async def close(self) -> bool:
        for ticket in list(self._tickets.values()):
            await self.cancel(ticket.id, Cancelled("the server shut down"))
        for lane in self._lanes.values():
            lane.close()
        _, hanging = await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        if hanging:
            return False
        await self.models.close()
        return True

    async def health(self) -> Health:
        trouble = next((lane.trouble for lane in self._lanes.values() if lane.trouble), "")
        return Health(
            provider=self.name,
            state="unhealthy" if self._state == "ready" and trouble else self._state,
            detail=self._detail or trouble,
            waiting=self._waiting(),
            running=sum(lane.running is not None for lane in self._lanes.values()),
            capacity=self._resources.queue,
        )

    async def capabilities(self) -> tuple[ModelCapabilities, ...]:
        return tuple(self._describe(model) for model in self.models)

    def _describe(self, model: Model) -> ModelCapabilities:
        served, manifest = model.served, model.served.manifest
        times = self._lanes[served.name].times
        return ModelCapabilities(
            name=served.name,
            family=manifest.family,
            sha256=manifest.source.sha256,
            fingerprint=served.fingerprint,
            sides=image_sides(manifest),
            native=(served.side, served.side),
            samplers=served.samplers,
            defaults=manifest.defaults,
            rounding=FAMILIES[manifest.family].rounding,
            max_steps=self._resources.max_steps,
            max_images=self._resources.max_images,
            most_pixels=self._most_pixels(model),
            masks=MASK_MODES,
            references=served.adapter is not None,
            looks_at_pictures=manifest.looks_at_pictures,
            loras=served.loras,
            embeddings={one.word: one.vectors for one in manifest.embeddings},
            controls=served.controls,
            device=model.device,
            open=model.pipeline is not None,
            pace=times.pace if times else None,
        )

    def _most_pixels(self, model: Model) -> tuple[int, ...]:
        room = self.models.room(model.served.name)
        if room is None or model.price is None:
            return ()
        counts = range(1, self._resources.max_images + 1)
        price = model.price
        return tuple(price.most_pixels(room, n) for n in counts)

    async def submit(self, order: Order) -> str:
        lane = self._lane(order)
        if (refused := self.refusal()) is not None:
            raise refused
        self._expect_health(lane, order)
        ticket = Ticket(id=new_id(), order=order)
        self._tickets[ticket.id] = ticket
        lane.append(ticket)
        return ticket.id

    def begin_live(self, order: Order) -> LiveRun:
        lane = self._lane(order)

        async def turn(pixels: int, begin: Callable[[], Paint]) -> Image.Image:
            if (unready := self._unready()) is not None:
                raise unready
            self._expect_health(lane, order)
            done: asyncio.Future[Image.Image] = asyncio.get_running_loop().create_future()
            frame = Frame(pixels=pixels, begin=begin, done=done)
            lane.append_frame(frame)
            try:
                return await done
            finally:
                lane.remove_frame(frame)

        return LocalLive(order, turn)

    def _lane(self, order: Order) -> Lane:
        if order.model not in self._lanes:
            raise RefusedError("no_model", f"there is no model {order.model!r} here")
        return self._lanes[order.model]

    def _expect_health(self, lane: Lane, order: Order) -> None:
        if lane.trouble:
            wait = lane.rest or expected_seconds(lane.times, [order.all_pixels])
            raise RefusedError("unhealthy", lane.trouble, wait)

    def _unready(self) -> RefusedError | None:
        if self._state == "ready":
            return None
        loading_for = time.monotonic() - self._began  # it takes as long again, for all we know
        return RefusedError(self._state, f"the engine is {self._state}", max(5.0, loading_for))

    def refusal(self) -> RefusedError | None:
        if (unready := self._unready()) is not None:
            return unready
        if (waiting := self._waiting()) >= self._resources.queue:
            message = f"{waiting} jobs are waiting already, and no more than that may"
            return RefusedError("full", message, self._seconds_of_what_is_here())
        return None

    async def progress(self, ticket: str) -> AsyncIterator[Event]:
        found = self._tickets[ticket]
        try:
            async for _, event in found.feed.follow():
                yield event
                if isinstance(event, Started):
                    found.heard.set()
        finally:
            found.heard.set()
            del self._tickets[ticket]

    async def cancel(self, ticket: str, why: Cancelled) -> None:
        if (found := self._tickets.get(ticket)) is not None:
            found.stop.set()
            self._lanes[found.order.model].remove(found)
            found.feed.publish(why, last=True)

    def _seconds_of_what_is_here(self) -> float:
        here = [
            (lane.times, [one.order.all_pixels for one in (lane.running, *lane.waiting) if one])
            for lane in self._lanes.values()
        ]
        return sum(expected_seconds(times, jobs) for times, jobs in here)

    def _waiting(self) -> int:
        return sum(len(lane.waiting) for lane in self._lanes.values())

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, model: Model, lane: Lane) -> None:
        """One model's life: a job or a frame, and the next."""
        while (turn := await lane.next()) is not None:
            if isinstance(turn, Frame):
                await self._repaint_frame(model, lane, turn)
            else:
                await self._run_job(model, lane, turn)

    async def _run_job(self, model: Model, lane: Lane, ticket: Ticket) -> None:
        self._resources.metrics.wait.observe(time.monotonic() - ticket.queued_at)
        ticket.feed.publish(Started())
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ticket.heard.wait(), HEARD_SECONDS)
            order = ticket.order
            cost = self._cost(model, order)
            async with self.models.use(model.served.name, cost) as pipeline:
                check_memory(order, self._describe(model))  # one opened just now has a price
                try:
                    result = await self._run(model, lane, ticket, pipeline)
                finally:
                    if cost > LARGE * model.cost(model.served.side**2, 1):
                        await self._give_back(model, pipeline)
        except (UsageError, ImageError) as error:
            self._fail(ticket, "invalid_request", str(error), new_id(), elsewhere=False)
        except CancelledError:
            pass  # whoever asked for that has ended the feed already
        except Exception as error:
            await self._engine_failed(model, lane, ticket, error)
        else:
            lane.succeeded()
            if result is not None:
                self._keep(self._finish(ticket, result))
        finally:
            lane.running = None

    def _cost(self, model: Model, order: Order) -> int:
        """Bytes of the host's memory. Raises UsageError for more pixels than it can hold of a
        picture in tiles, whatever its engine computes at a time."""
        side, n = model.served.side, order.settings.pictures
        pixels, held = order.at_once((side, side)), 0
        if pixels < order.painted:
            held, budget = HELD * order.painted, self._resources.memory_budget
            if budget is not None and held > budget:
                raise UsageError(
                    f"size: there is memory for pictures of {budget // HELD} pixels in tiles here, "
                    f"got {order.painted}; ask for a smaller size"
                )
        return model.cost(pixels, n) + held

    async def _repaint_frame(self, model: Model, lane: Lane, frame: Frame) -> None:
        """Repaint the newest frame of a live run in the model's thread."""
        seconds = self._resources.job_seconds
        late = f"a frame took {seconds:g} seconds, which is as long as it may"
        try:
            async with self.models.use(model.served.name, model.cost(frame.pixels, 1)) as pipeline:
                loop = asyncio.get_running_loop()
                work = loop.run_in_executor(model.thread, frame.begin(), pipeline)
                await self._within_time(
                    lane, work, lambda: frame.fail(FrameError("timeout", late, new_id()))
                )
                frame.finish(work.result())
        except (UsageError, ImageError) as error:
            frame.fail(error)
        except Exception as error:
            error_id = note_error(error, f"the engine of {model.served.name} failed a frame")
            message = "the engine failed on this frame; the server's log says more"
            frame.fail(FrameError("engine_failed", message, error_id))
            if lane.failed():
                await model.close()  # the next job or frame opens it anew
        else:
            lane.succeeded()

    async def _within_time(
        self, lane: Lane, work: asyncio.Future[Any], late: Callable[[], None]
    ) -> bool:
        """Wait for `work`; whether it ended within the time of a job. `late` is called when not."""
        await asyncio.wait({work}, timeout=self._resources.job_seconds)
        if work.done():
            return True
        late()
        lane.stuck = True
        await asyncio.wait({work})
        lane.stuck = False
        return False

    async def _run(
        self, model: Model, lane: Lane, ticket: Ticket, pipeline: Pipeline
    ) -> Result | None:
        """Run the job in the model's thread; None where its time was up first."""
        loop = asyncio.get_running_loop()

        def tell(step: Step) -> None:
            loop.call_soon_threadsafe(ticket.feed.publish, step)

        work = loop.run_in_executor(
            model.thread, repaint, pipeline, ticket.order, ticket.stop, tell
        )

        def late() -> None:
            ticket.stop.set()
            most = self._resources.job_seconds
            message = f"the job ran for {most:g} seconds, which is as long as it may"
            self._fail(ticket, "timeout", message, new_id(), elsewhere=False)

        if await self._within_time(lane, work, late):
            result = work.result()
            model.device = result.device
            pixels = sum(image.width * image.height for image in result.images)
            measured = JobTimes.of(result.timings, pixels)
            lane.times = lane.times.then(measured) if lane.times else measured
            return result
        if (error := work.exception()) is not None:
            raise error
        return None

    async def _give_back(self, model: Model, pipeline: Pipeline) -> None:
        """What a large job took, engines hold until they run a small one."""
        loop, sides = asyncio.get_running_loop(), image_sides(model.served.manifest)
        try:
            await loop.run_in_executor(model.thread, paint_small, pipeline, sides)
        except Exception as error:
            note_error(error, f"the engine of {model.served.name} failed to give memory back")

    async def _finish(self, ticket: Ticket, result: Result) -> None:
        """Write the files beside the engine, which goes on with the next job meanwhile."""
        try:
            painted = await asyncio.to_thread(as_files, result)
        except Exception as error:
            error_id = note_error(error, "writing the pictures of a job failed")
            message = "the pictures could not be written"
            self._fail(ticket, "internal_error", message, error_id, elsewhere=False)
        else:
            ticket.feed.publish(painted, last=True)

    async def _engine_failed(
        self, model: Model, lane: Lane, ticket: Ticket, error: Exception
    ) -> None:
        error_id = note_error(error, f"the engine of {model.served.name} failed a job")
        order, native = ticket.order, model.served.side**2
        if is_out_of_memory(error) and order.pixels * order.settings.pictures > native:
            width, height = order.size
            message = (
                f"{order.settings.pictures} of {width}x{height} took more memory than there is; "
                "ask for a smaller size or for fewer pictures"
            )
            self._fail(ticket, "too_large", message, error_id, elsewhere=True)
            return
        message = "the engine failed while it ran this job; the server's log says more"
        self._fail(ticket, "engine_failed", message, error_id, elsewhere=True)
        if lane.failed():
            await model.close()  # the next job opens it anew

    def _fail(
        self, ticket: Ticket, code: str, message: str, error_id: str, *, elsewhere: bool
    ) -> None:
        failed = Failed(code=code, message=message, id=error_id, elsewhere=elsewhere)
        ticket.feed.publish(failed, last=True)
