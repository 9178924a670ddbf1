"""What the server can do, how it is, and its figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from overpaint.runtime.settings import MODES, PRESETS, Combination
from overpaint.serve.config import Config
from overpaint.serve.http.limits import Limits
from overpaint.serve.jobs.capabilities import ModelCapabilities
from overpaint.serve.jobs.protocol import HOP, Health
from overpaint.serve.jobs.service import NOBODY
from overpaint.serve.state import State

from .answers import problems
from .views import (
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

    @router.get("/v1/capabilities", response_model=CapabilitiesView, responses=problems(503))
    async def capabilities(request: Request) -> CapabilitiesView:
        """Sizes, steps, samplers and limits of the models that jobs may name."""
        models = await state.jobs.capabilities(passed_on=HOP in request.headers)
        return describe(state.config, models)

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
        ready = await readiness(state, passed_on=HOP in request.headers)
        response.status_code = 200 if ready.state == "ready" else 503
        return ready

    @router.get("/metrics", response_class=Response, responses=problems())
    async def metrics() -> Response:
        """Prometheus' text format."""
        here = await state.jobs.health(passed_on=True)  # nobody elsewhere is asked for these
        state.metrics.waiting.set(sum(one.waiting for one in here))
        state.metrics.running.set(sum(one.running for one in here))
        return Response(state.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return router


async def readiness(state: State, *, passed_on: bool) -> ReadyView:
    """`passed_on` where another server asks, so that two of them never ask in a circle."""
    found = await state.jobs.health(passed_on=passed_on)
    first = found[0] if found else Health(provider="", state="unhealthy", detail=NOBODY)
    ready = any(one.state == "ready" for one in found)
    return ReadyView(
        state="draining" if state.draining else "ready" if ready else first.state,
        detail=first.detail,
        providers=[ProviderView(**asdict(one)) for one in found],
    )


def describe(config: Config, models: Sequence[ModelCapabilities]) -> CapabilitiesView:
    limits = config.limits
    return CapabilitiesView(
        version=version("overpaint"),
        models=[_model(model, limits) for model in models],
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
            live_sessions=config.live_sessions if "local" in config.providers else 0,
            n=limits.n,
            references=limits.references,
            prompt_characters=limits.prompt,
        ),
    )


def _model(model: ModelCapabilities, limits: Limits) -> ModelView:
    sides, defaults, (width, height) = model.sides, model.defaults, model.native
    return ModelView(
        name=model.name,
        family=model.family,
        sha256=model.sha256,
        device=model.device,
        open=model.open,
        sizes=SizesView(
            multiple=sides.multiple,
            minimum=sides.minimum,
            maximum=sides.maximum,
            default=Area(width=width, height=height),
            most_pixels=[*model.most_pixels],
        ),
        samplers=[*model.samplers],
        sigmas={name: [*sigmas] for name, sigmas in model.samplers.items()},
        defaults=DefaultsView(
            strength=defaults.strength,
            steps=defaults.steps,
            guidance_scale=defaults.guidance_scale,
            sampler=defaults.sampler,
        ),
        steps=StepsView(maximum=min(model.max_steps, limits.steps), rounding=model.rounding),
        masks=[*model.masks],
        references=model.references,
        looks_at_pictures=model.looks_at_pictures,
        loras=[*model.loras],
        embeddings={**model.embeddings},
        controls={**model.controls},
        pace=PaceView(**asdict(model.pace)) if model.pace else None,
    )


def _mode(bundled: Combination) -> ModeView:
    return ModeView(
        strength=bundled.strength, steps=bundled.steps, guidance_scale=bundled.guidance_scale
    )
