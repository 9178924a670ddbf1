"""Placing a job, and waiting for one: what every face on the service does."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass, fields

from starlette.requests import Request as HTTPRequest

from overpaint.bundle.errors import UsageError
from overpaint.runtime.prepare import image_sides
from overpaint.runtime.settings import Resolved, Settings, resolve
from overpaint.serve.http.limits import Limits
from overpaint.serve.http.problems import ApiError
from overpaint.serve.jobs.engines.models import Served
from overpaint.serve.jobs.protocol import Cancelled, Failed, Request
from overpaint.serve.jobs.providers.remote import HOP
from overpaint.serve.jobs.record import Complete, Job
from overpaint.serve.jobs.service import NoProviderError
from overpaint.serve.state import State

LOOK_SECONDS = 0.2
STATUS = {"invalid_request": 422, "timeout": 504, "unreachable": 502}
FIELDS = {field.name for field in fields(Settings)} | {"prompt", "styles", "image"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a client wants, in the service's own words. `model` None is the first bundle."""

    prompt: str
    settings: Settings
    image: bytes | None = None
    model: str | None = None


async def place(state: State, order: Order, request: HTTPRequest) -> Job:
    """Check all that can be known before an engine runs, and hand the job in.

    Raises ApiError: 404 for a model, 422 for values, 429 when full, 503 when loading or draining.
    """
    if state.draining:
        raise ApiError(503, "draining", "the server is shutting down", retry_after=10)
    name = order.model or state.models.names[0]
    if name not in state.models.names:
        known = ", ".join(state.models.names)
        raise ApiError(404, "model_not_found", f"there is no such model; there is: {known}",
                      field="model")  # fmt: skip
    check(order, state.models[name].served, state.config.limits)
    wanted = Request(model=name, prompt=order.prompt, image=order.image, settings=order.settings)
    try:
        return await state.jobs.submit(wanted, may_fall_back=HOP not in request.headers)
    except NoProviderError as nobody:
        reason = "full" if nobody.full else nobody.tried[0].reason
        state.metrics.refused.labels(reason).inc()
        status = 429 if nobody.full else 503
        raise ApiError(status, reason, str(nobody), retry_after=nobody.retry_after) from None


def check(order: Order, served: Served, limits: Limits) -> None:
    """Raises ApiError 422 for what this bundle cannot do."""
    settings, field = order.settings, None
    try:
        with_image = order.image is not None
        resolved = resolve(settings, served.manifest.defaults, with_image=with_image)
        if resolved.steps > limits.steps:
            raise UsageError(f"steps: expected {limits.steps} or fewer, got {resolved.steps}")
        if resolved.n > limits.n:
            raise UsageError(f"n: expected {limits.n} or fewer, got {resolved.n}")
        _check_sampler(resolved, served)
        sides, field = image_sides(served.manifest), "size"
        if settings.size is not None:
            sides.check(settings.size)
        elif order.image is not None:
            sides.floor(png_size(order.image))
    except UsageError as error:
        raise invalid(error, field) from None


def _check_sampler(resolved: Resolved, served: Served) -> None:
    sampler, sigmas = resolved.sampler, resolved.sigmas
    if sampler not in served.samplers:
        known = ", ".join(served.samplers)
        raise UsageError(f"sampler: {sampler} does not run {served.name}; choose from {known}")
    if sigmas not in served.samplers[sampler]:
        known = ", ".join(served.samplers[sampler])
        raise UsageError(f"sigmas: {sampler} has no {sigmas} ones; choose from {known}")


def invalid(error: UsageError, field: str | None = None) -> ApiError:
    """The 422 of a UsageError, with the field that its message begins with."""
    head = str(error).split(maxsplit=1)[0].rstrip(":,")
    field = head if head in FIELDS else field
    return ApiError(422, "invalid_request", str(error), field=field)


def png_size(png: bytes) -> tuple[int, int]:
    """(width, height) from the header of a PNG that was written here."""
    width, height = struct.unpack(">II", png[16:24])
    return width, height


async def wait_for(state: State, job: Job, request: HTTPRequest) -> None:
    """Return when `job` has ended. If its client goes away first, the job is cancelled."""
    ending = asyncio.ensure_future(job.feed.end())
    while not (await asyncio.wait({ending}, timeout=LOOK_SECONDS))[0]:
        if await request.is_disconnected():
            await state.jobs.cancel(job.id, "its client went away")


async def result_of(state: State, job: Job, request: HTTPRequest) -> Complete:
    """What `job` made, once it has ended. Raises ApiError for any other end."""
    await wait_for(state, job, request)
    match job.feed.latest:
        case Complete() as complete:
            return complete
        case Failed() as failed:
            status = STATUS.get(failed.code, 500)
            raise ApiError(status, failed.code, failed.message, error_id=failed.id)
        case Cancelled(why):
            raise ApiError(409, "cancelled", why)
    raise AssertionError("a job ended without a last event")


def job_headers(job: Job) -> dict[str, str]:
    """Who has the job and, where that is not the first provider, why: never silent."""
    headers = {"X-Overpaint-Provider": job.provider}
    return headers | ({"X-Overpaint-Fallback": job.fallback} if job.fallback else {})
