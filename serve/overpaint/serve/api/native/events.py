"""WS /v1/jobs/{id}/events: what happens to a job, as it happens.

Each message has a number `seq`; a client that comes back says `?after=` the last one it saw. Only
the newest event is kept, so a slow client misses steps, never the end, and costs no memory.
`?seeds_as=string` means here what it means of a job.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from overpaint.serve.http.guard import SUBPROTOCOL
from overpaint.serve.jobs.protocol import Cancelled, Failed, Queued, Started, Step
from overpaint.serve.jobs.record import Complete, Job, JobEvent
from overpaint.serve.jobs.service import RESTARTED, LostError
from overpaint.serve.state import State
from overpaint.serve.store.kept import GoneError, UnknownKeyError

from .seeds import with_seeds_as

NOT_FOUND = 4404
GOING_AWAY = 1001


def routes(state: State) -> APIRouter:
    router = APIRouter()

    @router.websocket("/v1/jobs/{job_id}/events")
    async def events(socket: WebSocket, job_id: str) -> None:
        offered = socket.scope["subprotocols"]
        await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        after = socket.query_params.get("after", "0")
        seeds_as = socket.query_params.get("seeds_as", "number")
        with contextlib.suppress(WebSocketDisconnect):
            if (job := state.jobs.live(job_id)) is not None:
                await _until_gone(socket, _send(socket, job, _number(after), seeds_as))
            else:
                await _send_kept(socket, state, job_id, seeds_as)

    return router


async def _until_gone(socket: WebSocket, sending: Any) -> None:
    """Send until the end, or until the client has gone; what it says is not listened to."""
    send = asyncio.ensure_future(sending)
    listen = asyncio.ensure_future(_listen(socket))
    try:
        done, _ = await asyncio.wait({send, listen}, return_when=asyncio.FIRST_COMPLETED)
        if send in done:
            await send
    finally:
        for task in (send, listen):
            task.cancel()
        await asyncio.gather(send, listen, return_exceptions=True)


async def _listen(socket: WebSocket) -> None:
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def _send(socket: WebSocket, job: Job, after: int, seeds_as: str) -> None:
    shown: bytes | None = None
    async for number, event in job.feed.follow(after):
        body = with_seeds_as(message(event, shown), seeds_as)
        if isinstance(event, Step):
            shown = event.preview
        await socket.send_json({"seq": number, **body})
    await socket.close()


async def _send_kept(socket: WebSocket, state: State, job_id: str, seeds_as: str) -> None:
    """The last event of a job that has ended, or why there is none."""
    try:
        view = await state.jobs.view(job_id)
    except (GoneError, UnknownKeyError, LostError) as error:
        code, text = "not_found", "there is no such job"
        if isinstance(error, GoneError):
            code, text = "gone", "this job ended long ago"
        elif isinstance(error, LostError):
            code, text = RESTARTED, str(error)
        await socket.send_json(
            {"seq": 0, "type": "error", "code": code, "message": text, "id": None}
        )
        await socket.close(NOT_FOUND, code)
        return
    if view["result"] is not None:
        result = view["result"]
        ended = {"type": "complete", "media": result["media"], "seeds": result["seeds"]}
        body = with_seeds_as(ended, seeds_as)
    else:
        body = {"type": "error", **(view["error"] or {})}
    await socket.send_json({"seq": 0, **body})
    await socket.close()


def message(event: JobEvent, shown: bytes | None) -> dict[str, Any]:
    """`event` for the client. A preview that it was `shown` is not sent again."""
    match event:
        case Queued(position):
            return {"type": "queued", "position": position}
        case Started():
            return {"type": "started"}
        case Step(index, total, preview):
            body: dict[str, Any] = {"type": "step", "index": index, "total": total}
            if preview is not None and preview is not shown:
                jpeg = base64.b64encode(preview).decode()
                body["preview"] = f"data:image/jpeg;base64,{jpeg}"
            return body
        case Complete():
            seeds = list(event.painted.seeds)
            return {"type": "complete", "media": list(event.media), "seeds": seeds}
        case Failed():
            return {"type": "error", "code": event.code, "message": event.message, "id": event.id}
        case Cancelled(why):
            return {"type": "error", "code": "cancelled", "message": why, "id": None}


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 10 else 0
