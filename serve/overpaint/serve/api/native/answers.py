"""The answers that the schema promises beside the successful one."""

from __future__ import annotations

from typing import Any

from .views import ProblemView

MEANINGS = {
    400: "the body cannot be parsed",
    401: "the token is missing or wrong",
    403: "the call came from a page of another site",
    404: "there is no such thing",
    408: "the body arrived too slowly",
    410: "its time is over",
    413: "too large",
    415: "not a PNG, JPEG or WEBP picture",
    421: "the Host header does not name this server",
    422: "a value is wrong; `field` names it",
    429: "the queue is full; Retry-After says when to come back",
    503: "loading, draining or not well; Retry-After says when to come back",
}
ALWAYS = (401, 403, 421)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these."""
    return {
        status: {"model": ProblemView, "description": MEANINGS[status]}
        for status in (*statuses, *ALWAYS)
    }
