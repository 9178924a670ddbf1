"""Who may call: the Host allowlist, the same origin, the token. HTTP and WebSockets alike.

- A page on another site may make its visitor's browser call this server. Its Origin differs from
  the Host it calls: refused. There is no CORS.
- DNS rebinding makes both the same, but then the Host is a name that this server does not go by:
  refused.
- The token is compared in constant time. Browsers cannot send it with a WebSocket other than as a
  subprotocol: `bearer.` and the token in unpadded base64url.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Callable, Collection
from hmac import compare_digest
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from .links import is_signed
from .problems import ApiError, Shapes

SUBPROTOCOL = "overpaint.v1"
SIGNED = "/v1/images/"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Guard:
    """Refuses before anything of a request but its head was read.

    `host` is the bound one, `names` are others by which clients may call; `token` None asks for
    none, and `open_paths` never ask for it.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        names: Collection[str],
        token: str | None,
        head_bytes: int,
        open_paths: Collection[str],
        shapes: Shapes,
    ) -> None:
        self._app = app
        self._shapes = shapes
        self._host_allowed = allowed_host(host, names)
        self._token = token.encode() if token else None
        self._head_bytes = head_bytes
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        problem = self._problem(scope)
        if problem is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose(1008, problem.code)(scope, receive, send)  # before accepting: 403
        else:
            await self._shapes.answer(scope["path"], problem)(scope, receive, send)

    def _problem(self, scope: Scope) -> ApiError | None:
        if (problem := _too_much(scope, self._head_bytes)) is not None:
            return problem
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._host_allowed(hosts[0]):
            message = "this server does not go by that name; start it with --allow-host NAME"
            return ApiError(421, "host_not_allowed", message)
        if not _same_origin(headers, hosts[0], scope):
            return ApiError(403, "cross_origin", "pages of other sites may not call this server")
        if self._token is None or scope["path"] in self._open_paths:
            return None
        if scope["path"].startswith(SIGNED) and is_signed(
            scope["path"], scope.get("query_string", b""), self._token
        ):
            return None
        if not any(compare_digest(self._token, one) for one in _tokens(headers)):
            challenge = {"WWW-Authenticate": 'Bearer realm="overpaint"'}
            message = "expected the server's token: Authorization: Bearer TOKEN"
            return ApiError(401, "unauthorized", message, headers=challenge)
        return None


def allowed_host(host: str, names: Collection[str]) -> Callable[[str], bool]:
    """Whether a Host header names this server, which is bound to `host` and goes by `names` too.
    An address cannot be rebound as a name can, so a server on all interfaces may be called by any.
    """
    known = {name.lower() for name in (*names, host)} | {"localhost", "127.0.0.1", "::1"}
    any_address = host in ("0.0.0.0", "::")

    def allowed(header: str) -> bool:
        try:
            name = (urlsplit(f"//{header}").hostname or "").lower().rstrip(".")
            urlsplit(f"//{header}").port  # noqa: B018 -- raises ValueError for a wrong one
        except ValueError:
            return False
        return name in known or (any_address and _is_address(name))

    return allowed


def _too_much(scope: Scope, head_bytes: int) -> ApiError | None:
    if scope.get("method", "GET") not in METHODS:
        return ApiError(405, "method_not_allowed", "there is no such method here")
    size = sum(len(name) + len(value) for name, value in scope["headers"])
    if size + len(scope.get("raw_path") or b"") + len(scope.get("query_string", b"")) > head_bytes:
        message = f"expected a request's head of {head_bytes} bytes or fewer"
        return ApiError(431, "head_too_large", message, headers={"Connection": "close"})
    return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _same_origin(headers: Headers, host: str, scope: Scope) -> bool:
    origins = headers.getlist("origin")
    if origins:
        return len(origins) == 1 and origins[0].partition("://")[2].lower() == host.lower()
    if headers.get("sec-fetch-site", "none") not in ("cross-site", "same-site"):
        return True
    # A link on another site may lead here; only to be looked at.
    visit = headers.get("sec-fetch-mode") == "navigate" and scope.get("method") == "GET"
    return visit and headers.get("sec-fetch-dest") == "document"


def _tokens(headers: Headers) -> list[bytes]:
    """Every token that the client presents."""
    found = []
    kind, _, value = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        found.append(value.strip().encode())
    elif kind.lower() == "basic":  # AUTOMATIC1111's clients: any user, the token as password
        found.append(_decoded(value.strip(), base64.b64decode).partition(b":")[2])
    for offered in headers.get("sec-websocket-protocol", "").split(","):
        if (protocol := offered.strip()).startswith("bearer."):
            padded = protocol.removeprefix("bearer.") + "=="
            found.append(_decoded(padded, base64.urlsafe_b64decode))
    return found


def _decoded(text: str, decode: Callable[[str], bytes]) -> bytes:
    try:
        return decode(text)
    except (binascii.Error, ValueError):
        return b""
