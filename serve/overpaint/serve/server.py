"""The process: a socket, patience with limits, and an orderly end.

The first SIGTERM or Ctrl+C makes the server unready: new jobs are refused, those that are here
finish or are cancelled at the deadline, and results can be fetched meanwhile. A second signal ends
the process at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from types import FrameType
from typing import cast

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from overpaint.bundle.errors import UsageError
from overpaint.serve.api.native.live import PATH as LIVE_PATH
from overpaint.serve.http.clients import Share
from overpaint.serve.telemetry.journal import describe

from .config import Config
from .state import State

log = logging.getLogger("overpaint.serve")
FETCH_SECONDS = 3.0
CLOSE_SECONDS = 5
CONNECTIONS = 512
LOOKS = 10  # in the time after which a connection is dropped


def run(app: FastAPI, config: Config) -> int:
    """Serve until a signal; returns the exit code. Raises UsageError where the port is taken."""
    listener = bind(config.host, config.port)
    state: State = app.state.server
    server = Server(uvicorn_config(app, config), state)
    log.info("listening on %s", url_of(listener))
    server.run(sockets=[listener])
    if state.broken is not None:
        print(f"overpaint: {describe(state.broken)}", file=sys.stderr)  # noqa: T201
        return 1
    if state.hanging:
        log.error("a step did not return; leaving without it")
        os._exit(1)  # its thread would keep the process for ever
    return 0


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host} port {port}: {error.strerror or error}; choose another --port"
        ) from None


def url_of(listener: socket.socket) -> str:
    """http://host:port, as somebody on this machine would type it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """uvicorn's server, which stops listening at once on a signal; this one drains first."""

    def __init__(self, config: uvicorn.Config, state: State) -> None:
        super().__init__(config)
        self._state = state
        self._draining: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    async def on_tick(self, counter: int) -> bool:
        if self._state.broken is not None:
            return True
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._state.draining or self._loop is None:
            os._exit(128 + sig)
        self._state.draining = True
        # Nothing is logged here: a signal that interrupts a line being written may write none.
        self._loop.call_soon_threadsafe(self._start_draining, signal.Signals(sig))

    def _start_draining(self, sig: signal.Signals) -> None:
        log.info("%s: draining, a second one ends at once", sig.name)
        self._draining = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        try:
            if await self._state.drain():
                await asyncio.sleep(FETCH_SECONDS)  # for clients that ask now and then
        finally:
            self.should_exit = True


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, which waits for ever for a request's head, and for a client that does not
    read its answer; this one does not. An address has its `share` of connections."""

    head_seconds = 10.0
    write_seconds = 30.0
    share = Share(CONNECTIONS)
    _deadline: asyncio.TimerHandle | None = None
    _address: str | None = None
    _counted = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._address = self.client[0] if self.client else None
        self._counted = self.share.take(self._address)
        if self._counted:
            drop_when_unread(self.loop, transport, self.write_seconds)
            self._wait_for_head()
        else:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._wait_for_head()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        if self._counted:
            self._counted = False
            self.share.give_back(self._address)
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.head_seconds, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def drop_when_unread(
    loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, seconds: float
) -> None:
    """Drop the connection, and what is to be sent over it, once that has not become less for so
    long: whatever protocol speaks there, and when it is being closed already."""
    before, since = 0, loop.time()

    def look() -> None:
        nonlocal before, since
        size = transport.get_write_buffer_size()
        if size == 0 and transport.is_closing():
            return
        if size == 0 or size < before:
            since = loop.time()
        elif loop.time() - since >= seconds:
            transport.abort()
            return
        before = size
        loop.call_later(seconds / LOOKS, look)

    look()


class MeasuredSockets(WebSocketsSansIOProtocol):
    """uvicorn's WebSockets, on which a message may be as large as its path has it: only live
    sessions are sent anything."""

    frame_bytes = 0

    def handle_connect(self, event: Request) -> None:
        if event.path.partition("?")[0] == LIVE_PATH:
            self.conn.max_message_size = self.frame_bytes
        super().handle_connect(event)


def uvicorn_config(app: FastAPI, config: Config) -> uvicorn.Config:
    """A body may be slow or large only within limits; nothing of a request is logged."""
    state: State = app.state.server
    limits = config.limits
    own = {
        "head_seconds": limits.header_seconds,
        "write_seconds": limits.write_seconds,
        "share": state.connections,
    }
    patient = type("Patient", (PatientProtocol,), own)
    return uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", patient),
        ws=type("Measured", (MeasuredSockets,), {"frame_bytes": limits.frame_bytes}),
        ws_max_size=4096,  # nothing is expected from that side
        ws_per_message_deflate=False,  # pictures are compressed already
        lifespan="on",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        limit_concurrency=CONNECTIONS,
        h11_max_incomplete_event_size=limits.head_bytes,
        timeout_graceful_shutdown=CLOSE_SECONDS,
    )
