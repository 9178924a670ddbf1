"""A request's body, whole and within its limits, before any parser sees a byte of it.

Bytes are counted as they arrive. A body that is too large, too slow, or one too many is refused
here; what all bodies hold together is counted until their requests are answered, for handlers keep
them that long. Whoever sent a body that is refused gets a moment to finish, so that the answer is
read and not lost in a reset.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from overpaint.serve.http.limits import Limits

from .problems import ApiError, Shapes

PIECE = 1 << 20
LISTEN_ON_SECONDS = 2.0
LISTEN_ON_BYTES = 64_000_000


class ClientLeftError(Exception):
    """The connection closed before the body had arrived."""


class BodyLimit:
    """`limit_of` gives the most bytes that a path takes."""

    def __init__(
        self, app: ASGIApp, limits: Limits, limit_of: Callable[[str], int], shapes: Shapes
    ) -> None:
        self._app = app
        self._limits = limits
        self._limit_of = limit_of
        self._shapes = shapes
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        body = bytearray()

        def release() -> None:
            self._held -= len(body)
            body.clear()

        try:
            async with asyncio.timeout(self._limits.body_seconds):
                await self._collect(scope, receive, body)
                size = len(body)
        except ClientLeftError:
            release()
        except TimeoutError:
            release()
            seconds = self._limits.body_seconds
            message = f"expected the whole request within {seconds:g} seconds"
            await self._refuse(scope, receive, send, ApiError(408, "too_slow", message))
        except ApiError as problem:
            release()
            if "expect" not in Headers(scope=scope):  # who asks first has not begun to send
                await _listen_on(receive)
            await self._refuse(scope, receive, send, problem)
        else:
            try:
                await self._app(scope, _replay(body, receive), send)
            finally:
                self._held -= size

    async def _collect(self, scope: Scope, receive: Receive, body: bytearray) -> None:
        limit = self._limit_of(scope["path"])
        too_large = ApiError(413, "too_large", f"expected {limit} bytes or fewer in this request")
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > limit:
            raise too_large
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientLeftError
            chunk = message.get("body", b"")
            if len(body) + len(chunk) > limit:
                raise too_large
            if self._held + len(chunk) > self._limits.bodies_at_once:
                busy = "many large requests are arriving at once; try again in a moment"
                raise ApiError(503, "busy", busy, retry_after=1)
            body += chunk
            self._held += len(chunk)
            more = message.get("more_body", False)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, problem: ApiError) -> None:
        problem.headers["Connection"] = "close"
        await self._shapes.answer(scope["path"], problem)(scope, receive, send)


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "content-length" in headers or "transfer-encoding" in headers


def _replay(body: bytearray, receive: Receive) -> Receive:
    """The collected body in pieces, each let go of here as it is handed on; after that whatever
    comes, which is the disconnect."""
    ended = False

    async def replay() -> Message:
        nonlocal ended
        if ended:
            return await receive()
        piece = bytes(body[:PIECE])
        del body[:PIECE]
        ended = not body
        return {"type": "http.request", "body": piece, "more_body": not ended}

    return replay


async def _listen_on(receive: Receive) -> None:
    """Let the client finish what it is sending, within reason, and throw it away."""
    size, more = 0, True
    try:
        async with asyncio.timeout(LISTEN_ON_SECONDS):
            while more and size < LISTEN_ON_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                more = message.get("more_body", False)
    except TimeoutError:
        return
