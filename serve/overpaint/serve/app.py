"""The application: the job service, its faces, and the layers in front of them.

From the outside in: Trace (an id, a log line), Guard (host, origin, token), BodyLimit (size, time),
the routes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import JSONResponse

from overpaint.serve.api.automatic1111 import routes as automatic1111
from overpaint.serve.api.native import native_router
from overpaint.serve.api.openai import routes as openai
from overpaint.serve.api.orders import unavailable
from overpaint.serve.http.body import BodyLimit
from overpaint.serve.http.guard import Guard
from overpaint.serve.http.limits import Limits
from overpaint.serve.http.problems import ApiError, Shapes, invalid_request
from overpaint.serve.http.trace import Trace
from overpaint.serve.jobs.engines.models import Served
from overpaint.serve.jobs.service import NoProviderError

from .config import Config
from .page import FILES, page_router
from .state import State

FACES = (openai, automatic1111)


def create_app(config: Config, served: Sequence[Served]) -> FastAPI:
    """A server of the bundles `served`, the first being the default. `app.state.server` is its
    State. Raises UsageError where config and bundles do not go together."""
    state = State(config, served)
    shapes = Shapes({prefix: face.shape for face in FACES for prefix in face.PREFIXES})

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with state.running():
            yield

    app = FastAPI(
        title="overpaint",
        version=version("overpaint"),
        lifespan=lifespan,
        docs_url=None,  # they would load scripts from elsewhere
        redoc_url=None,
        middleware=[
            Middleware(Trace, metrics=state.metrics, shapes=shapes),
            Middleware(
                Guard,
                host=config.host,
                names=config.allowed_hosts,
                token=config.token,
                head_bytes=config.limits.head_bytes,
                open_paths={*FILES, "/healthz", "/readyz"},
                shapes=shapes,
            ),
            Middleware(
                BodyLimit,
                limits=config.limits,
                limit_of=lambda path: body_limit(path, config.limits),
                shapes=shapes,
            ),
        ],
    )
    app.state.server = state
    app.include_router(native_router(state))
    for face in FACES:
        app.include_router(face.routes(state))
    app.include_router(page_router())
    _answer_problems(app, shapes)
    return app


def body_limit(path: str, limits: Limits) -> int:
    """The most bytes that a request to `path` may carry."""
    if path == "/v1/uploads":
        return limits.upload_body
    if path == "/v1/images/edits":
        return limits.edit_body
    if path in ("/v1/jobs", "/sdapi/v1/img2img", "/sdapi/v1/txt2img", "/sdapi/v1/png-info"):
        return limits.job_body
    return limits.small_body


def _answer_problems(app: FastAPI, shapes: Shapes) -> None:
    """Every error in the shape that its path's clients know."""

    @app.exception_handler(ApiError)
    async def problem(request: Request, error: ApiError) -> JSONResponse:
        return shapes.answer(request.url.path, error)

    @app.exception_handler(NoProviderError)
    async def nobody(request: Request, error: NoProviderError) -> JSONResponse:
        return shapes.answer(request.url.path, unavailable(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return shapes.answer(request.url.path, invalid_request(error.errors()[0]))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        codes = {400: "invalid_body", 404: "not_found", 405: "method_not_allowed"}
        code = codes.get(error.status_code, "http_error")
        headers = dict(error.headers or {})
        return shapes.answer(
            request.url.path, ApiError(error.status_code, code, str(error.detail), headers=headers)
        )
