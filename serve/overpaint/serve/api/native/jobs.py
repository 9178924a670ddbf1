"""POST, GET and DELETE of /v1/jobs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request, Response

from overpaint.bundle.errors import UsageError
from overpaint.runtime.control.control import Control
from overpaint.serve.api.orders import client_of, expect_room, invalid, job_headers, place
from overpaint.serve.http.problems import ApiError
from overpaint.serve.http.strict_json import StrictRoute
from overpaint.serve.jobs.record import Job
from overpaint.serve.jobs.service import RESTARTED, LostError
from overpaint.serve.jobs.styles import dress
from overpaint.serve.state import State
from overpaint.serve.store.kept import GoneError, UnknownKeyError

from .answers import problems
from .schema import JobRequest
from .seeds import SeedsAs, with_seeds_as
from .views import JobView

RECENT = 100


def routes(state: State) -> APIRouter:
    router = APIRouter(tags=["jobs"], route_class=StrictRoute)

    @router.post(
        "/v1/jobs",
        status_code=202,
        response_model=JobView,
        responses=problems(400, 404, 408, 410, 413, 415, 422, 429, 503),
    )
    async def submit(wanted: JobRequest, request: Request, response: Response) -> dict[str, Any]:
        """Queue a picture to be repainted or, without `image`, painted."""
        job = await _place(state, request, wanted)
        response.headers.update(job_headers(job) | {"Location": f"/v1/jobs/{job.id}"})
        view = job.view()
        return view | {"queue_position": view["queue_position"] or 0}

    @router.get("/v1/jobs", response_model=list[JobView], responses=problems())
    async def recent(request: Request, seeds_as: SeedsAs = "number") -> list[dict[str, Any]]:
        """The client's jobs that wait, run or are still kept, the newest first, 100 at most. A
        client is told by its header X-Overpaint-Client, or else by its address."""
        found = await state.jobs.recent(client_of(request), RECENT)
        return [with_seeds_as(view, seeds_as) for view in found]

    @router.get("/v1/jobs/{job_id}", response_model=JobView, responses=problems(404, 410))
    async def look(job_id: str, response: Response, seeds_as: SeedsAs = "number") -> dict[str, Any]:
        """How the job is and, once it has ended, what came of it."""
        view = await _view(state, job_id)
        response.headers["X-Overpaint-Provider"] = view["provider"]
        if view["fallback"]:
            response.headers["X-Overpaint-Fallback"] = view["fallback"]
        return with_seeds_as(view, seeds_as)

    @router.delete("/v1/jobs/{job_id}", response_model=JobView, responses=problems(404, 410))
    async def cancel(job_id: str, seeds_as: SeedsAs = "number") -> dict[str, Any]:
        """Cancel a job that waits or runs; it stops within one step and decodes nothing."""
        await state.jobs.cancel(job_id)
        return with_seeds_as(await _view(state, job_id), seeds_as)

    return router


async def _place(state: State, request: Request, wanted: JobRequest) -> Job:
    try:
        settings = wanted.settings()
        prompt, negative = dress(
            state.config.styles,
            wanted.styles,
            settings.mode,
            wanted.prompt,
            settings.negative_prompt,
        )
    except UsageError as error:
        raise invalid(error) from None
    expect_room(state, request)
    image = None if wanted.image is None else await state.sources.png(wanted.image, "image")
    mask = None if wanted.mask is None else await state.sources.png(wanted.mask, "mask")
    seen = [await state.sources.png(one, "ip_adapter_image") for one in wanted.ip_adapter_image]
    where = [await state.sources.png(one, "ip_adapter_mask") for one in wanted.ip_adapter_mask]
    looked_at = [await state.sources.png(one, "reference_image") for one in wanted.reference_image]
    control = await _shown(state, wanted)
    return await place(
        state,
        request,
        model=wanted.model,
        prompt=prompt,
        settings=replace(settings, negative_prompt=negative),
        image=image,
        mask=mask,
        references=(tuple(seen), tuple(where)),
        looked_at=tuple(looked_at),
        lora=wanted.lora,
        control=control,
        outlives=True,
    )


async def _shown(state: State, wanted: JobRequest) -> dict[str, Control]:
    """What the control networks are shown; pictures are fetched."""
    shown: dict[str, Control] = {}
    for name, one in (wanted.control or {}).items():
        told = one.model_dump()
        if one.picture is not None:
            told["picture"] = await state.sources.png(one.picture, f"control.{name}")
        try:
            shown[name] = Control(**told)
        except UsageError as error:
            raise invalid(error, "control") from None
    return shown


async def _view(state: State, job_id: str) -> dict[str, Any]:
    try:
        return await state.jobs.view(job_id)
    except GoneError:
        raise ApiError(410, "gone", "this job ended long ago and is forgotten") from None
    except UnknownKeyError:
        raise ApiError(404, "not_found", "there is no such job") from None
    except LostError as lost:
        raise ApiError(410, RESTARTED, str(lost)) from None
