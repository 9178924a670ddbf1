"""GET /v1/media/{id}.png: a finished picture, its parameters in the PNG's text."""

from __future__ import annotations

from fastapi import APIRouter, Response

from overpaint.serve.api.media import find_media
from overpaint.serve.pictures.encode import media_type
from overpaint.serve.state import State

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
        png = await find_media(state, media_id)
        headers = {"Cache-Control": "private, no-store", "Content-Disposition": "inline"}
        return Response(png, media_type=media_type(png), headers=headers)

    return router
