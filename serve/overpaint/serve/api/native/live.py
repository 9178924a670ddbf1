"""WS /v1/live: frames in, repainted frames out, for as long as a client draws.

The first message is JSON and says what frames become; the answer is `ready`. After that each binary
message is a frame, and each binary answer its picture, with a `picture` line before it that says
whose. JSON changes prompt, strength and LoRAs' weights at any time. Nothing queues: the newest
frame takes the place of one that waits, which is counted. What is wrong is one `error` line, and
the session goes on.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from PIL import Image
from pydantic import BaseModel, ValidationError

from overpaint.bundle.errors import ImageError, UsageError
from overpaint.runtime.resolved import random_seed
from overpaint.serve.api.orders import check_loras, find_model, invalid
from overpaint.serve.http.guard import SUBPROTOCOL
from overpaint.serve.http.problems import ApiError, invalid_request
from overpaint.serve.http.strict_json import loads
from overpaint.serve.ids import new_id
from overpaint.serve.jobs.capabilities import ModelCapabilities
from overpaint.serve.jobs.protocol import FrameError, LiveRun, Order, RefusedError, check_memory
from overpaint.serve.jobs.service import NoProviderError
from overpaint.serve.pictures.encode import convert
from overpaint.serve.state import State
from overpaint.serve.telemetry.journal import note_error

from .newest import Newest
from .schema import LiveChange, LiveRequest

PATH = "/v1/live"
QUALITY = 90
GOING_AWAY, BROKEN = 1001, 1011
IDLE, FULL, UNAVAILABLE = 4408, 4429, 4503

Message = TypeVar("Message", bound=BaseModel)


class EndError(Exception):
    """The session ends with this close code, and says why."""

    def __init__(self, close: int, code: str, message: str) -> None:
        super().__init__(message)
        self.close, self.code, self.message = close, code, message


@dataclass(frozen=True, slots=True)
class Frame:
    """The client's `number`th. `data` is its file: at first the client's, then our PNG of it."""

    number: int
    arrived: float
    data: bytes


def routes(state: State) -> APIRouter:
    router = APIRouter()

    @router.websocket(PATH)
    async def live(socket: WebSocket) -> None:
        offered = socket.scope["subprotocols"]
        await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        try:
            await _admitted(socket, state)
        except WebSocketDisconnect:
            pass
        except EndError as end:
            await _end(socket, end, new_id())
        except Exception as error:
            error_id = note_error(error, "a live session failed")
            await _end(socket, EndError(BROKEN, "internal_error", "something broke here"), error_id)

    return router


async def _end(socket: WebSocket, end: EndError, error_id: str) -> None:
    try:
        await socket.send_json(_error(end.code, end.message, error_id))
        await socket.close(end.close, end.code)
    except (WebSocketDisconnect, RuntimeError):
        return  # it has gone


async def _admitted(socket: WebSocket, state: State) -> None:
    """The session, if there is room for one more."""
    most = state.config.live_sessions
    if state.draining:
        raise EndError(GOING_AWAY, "draining", "the server is shutting down")
    if state.live >= most:
        message = f"no more than {most} may draw live here at once"
        raise EndError(FULL, "full", message)
    state.live += 1
    state.metrics.live.set(state.live)
    try:
        await Session(socket, state).run()
    finally:
        state.live -= 1
        state.metrics.live.set(state.live)


class Session:
    """One client. Three loops: what it says is heard, its frames are read, and the newest of them
    is repainted; each waits for the one before, and a frame for nothing but its turn."""

    def __init__(self, socket: WebSocket, state: State) -> None:
        self._socket, self._state = socket, state
        self._sent: Newest[Frame] = Newest()
        self._read: Newest[Frame] = Newest()
        self._heard = self._answered = 0  # the last frame that came, and that was answered for
        self._answered_at = 0.0

    async def run(self) -> None:
        """Until the client goes, is idle, or the server shuts down. Raises WebSocketDisconnect and
        EndError for that."""
        asked, model, order = await self._begun()
        try:
            run = self._state.jobs.begin_live(order)
        except NoProviderError as nobody:
            raise EndError(UNAVAILABLE, nobody.reason, str(nobody)) from None
        width, height = order.settings.size or (0, 0)
        await self._say(
            type="ready",
            model=order.model,
            size=f"{width}x{height}",
            seed=order.settings.seed,
            format=asked.format,
        )
        loops = (
            self._hear(order, model, run),
            self._read_frames(),
            self._repaint(run, asked.format),
        )
        tasks = [asyncio.ensure_future(one) for one in (*loops, self._state.leaving.wait())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()
        raise EndError(GOING_AWAY, "draining", "the server is shutting down")

    async def _begun(self) -> tuple[LiveRequest, ModelCapabilities, Order]:
        """The first message that says what frames become, and of which model."""
        while True:
            message = await self._next()
            try:
                if message.get("text") is None:
                    wanted = "expected JSON first, with the prompt, and frames after it"
                    raise ApiError(422, "invalid_request", wanted)
                asked = _parsed(LiveRequest, message["text"])
                model = await find_model(self._state, asked.model)
                return asked, model, _order(asked, model)
            except NoProviderError as nobody:
                raise EndError(UNAVAILABLE, nobody.reason, str(nobody)) from None
            except ApiError as problem:
                await self._tell(problem)

    async def _hear(self, order: Order, model: ModelCapabilities, run: LiveRun) -> None:
        while True:
            message = await self._next()
            if message.get("text") is None:
                self._heard += 1
                if self._sent.put(Frame(self._heard, time.monotonic(), message["bytes"])):
                    self._state.metrics.frames.labels("dropped").inc()
                continue
            try:
                order = _changed(order, _parsed(LiveChange, message["text"]), model)
            except ApiError as problem:
                await self._tell(problem)
                continue
            run.ask(order)

    async def _read_frames(self) -> None:
        """Frames as pictures, bounded as an upload is."""
        while True:
            await self._sent.wait()
            frame = self._sent.take()
            try:
                received = await self._state.sources.intake.receive(frame.data, "frame")
            except ApiError as problem:
                await self._tell(problem, frame)
                continue
            if self._read.put(replace(frame, data=received.png)):
                self._state.metrics.frames.labels("dropped").inc()

    async def _repaint(self, run: LiveRun, kind: str) -> None:
        while True:
            await self._read.wait()
            frame: Frame | None = None

            def latest() -> bytes:
                nonlocal frame
                frame = self._read.take()
                return frame.data

            try:
                picture = await run.repaint(latest)
            except (UsageError, ImageError) as error:
                await self._tell(invalid(UsageError(str(error))), frame or self._read.take())
            except FrameError as error:
                problem = ApiError(500, error.code, str(error), error_id=error.id)
                await self._tell(problem, frame or self._read.take())
            except RefusedError as refused:
                raise EndError(UNAVAILABLE, refused.reason, str(refused)) from None
            else:
                assert frame is not None
                await self._show(picture, frame, kind)

    async def _show(self, picture: Image.Image, frame: Frame, kind: str) -> None:
        file = await asyncio.to_thread(convert, picture, kind, QUALITY)
        seconds = time.monotonic() - frame.arrived
        self._state.metrics.frames.labels("repainted").inc()
        self._state.metrics.frame_seconds.observe(seconds)
        await self._say(
            type="picture",
            frame=frame.number,
            dropped=self._sent.dropped + self._read.dropped,
            seconds=round(seconds, 4),
        )
        await self._socket.send_bytes(file)
        self._answer(frame)

    async def _next(self) -> dict[str, Any]:
        """What the client says next. Raises WebSocketDisconnect, and EndError where it is idle: it
        may wait for its picture as long as that takes."""
        seconds = self._state.config.limits.live_idle_seconds
        while True:
            try:
                message = await asyncio.wait_for(self._socket.receive(), seconds)
            except TimeoutError:
                owed = self._heard > self._answered
                if owed or time.monotonic() - self._answered_at < seconds:
                    continue
                raise EndError(IDLE, "idle", f"nothing came for {seconds:g} seconds") from None
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message["code"])
            return dict(message)

    def _answer(self, frame: Frame) -> None:
        self._answered = max(self._answered, frame.number)
        self._answered_at = time.monotonic()

    async def _tell(self, problem: ApiError, frame: Frame | None = None) -> None:
        """An error line; with the frame that it costs, if any."""
        number = {} if frame is None else {"frame": frame.number}
        if frame is not None:
            self._state.metrics.frames.labels("failed").inc()
        await self._say(**_error(problem.code, problem.message, problem.id), **number)
        if frame is not None:
            self._answer(frame)

    async def _say(self, **message: Any) -> None:
        await self._socket.send_text(json.dumps(message))


def _error(code: str, message: str, error_id: str) -> dict[str, Any]:
    return {"type": "error", "code": code, "message": message, "id": error_id}


def _parsed(kind: type[Message], text: str) -> Message:
    """Raises ApiError for what is no JSON, or not of that kind."""
    try:
        return kind.model_validate(loads(text))
    except ValidationError as error:
        raise invalid_request(error.errors()[0]) from None
    except ValueError:
        raise ApiError(400, "invalid_body", "this is not JSON") from None


def _order(asked: LiveRequest, model: ModelCapabilities) -> Order:
    """What frames become, size and seed decided. Raises ApiError 422 for what `model` cannot do."""
    try:
        said = asked.settings()
        seed = random_seed() if said.seed is None else said.seed
        size = said.size or model.native
        order = Order(
            model=model.name,
            prompt=asked.prompt,
            settings=replace(said, seed=seed, size=size),
            lora=asked.lora or {},
        )
        check_loras(order, model)
        if said.sampler is not None and said.sampler not in model.samplers:
            known = ", ".join(model.samplers)
            raise UsageError(
                f"sampler: {said.sampler} does not run {model.name}; choose from {known}"
            )
        model.sides.check(size)
        check_memory(order, model)
    except UsageError as error:
        raise invalid(error) from None
    return order


def _changed(order: Order, change: LiveChange, model: ModelCapabilities) -> Order:
    """What frames become from now on. Raises ApiError 422 for a LoRA that is not the model's."""
    strength = order.settings.strength if change.strength is None else change.strength
    changed = replace(
        order,
        prompt=order.prompt if change.prompt is None else change.prompt,
        settings=replace(order.settings, strength=strength),
        lora=order.lora if change.lora is None else change.lora,
    )
    try:
        check_loras(changed, model)
    except UsageError as error:
        raise invalid(error) from None
    return changed
