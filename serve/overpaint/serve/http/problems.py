"""What a client is told when something is wrong: one shape, whatever found it.

The native shape is {"error": {code, message, field, id}}; a face on the same server that speaks
another dialect registers its own for its own paths.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from starlette.responses import JSONResponse

from overpaint.bundle.errors import OverpaintError
from overpaint.serve.ids import new_id


class ApiError(OverpaintError):
    """An answer that is not a success. `code` is for programs, `message` for people."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        field: str | None = None,
        retry_after: float | None = None,
        headers: dict[str, str] | None = None,
        error_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.field = field
        self.id = error_id or new_id()
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(max(1, round(retry_after + 0.5)))


def invalid_request(error: Mapping[str, Any]) -> ApiError:
    """The 422 of the first thing that pydantic found, with the field's name."""
    path = [str(part) for part in error["loc"] if part != "body"]
    field = path[0] if path else None
    message = f"{'.'.join(path)}: {error['msg']}" if path else str(error["msg"])
    if error["type"] == "extra_forbidden":
        message = f"{field}: there is no such field"
    return ApiError(422, "invalid_request", message, field=field)


Shape: TypeAlias = Callable[[ApiError], tuple[int, Any]]


def native_shape(problem: ApiError) -> tuple[int, Any]:
    """(status, body) as the native API answers."""
    error = {
        "code": problem.code,
        "message": problem.message,
        "field": problem.field,
        "id": problem.id,
    }
    return problem.status, {"error": error}


@dataclass(slots=True)
class Shapes:
    """Which shape a path gets: the longest prefix wins, the native shape where none fits."""

    by_prefix: dict[str, Shape] = field(default_factory=dict)

    def answer(self, path: str, problem: ApiError) -> JSONResponse:
        prefixes = [prefix for prefix in self.by_prefix if path.startswith(prefix)]
        shape = self.by_prefix[max(prefixes, key=len)] if prefixes else native_shape
        status, body = shape(problem)
        return JSONResponse(body, status, problem.headers | {"X-Error-Id": problem.id})
