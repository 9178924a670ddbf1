"""JSON as its standard has it: Python's own reads NaN, and text that cannot be written again.

A face that answers with what it was asked must be able to say it: `"\\ud800"` is half a character.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute

DEEPEST: Final = 64  # of what was found in a file


def loads(text: str | bytes) -> Any:
    """Raises ValueError for what is no JSON, or cannot be written as such again."""
    try:
        value = json.loads(text, parse_constant=_refuse)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def loads_shallow(text: str) -> Any:
    """`loads`, of 64 levels at most."""
    value = loads(text)
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for one in level
            if isinstance(one, (dict, list))
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
    if level:
        raise ValueError("nested too deeply")
    return value


class StrictRoute(APIRoute):
    """A route whose JSON bodies are strict; 400 for others."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return strict


class _StrictRequest(Request):
    async def json(self) -> Any:
        try:
            return loads(await self.body())
        except json.JSONDecodeError:
            raise
        except ValueError as error:
            message = f"this is not JSON: {_plain(error)}"
            raise HTTPException(400, message) from None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number")


def _plain(error: ValueError) -> str:
    return "half a character" if isinstance(error, UnicodeError) else str(error)
