"""OpenAI's image edits: POST /v1/images/edits and GET /v1/models.

The prompt is run as it is: no mode, no preset, no style table, and what the client leaves out comes
from the bundle.
"""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from overpaint.bundle.errors import UsageError
from overpaint.serve.api.media import find_media
from overpaint.serve.api.orders import (
    expect_room,
    find_model,
    invalid,
    job_headers,
    place,
    result_of,
)
from overpaint.serve.http.forms import read_form
from overpaint.serve.http.links import signed
from overpaint.serve.http.problems import ApiError
from overpaint.serve.ids import new_id
from overpaint.serve.jobs.capabilities import ModelCapabilities
from overpaint.serve.jobs.record import Complete
from overpaint.serve.pictures.encode import encoded, media_type
from overpaint.serve.pictures.intake import Received
from overpaint.serve.state import State

from .form import EditForm, parse
from .stream import events

PREFIXES = ("/v1/images", "/v1/models")
FORM_FIELDS = 64
FORM_FILES = 16
PNG = b"\x89PNG\r\n\x1a\n"
TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
CODES = {"unauthorized": "invalid_api_key", "full": "rate_limit_exceeded"}


def shape(problem: ApiError) -> tuple[int, Any]:
    """(status, body) as OpenAI's clients know them: what is wrong with a request is a 400."""
    status = 400 if problem.status == 422 else problem.status
    kind = TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    error = {
        "message": problem.message,
        "type": kind,
        "param": problem.field,
        "code": CODES.get(problem.code, problem.code),
    }
    return status, {"error": error}


def routes(state: State) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.post("/v1/images/edits")
    async def edit(request: Request) -> Response:
        async with read_form(request, max_files=FORM_FILES, max_fields=FORM_FIELDS) as form:
            wanted, images, mask = parse(form)
            picture, *others = [await image.read() for image in images]
            masked = await mask.read() if mask else None
        expect_room(state, request)
        looks = False
        if others:
            found = await find_model(state, wanted.model)
            looks = found.looks_at_pictures
            if not looks and not found.references:
                message = (
                    f"expected one picture in the part `image`, got {len(images)}: {found.name} "
                    "has no adapter to see reference pictures with"
                )
                raise ApiError(400, "invalid_request", message, field="image")
        received = await state.sources.intake.receive(picture, "image")
        seen = tuple([(await state.sources.intake.receive(one, "image")).png for one in others])
        hidden = None if masked is None else await _mask(state, masked, received)
        try:
            settings = wanted.settings()
        except UsageError as error:
            raise invalid(error) from None
        job = await place(
            state,
            request,
            model=wanted.model,
            prompt=wanted.prompt,
            settings=settings,
            image=received.png,
            mask=hidden,
            references=((), ()) if looks else (seen, ()),
            looked_at=seen if looks else (),
            lora=wanted.lora,
        )
        if wanted.stream:
            stream = events(state, job, wanted)
            return StreamingResponse(
                stream, media_type="text/event-stream", headers=job_headers(job)
            )
        complete = await result_of(state, job, request)
        body = await _body(state, complete, wanted, str(request.base_url))
        return JSONResponse(body, headers=job_headers(job))

    @router.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [_model(one) for one in await state.jobs.capabilities()]}

    @router.get("/v1/models/{name}")
    async def model(name: str) -> dict[str, Any]:
        return _model(await find_model(state, name))

    @router.get("/v1/images/{media_id}.{kind}")
    async def file(media_id: str, kind: str) -> Response:
        """What response_format=url points to."""
        data = await find_media(state, media_id)
        if media_type(data) != f"image/{kind}":
            raise ApiError(404, "not_found", "there is no such picture")
        headers = {"Cache-Control": "private, no-store"}
        return Response(data, media_type=media_type(data), headers=headers)

    return router


async def _mask(state: State, data: bytes, image: Received) -> bytes:
    """OpenAI's rules: a PNG with transparency, of the image's size. Raises ApiError."""
    if not data.startswith(PNG):
        message = "mask: expected a PNG that is transparent where it is to be repainted"
        raise ApiError(400, "invalid_image", message, field="mask")
    received = await state.sources.intake.receive_mask(data, "mask", "transparent")
    if received.original != image.original:
        expected, got = ("{}x{}".format(*one.original) for one in (image, received))
        message = f"mask: expected the image's {expected} pixels, got {got}"
        raise ApiError(400, "invalid_image", message, field="mask")
    return received.png


async def _body(state: State, complete: Complete, wanted: EditForm, base: str) -> dict[str, Any]:
    data, size = [], (0, 0)
    for media in complete.media:
        picture = await encoded(state.media, media, wanted.output_format, wanted.output_compression)
        size = picture.size
        if wanted.response_format == "b64_json":
            data.append({"b64_json": base64.b64encode(picture.data).decode()})
        else:
            key = new_id()
            await asyncio.to_thread(state.media.put, key, picture.data)
            path = signed(f"/v1/images/{key}.{wanted.output_format}", state.config.token)
            data.append({"url": base.rstrip("/") + path})
    return {
        "created": int(time.time()),
        "data": data,
        "output_format": wanted.output_format,
        "size": f"{size[0]}x{size[1]}",
    }


def _model(model: ModelCapabilities) -> dict[str, Any]:
    return {"id": model.name, "object": "model", "created": 0, "owned_by": "overpaint"}
