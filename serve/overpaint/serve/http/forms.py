"""multipart/form-data, parsed in memory: the body's limits hold already, and no disk is needed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from .problems import ApiError


class InMemoryParser(MultiPartParser):
    """Starlette's parser writes parts of more than 1 MB to the disk; this one never does."""

    spool_max_size = 1 << 62


@asynccontextmanager
async def read_form(
    request: Request, *, max_files: int, max_fields: int
) -> AsyncIterator[FormData]:
    """The form of `request`. Raises ApiError 400 for what is no multipart body, 422 for no form."""
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        raise ApiError(422, "invalid_request", "expected a multipart/form-data body")
    parser = InMemoryParser(
        request.headers,
        request.stream(),
        max_files=max_files,
        max_fields=max_fields,
        max_part_size=64 * 1024,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise ApiError(400, "invalid_body", error.message) from None
    except Exception:  # a multipart parser may stumble over hostile bytes in any way
        raise ApiError(400, "invalid_body", "this is not a multipart body") from None
    try:
        yield form
    finally:
        await form.close()
