"""What AUTOMATIC1111's clients ask before and beside their pictures: lists, flags, memory."""

from __future__ import annotations

import os
from typing import Any

from fastapi import APIRouter

from overpaint.runtime.metadata import A1111_LATENT
from overpaint.serve.jobs.capabilities import ModelCapabilities
from overpaint.serve.state import State

from . import controlnet
from .schema import SAMPLER_NAMES, SCHEDULERS

EMPTY = ("upscalers", "sd-vae", "prompt-styles")


def routes(state: State) -> APIRouter:
    router = APIRouter(prefix="/sdapi/v1")

    @router.get("/sd-models")
    async def models() -> list[dict[str, Any]]:
        return [_model(model) for model in await state.jobs.capabilities()]

    @router.get("/samplers")
    async def samplers() -> list[dict[str, Any]]:
        models = await state.jobs.capabilities()
        return [
            {"name": label, "aliases": [ours], "options": {}}
            for ours, label in SAMPLER_NAMES.items()
            if any(ours in model.samplers for model in models)
        ]

    @router.get("/schedulers")
    async def schedulers() -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "label": label,
                "aliases": None,
                "default_rho": -1.0,
                "need_inner_model": False,
            }
            for name, label in SCHEDULERS.items()
        ]

    @router.get("/latent-upscale-modes")
    async def latent_upscale_modes() -> list[dict[str, str]]:
        return [{"name": A1111_LATENT}]

    @router.get("/loras")
    async def loras() -> list[dict[str, Any]]:
        models = await state.jobs.capabilities()
        names = dict.fromkeys(name for model in models for name in model.loras)
        return [{"name": name, "alias": name, "path": name, "metadata": {}} for name in names]

    @router.get("/scripts")
    async def scripts() -> dict[str, list[str]]:
        models = await state.jobs.capabilities()
        names = [controlnet.NAME] if any(model.controls for model in models) else []
        return {"txt2img": names, "img2img": names}

    @router.get("/embeddings")
    async def embeddings() -> dict[str, dict[str, Any]]:
        models = await state.jobs.capabilities()
        words = {word: count for model in models for word, count in model.embeddings.items()}
        about = {"step": None, "sd_checkpoint": None, "sd_checkpoint_name": None}
        loaded = {word: {**about, "vectors": count} for word, count in words.items()}
        return {"loaded": loaded, "skipped": {}}

    @router.get("/cmd-flags")
    async def flags() -> dict[str, Any]:
        return {"api": True}

    @router.get("/memory")
    async def memory() -> dict[str, Any]:
        page = os.sysconf("SC_PAGE_SIZE")
        total = os.sysconf("SC_PHYS_PAGES") * page
        free = os.sysconf("SC_AVPHYS_PAGES") * page
        return {
            "ram": {"free": free, "used": total - free, "total": total},
            "cuda": {"error": "not measured"},
        }

    for name in EMPTY:
        router.add_api_route(f"/{name}", _nothing, methods=["GET"])
    return router


async def _nothing() -> list[Any]:
    return []


def _model(model: ModelCapabilities) -> dict[str, Any]:
    return {
        "title": model.name,
        "model_name": model.name,
        "hash": model.sha256[:10],
        "sha256": model.sha256,
        "filename": model.name,
        "config": None,
    }
