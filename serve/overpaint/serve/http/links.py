"""Links that can be fetched without the token: signed with it, for one path each."""

from __future__ import annotations

import base64
import hashlib
import hmac
from urllib.parse import parse_qs

PARAMETER = "signature"


def signed(path: str, token: str | None) -> str:
    """`path` with its signature, where a token guards it."""
    return f"{path}?{PARAMETER}={_signature(path, token.encode())}" if token else path


def is_signed(path: str, query: bytes, token: bytes) -> bool:
    """Whether `query` holds the signature of `path`."""
    offered = parse_qs(query.decode("latin-1")).get(PARAMETER, [])
    wanted = _signature(path, token).encode()
    return any(hmac.compare_digest(wanted, one.encode()) for one in offered)


def _signature(path: str, token: bytes) -> str:
    digest = hmac.digest(token, b"overpaint link " + path.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
