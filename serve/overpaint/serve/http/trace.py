"""The outermost layer: an id for each request, one log line, one count, and no traceback outside.

A log line holds the method, the route's template, the status, the time and the id: nothing that a
client wrote.
"""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from overpaint.serve.ids import new_id
from overpaint.serve.telemetry.journal import note_error
from overpaint.serve.telemetry.metrics import Metrics

from .guard import METHODS
from .problems import ApiError, Shapes

log = logging.getLogger("overpaint.serve.access")

QUIET = ("/healthz", "/readyz", "/metrics")  # asked for every few seconds by machines
HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"content-security-policy": (
        b"default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; "
        b"base-uri 'none'; form-action 'none'"
    ),
}


class Trace:
    """Also sets the security headers, and turns what nobody caught into a 500 with an id."""

    def __init__(self, app: ASGIApp, metrics: Metrics, shapes: Shapes) -> None:
        self._app = app
        self._metrics = metrics
        self._shapes = shapes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, started, status = new_id(), time.monotonic(), 0

        async def traced(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = {name for name, _ in message["headers"]}
                extra = [(name, value) for name, value in HEADERS.items() if name not in own]
                message["headers"] = [
                    *message["headers"],
                    *extra,
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        try:
            await self._app(scope, receive, traced)
        except Exception as error:
            error_id = note_error(error, "a request failed", request_id)
            if status == 0:
                broken = ApiError(500, "internal_error", "something broke here", error_id=error_id)
                await self._shapes.answer(scope["path"], broken)(scope, receive, traced)
        route = getattr(scope.get("route"), "path", "none")
        self._metrics.requests.labels(route, str(status)).inc()
        seconds = time.monotonic() - started
        level = logging.DEBUG if route in QUIET else logging.INFO
        method = scope["method"] if scope["method"] in METHODS else "other"
        log.log(level, "%s %s %s %.3fs %s", method, route, status, seconds, request_id)
