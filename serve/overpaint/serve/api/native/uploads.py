"""POST /v1/uploads: a picture, kept for a few minutes."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.datastructures import UploadFile

from overpaint.serve.http.forms import read_form
from overpaint.serve.http.problems import ApiError
from overpaint.serve.ids import new_id
from overpaint.serve.state import State

from .answers import problems
from .views import Area, UploadView

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}


def routes(state: State) -> APIRouter:
    router = APIRouter(tags=["uploads"])

    @router.post(
        "/v1/uploads",
        status_code=201,
        response_model=UploadView,
        responses=problems(400, 408, 413, 415, 422, 503),
        openapi_extra=BODY,
    )
    async def upload(request: Request) -> UploadView:
        """PNG, JPEG or WEBP up to 10 MB and 16 MP; comes back upright, at most 1024x1024,
        and as transparent as it was."""
        async with read_form(request, max_files=1, max_fields=8) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                message = "expected multipart/form-data with the picture in the part `file`"
                raise ApiError(422, "invalid_request", message, field="file")
            data = await file.read()
        received = await state.sources.intake.receive(data, "file")
        key = new_id()
        expires_at = state.uploads.put(key, received.png)
        return UploadView(
            id=key,
            width=received.size[0],
            height=received.size[1],
            original=Area(width=received.original[0], height=received.original[1]),
            expires_at=expires_at,
        )

    return router
