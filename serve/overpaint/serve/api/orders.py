"""Placing a job, and waiting for one: what every face on the service does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import fields

from starlette.requests import Request as HTTPRequest

from overpaint.bundle.errors import UsageError
from overpaint.runtime.control.control import Control
from overpaint.runtime.control.picture import check_kind, check_picture
from overpaint.runtime.ip_adapter.references import check_references
from overpaint.runtime.masks.ground import check_mask_settings
from overpaint.runtime.reference_images import check_reference_images
from overpaint.runtime.resolved import Resolved, resolve
from overpaint.runtime.settings import Settings
from overpaint.runtime.tiles.tile import tile_asked, untiled
from overpaint.serve.http.problems import ApiError
from overpaint.serve.jobs.capabilities import ModelCapabilities
from overpaint.serve.jobs.protocol import HOP, Cancelled, Failed, Order, check_memory
from overpaint.serve.jobs.record import Complete, Job
from overpaint.serve.jobs.service import NoProviderError, UnknownModelError
from overpaint.serve.state import State

LOOK_SECONDS = 0.2
CLIENT = "X-Overpaint-Client"
NAME_LENGTH = 64
STATUS = {"invalid_request": 422, "timeout": 504, "too_large": 413, "unreachable": 502}
FIELDS = {field.name for field in fields(Settings)} | {
    "prompt",
    "styles",
    "image",
    "mask",
    "control",
    "size",
    "ip_adapter_image",
    "ip_adapter_mask",
    "reference_image",
    "lora",
}


async def find_model(
    state: State, name: str | None, *, passed_on: bool = False
) -> ModelCapabilities:
    """The model called `name`, None for the default one. Raises ApiError 404."""
    try:
        return await state.jobs.model(name, passed_on=passed_on)
    except UnknownModelError as error:
        raise ApiError(404, "model_not_found", str(error), field="model") from None


def expect_room(state: State, request: HTTPRequest) -> None:
    """Before the work of reading a picture: raises what `place` would raise for any job."""
    if state.draining:
        raise ApiError(503, "draining", "the server is shutting down", retry_after=10)
    try:
        state.jobs.expect_room(passed_on=HOP in request.headers)
    except NoProviderError as nobody:
        state.metrics.refused.labels(nobody.reason).inc()
        raise


async def place(
    state: State,
    request: HTTPRequest,
    *,
    model: str | None,
    prompt: str,
    settings: Settings,
    image: bytes | None = None,
    mask: bytes | None = None,
    references: tuple[tuple[bytes, ...], tuple[bytes, ...]] = ((), ()),
    looked_at: tuple[bytes, ...] = (),
    lora: Mapping[str, float] | None = None,
    control: Mapping[str, Control] | None = None,
    outlives: bool = False,
) -> Job:
    """Check all that can be known before an engine runs, and hand the job in. `outlives`: a server
    that is killed goes on with it, for its client will ask. `references`: pictures, and their
    masks; `looked_at`: those that the denoiser itself looks at.

    Raises ApiError: 404 for a model, 422 for values, 503 when draining; and NoProviderError.
    """
    expect_room(state, request)
    passed_on = HOP in request.headers
    client = request.client.host if request.client and not passed_on else None
    try:
        found = await find_model(state, model, passed_on=passed_on)
        order = Order(
            model=found.name,
            prompt=prompt,
            image=image,
            mask=mask,
            ip_adapter_image=references[0],
            ip_adapter_mask=references[1],
            reference_image=looked_at,
            control=dict(control or {}),
            settings=settings,
            lora=lora or {},
        )
        check(order, found)
        if not state.clients.take(client):
            message = "this address has as many jobs here as it may; wait for one to end"
            raise ApiError(429, "too_many_jobs", message, retry_after=5)
        try:
            job = await state.jobs.submit(
                order,
                passed_on=passed_on,
                client=client_of(request),
                bundle=found.fingerprint if outlives else None,
            )
        except BaseException:
            state.clients.give_back(client)
            raise
        state.jobs.when_ended(job, lambda: state.clients.give_back(client))
        return job
    except NoProviderError as nobody:
        state.metrics.refused.labels(nobody.reason).inc()
        raise


def client_of(request: HTTPRequest) -> str | None:
    """Who asks: by a name of its own choice, or else by its address."""
    name = request.headers.get(CLIENT, "")
    if 0 < len(name) <= NAME_LENGTH:
        return f"name {name}"
    return request.client.host if request.client else None


def check(order: Order, model: ModelCapabilities) -> None:
    """Raises ApiError 422 for what this model cannot do."""
    settings, field = order.settings, None
    try:
        with_image = order.image is not None
        check_mask_settings(settings, masked=order.mask is not None, image=with_image)
        if order.mask is not None and settings.mask_mode not in model.masks:
            known = f"takes {' and '.join(model.masks)} ones" if model.masks else "takes none"
            raise UsageError(f"mask: {model.name}, where it is served, {known}")
        pictures, masks = len(order.ip_adapter_image), len(order.ip_adapter_mask)
        check_references(settings, pictures=pictures, masks=masks)
        if pictures and not model.references:
            raise UsageError(
                f"ip_adapter_image: {model.name}, where it is served, has no adapter to see it"
            )
        looks = model.looks_at_pictures
        check_reference_images(model.name, len(order.reference_image), looks=looks)
        check_loras(order, model)
        _check_control(order, model)
        resolved = resolve(settings, model.defaults, with_image=with_image)
        if resolved.steps > model.max_steps:
            raise UsageError(f"steps: expected {model.max_steps} or fewer, got {resolved.steps}")
        if settings.pictures > model.max_images:
            raise UsageError(f"n: expected {model.max_images} or fewer, got {settings.pictures}")
        _check_sampler(resolved, model)
        field = "size"
        tile = tile_asked(settings.tile, settings.upscale)
        sides = model.sides if tile is None else untiled(model.sides)
        if settings.size is not None:
            sides.check(settings.size)
        elif order.image is not None:
            sides.floor(order.size)
        check_memory(order, model)
    except UsageError as error:
        raise invalid(error, field) from None


def check_loras(order: Order, model: ModelCapabilities) -> None:
    """Raises UsageError for a LoRA that is not this model's."""
    for name in order.lora_weights():
        if name not in model.loras:
            known = f"it has {', '.join(model.loras)}" if model.loras else "it has none"
            raise UsageError(f"lora: {model.name} has no {name!r}; {known}")


def _check_control(order: Order, model: ModelCapabilities) -> None:
    if order.settings.guess_mode and not order.control:
        raise UsageError("guess_mode: there is no control; give one, or leave guess_mode out")
    for name, shown in order.control.items():
        if name not in model.controls:
            known = ", ".join(model.controls) or "none"
            raise UsageError(
                f"control: {model.name} has no control network {name!r} here; it has {known}"
            )
        check_kind(name, shown, model.controls[name])
        check_picture(name, shown, with_image=order.image is not None)


def _check_sampler(resolved: Resolved, model: ModelCapabilities) -> None:
    sampler, sigmas = resolved.sampler, resolved.sigmas
    if sampler not in model.samplers:
        known = ", ".join(model.samplers)
        raise UsageError(f"sampler: {sampler} does not run {model.name}; choose from {known}")
    if sigmas not in model.samplers[sampler]:
        known = ", ".join(model.samplers[sampler])
        raise UsageError(f"sigmas: {sampler} has no {sigmas} ones; choose from {known}")


def unavailable(nobody: NoProviderError) -> ApiError:
    """The answer where no provider took a job: 429 when full, else 503."""
    return ApiError(
        429 if nobody.full else 503, nobody.reason, str(nobody), retry_after=nobody.retry_after
    )


def invalid(error: UsageError, field: str | None = None) -> ApiError:
    """The 422 of a UsageError, with the field that its message begins with."""
    head = str(error).split(maxsplit=1)[0].rstrip(":,")
    field = head if head in FIELDS else field
    return ApiError(422, "invalid_request", str(error), field=field)


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
