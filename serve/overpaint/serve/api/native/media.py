"""GET /v1/media/{id}.png: a finished picture, its parameters in the PNG's text."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Response

from overpaint.serve.http.problems import ApiError
from overpaint.serve.pictures.encode import media_type
from overpaint.serve.state import State
from overpaint.serve.store.kept import GoneError, UnknownKeyError

from .answers import problems


def routes(state: State) -> APIRouter:
    router = APIRouter(tags=["media"])
    binary = {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}

    @router.get(
        "/v1/media/{media_id}.png",
        response_class=Response,
        responses={200: binary, **problems(404, 410)},
    )
    async def media(media_id: str) -> Response:
        try:
            png = await asyncio.to_thread(state.media.get, media_id)
        except GoneError:
            raise ApiError(410, "gone", "this picture's time is over") from None
        except UnknownKeyError:
            raise ApiError(404, "not_found", "there is no such picture") from None
        headers = {"Cache-Control": "private, no-store", "Content-Disposition": "inline"}
        return Response(png, media_type=media_type(png), headers=headers)

    return router
