"""The server-sent events of a streamed edit: partial images, and then the finished ones."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from PIL import Image

from overpaint.serve.http.problems import ApiError
from overpaint.serve.jobs.protocol import Cancelled, Failed, Step
from overpaint.serve.jobs.record import Complete, Job
from overpaint.serve.pictures.encode import convert, encoded
from overpaint.serve.state import State

from .form import EditForm

USAGE = {
    "total_tokens": 0,
    "input_tokens": 0,
    "output_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
}


async def events(state: State, job: Job, wanted: EditForm) -> AsyncIterator[bytes]:
    """`image_edit.partial_image` up to `partial_images` times, then `image_edit.completed` for
    each picture. If the client leaves, this is closed, and the job is cancelled."""
    try:
        shown = 0
        async for _, event in job.feed.follow():
            match event:
                case Step(index, total, preview) if preview is not None:
                    if shown < wanted.partial_images and _is_due(index, total, shown, wanted):
                        yield _message(await _partial(preview, shown, wanted))
                        shown += 1
                case Complete():
                    for media in event.media:
                        yield _message(await _completed(state, media, wanted))
                case Failed():
                    yield _failure(ApiError(500, event.code, event.message, error_id=event.id))
                case Cancelled(why):
                    yield _failure(ApiError(409, "cancelled", why))
    finally:
        if not job.feed.ended:
            leaving = asyncio.ensure_future(state.jobs.cancel(job.id, "its client went away"))
            await asyncio.shield(leaving)


def _is_due(index: int, total: int, shown: int, wanted: EditForm) -> bool:
    """Evenly over the steps: of two partial images, after a third and two thirds of them."""
    return index * (wanted.partial_images + 1) >= total * (shown + 1)


async def _partial(preview: bytes, index: int, wanted: EditForm) -> dict[str, Any]:
    image = Image.open(io.BytesIO(preview))
    data = await asyncio.to_thread(convert, image, wanted.output_format, 80)
    size = f"{image.width}x{image.height}"
    return _common(wanted, data, size) | {
        "type": "image_edit.partial_image",
        "partial_image_index": index,
    }


async def _completed(state: State, media: str, wanted: EditForm) -> dict[str, Any]:
    picture = await encoded(state.media, media, wanted.output_format, wanted.output_compression)
    size = f"{picture.size[0]}x{picture.size[1]}"
    return _common(wanted, picture.data, size) | {"type": "image_edit.completed", "usage": USAGE}


def _common(wanted: EditForm, data: bytes, size: str) -> dict[str, Any]:
    return {
        "b64_json": base64.b64encode(data).decode(),
        "created_at": int(time.time()),
        "size": size,
        "output_format": wanted.output_format,
        "background": "opaque",
        "quality": "auto",
    }


def _message(body: dict[str, Any]) -> bytes:
    return f"event: {body['type']}\ndata: {json.dumps(body)}\n\n".encode()


def _failure(problem: ApiError) -> bytes:
    error = {
        "message": problem.message,
        "type": "server_error",
        "param": None,
        "code": problem.code,
    }
    return f"event: error\ndata: {json.dumps({'error': error})}\n\n".encode()
