"""AUTOMATIC1111's API: /sdapi/v1/img2img, txt2img, and what its clients use around them."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

from fastapi import APIRouter, Body, Request
from fastapi.responses import JSONResponse

from overpaint.bundle.errors import UsageError
from overpaint.runtime.metadata import CHUNK, INFOTEXT
from overpaint.runtime.resolved import seeds as successors
from overpaint.serve.api.orders import check, expect_room, invalid, job_headers, place, result_of
from overpaint.serve.http.problems import ApiError
from overpaint.serve.http.strict_json import StrictRoute, loads_shallow
from overpaint.serve.jobs.protocol import Order
from overpaint.serve.jobs.record import Complete
from overpaint.serve.pictures.intake import texts
from overpaint.serve.pictures.sources import decode_base64
from overpaint.serve.state import State

from . import about, controlnet
from .canvas import brought_to_size
from .schema import SAMPLER_NAMES, Generation, ImageToImage, TextToImage
from .webui_state import WebUIState

PREFIXES = ("/sdapi", "/controlnet")


def shape(problem: ApiError) -> tuple[int, Any]:
    """(status, body) as that server's clients know them."""
    return problem.status, {"detail": problem.message}


def routes(state: State) -> APIRouter:
    router = APIRouter(include_in_schema=False, route_class=StrictRoute)
    router.include_router(about.routes(state))
    router.include_router(controlnet.routes(state))
    webui = WebUIState(state)

    @router.post("/sdapi/v1/img2img")
    async def img2img(wanted: ImageToImage, request: Request) -> JSONResponse:
        wanted.refuse_scripts()
        expect_room(state, request)
        intake, data = state.sources.intake, decode_base64(wanted.init_images[0], "init_images")
        image, mask = (await intake.receive(data, "init_images")).png, None
        if wanted.mask:
            data = decode_base64(wanted.mask, "mask")
            mask = (await intake.receive_mask(data, "mask", "opaque")).png
        answer = await _paint(webui, wanted, request, image, mask)
        if not wanted.include_init_images:
            answer["parameters"] |= {"init_images": None, "mask": None}
        return _respond(answer)

    @router.post("/sdapi/v1/txt2img")
    async def txt2img(wanted: TextToImage, request: Request) -> JSONResponse:
        wanted.refuse_scripts()
        return _respond(await _paint(webui, wanted, request))

    @router.get("/sdapi/v1/progress")
    async def progress(skip_current_image: bool = False) -> dict[str, Any]:
        return webui.progress(with_image=not skip_current_image)

    @router.post("/sdapi/v1/interrupt")
    async def interrupt() -> dict[str, Any]:
        await webui.interrupt()
        return {}

    @router.get("/sdapi/v1/options")
    async def options() -> dict[str, Any]:
        model = await webui.model(None)
        return {
            "sd_model_checkpoint": model.name,
            "sd_checkpoint_hash": model.sha256,
            "samples_format": "png",
        }

    @router.post("/sdapi/v1/options")
    async def set_options(wanted: dict[str, Any]) -> None:
        named = wanted.get("sd_model_checkpoint")
        if isinstance(named, str):
            webui.checkpoint = (await webui.model(named)).name

    @router.post("/sdapi/v1/png-info")
    async def png_info(image: str = Body(embed=True)) -> dict[str, Any]:
        data = decode_base64(image, "image")
        return _read_info(await state.sources.intake.texts(data, "image"))

    return router


async def _paint(
    webui: WebUIState,
    wanted: Generation,
    request: Request,
    image: bytes | None = None,
    mask: bytes | None = None,
) -> dict[str, Any]:
    """Run `wanted` to its end: {images, parameters, info}, and the headers beside them."""
    try:
        settings = wanted.settings()
    except UsageError as error:
        raise invalid(error) from None
    model = await webui.model(wanted.checkpoint)
    units = controlnet.units_of(wanted.alwayson_scripts)
    order = Order(
        model=model.name,
        prompt=wanted.prompt,
        image=image,
        mask=mask,
        control=await controlnet.shown(webui.state, units, image),
        settings=settings,
    )
    check(order, model)
    order = await asyncio.to_thread(brought_to_size, order)
    job = await place(
        webui.state,
        request,
        model=order.model,
        prompt=order.prompt,
        settings=order.settings,
        image=order.image,
        mask=order.mask,
        control=order.control,
    )
    answer = {"images": [], "parameters": wanted.model_dump(), "info": json.dumps({})}
    with webui.under_way(job, wanted.force_task_id):
        try:
            complete = await result_of(webui.state, job, request)
        except ApiError as error:
            if error.code != "cancelled":
                raise
            return answer | {"headers": job_headers(job)}  # as there: interrupted is no error
    files = [await asyncio.to_thread(webui.state.media.get, media) for media in complete.media]
    if wanted.send_images:
        answer["images"] = [base64.b64encode(file).decode() for file in files]
    answer["info"] = json.dumps(_info(wanted, complete, files))
    return answer | {"headers": job_headers(job)}


def _respond(answer: dict[str, Any]) -> JSONResponse:
    headers = answer.pop("headers")
    return JSONResponse(answer, headers=headers)


def _info(wanted: Generation, complete: Complete, files: list[bytes]) -> dict[str, Any]:
    """The JSON that stands in `info` as text."""
    settings, seeds = complete.painted.settings, list(complete.painted.seeds)
    count, first = len(seeds), settings["variation_seed"]
    varied = () if first is None else successors(first, count)
    return {
        "prompt": wanted.prompt,
        "all_prompts": [wanted.prompt] * count,
        "negative_prompt": wanted.negative_prompt,
        "all_negative_prompts": [wanted.negative_prompt] * count,
        "seed": seeds[0],
        "all_seeds": seeds,
        "subseed": varied[0] if varied else -1,
        "all_subseeds": list(varied) or [-1] * count,
        "subseed_strength": settings["variation_strength"],
        "width": wanted.width,
        "height": wanted.height,
        "sampler_name": SAMPLER_NAMES.get(settings["sampler"], settings["sampler"]),
        "cfg_scale": wanted.cfg_scale,
        "steps": wanted.steps,
        "batch_size": wanted.batch_size,
        "restore_faces": False,
        "sd_model_name": settings["model"],
        "sd_model_hash": str(settings["model_sha256"])[:10],
        "denoising_strength": settings["strength"],
        "extra_generation_params": {},
        "index_of_first_image": 0,
        "infotexts": [texts(file, "image").get(INFOTEXT, "") for file in files],
        "styles": [],
        "job_timestamp": "0",
        "clip_skip": settings["clip_skip"] + 1,
        "is_using_inpainting_conditioning": False,
        "warnings": list(complete.painted.warnings),
    }


def _read_info(said: dict[str, str]) -> dict[str, Any]:
    """What the texts of a PNG say about how it was made; empty where they say nothing."""
    try:
        parameters = loads_shallow(said.get(CHUNK, "{}"))
    except ValueError:
        parameters = {}
    return {"info": said.get(INFOTEXT, ""), "items": said, "parameters": parameters}
