"""What the server can do, how it is, and its figures."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from overpaint.bundle.families import FAMILIES
from overpaint.runtime.prepare import image_sides
from overpaint.runtime.settings import MODES, PRESETS, Bundled
from overpaint.serve.jobs.models import Model
from overpaint.serve.jobs.remote import HOP
from overpaint.serve.state import State

from .answers import problems
from .schema import (
    Area,
    CapabilitiesView,
    DefaultsView,
    HealthView,
    LimitsView,
    ModelView,
    ModeView,
    PaceView,
    ProviderView,
    ReadyView,
    SizesView,
    StepsView,
    StyleView,
)


def routes(state: State) -> APIRouter:
    router = APIRouter(tags=["about"])

    @router.get("/v1/capabilities", response_model=CapabilitiesView, responses=problems())
    async def capabilities() -> CapabilitiesView:
        """Sizes, steps, samplers and limits of these bundles on this device."""
        return describe(state)

    @router.get("/healthz", response_model=HealthView, responses=problems())
    async def healthz() -> HealthView:
        """The process answers."""
        return HealthView(status="ok")

    @router.get(
        "/readyz",
        response_model=ReadyView,
        responses={503: {"model": ReadyView, "description": "no job would be taken"}, **problems()},
    )
    async def readyz(request: Request, response: Response) -> ReadyView:
        """Somebody would take a job: an engine that is open and warm, here or as a fallback."""
        ready = await readiness(state, only_local=HOP in request.headers)
        response.status_code = 200 if ready.state == "ready" else 503
        return ready

    @router.get("/metrics", response_class=Response, responses=problems())
    async def metrics() -> Response:
        """Prometheus' text format."""
        health = await state.local.health()
        state.metrics.waiting.set(health.waiting)
        state.metrics.running.set(health.running)
        return Response(state.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return router


async def readiness(state: State, *, only_local: bool) -> ReadyView:
    """`only_local` where another server asks, so that two of them never ask in a circle."""
    found = [await state.local.health()] if only_local else await state.jobs.health()
    first, ready = found[0], any(one.state == "ready" for one in found)
    return ReadyView(
        state="draining" if state.draining else "ready" if ready else first.state,
        detail=first.detail,
        providers=[ProviderView(**asdict(one)) for one in found],
    )


def describe(state: State) -> CapabilitiesView:
    config = state.config
    limits = config.limits
    return CapabilitiesView(
        version=version("overpaint"),
        models=[_model(state, model) for model in state.models],
        modes={name: _mode(mode) for name, mode in MODES.items()},
        presets={name: _mode(preset) for name, preset in PRESETS.items()},
        styles=[StyleView(name=name, words=words) for name, words in config.styles.prompt.items()],
        negative_prompt=config.styles.negative_prompt,
        image_hosts=list(config.image_hosts),
        limits=LimitsView(
            upload_bytes=limits.image_bytes,
            upload_pixels=limits.image_pixels,
            upload_side=limits.image_side,
            upload_seconds=config.upload_seconds,
            media_seconds=config.result_seconds,
            media_bytes=config.result_bytes,
            job_seconds=config.job_seconds,
            queue=config.queue,
            n=limits.n,
            prompt_characters=limits.prompt,
        ),
    )


def _model(state: State, model: Model) -> ModelView:
    manifest, pace = model.served.manifest, state.local.pace(model.served.name)
    sides, defaults = image_sides(manifest), manifest.defaults
    side = model.served.side
    return ModelView(
        name=model.served.name,
        family=manifest.family,
        device=model.device,
        open=model.pipeline is not None,
        sizes=SizesView(
            multiple=sides.multiple,
            minimum=sides.minimum,
            maximum=sides.maximum,
            default=Area(width=side, height=side),
        ),
        samplers=[*model.served.samplers],
        sigmas={name: [*one] for name, one in model.served.samplers.items()},
        defaults=DefaultsView(
            strength=defaults.strength,
            steps=defaults.steps,
            guidance_scale=defaults.guidance_scale,
            sampler=defaults.sampler,
        ),
        steps=StepsView(
            maximum=state.config.limits.steps,
            rounding=FAMILIES[manifest.family].rounding,
        ),
        pace=PaceView(step_s=pace.step, other_s=pace.other) if pace else None,
    )


def _mode(bundled: Bundled) -> ModeView:
    return ModeView(
        strength=bundled.strength, steps=bundled.steps, guidance_scale=bundled.guidance_scale
    )
