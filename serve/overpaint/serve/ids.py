"""Opaque ids, for all that a client may name: uploads, jobs, pictures, errors."""

from __future__ import annotations

import re
import secrets

_ID = re.compile(r"[A-Za-z0-9_-]{22}")


def new_id() -> str:
    """128 random bits, as text that is safe in a URL and as a file's name."""
    return secrets.token_urlsafe(16)


def is_id(text: str) -> bool:
    """Whether `text` has the form of what `new_id` gives."""
    return _ID.fullmatch(text) is not None
