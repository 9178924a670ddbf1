"""A finished picture's bytes, or the problem that says where it went; every API serves them."""

from __future__ import annotations

import asyncio

from overpaint.serve.http.problems import ApiError
from overpaint.serve.state import State
from overpaint.serve.store.kept import GoneError, UnknownKeyError


async def find_media(state: State, media_id: str) -> bytes:
    """The file kept as `media_id`. Raises ApiError: 410 after its time, 404 for what never was."""
    try:
        return await asyncio.to_thread(state.media.get, media_id)
    except GoneError:
        raise ApiError(410, "gone", "this picture's time is over") from None
    except UnknownKeyError:
        raise ApiError(404, "not_found", "there is no such picture") from None
