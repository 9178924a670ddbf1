"""The native API: uploads, jobs, events, media, and what there is to know about the server."""

from __future__ import annotations

from fastapi import APIRouter

from overpaint.serve.state import State

from . import about, events, infotext, jobs, live, media, uploads


def native_router(state: State) -> APIRouter:
    """All native routes of one server."""
    router = APIRouter()
    for part in (uploads, jobs, events, live, media, infotext, about):
        router.include_router(part.routes(state))
    return router
