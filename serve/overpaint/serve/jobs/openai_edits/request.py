"""An order as a request of OpenAI's image edits: what can be said of it, and what cannot."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
from PIL import Image

from overpaint.bundle.facts import Defaults
from overpaint.runtime.resolved import resolve
from overpaint.serve.jobs.protocol import Order

OPTIONAL: Final = {
    "strength": "strength",
    "num_inference_steps": "steps",
    "guidance_scale": "guidance_scale",
    "negative_prompt": "negative_prompt",
    "scheduler": "sampler",
    "seed": "seed",
    "lora": "lora",
    "size": "size",
    "n": "n",
    "output_format": None,
    "response_format": None,
}
"""What a request may do without, and the setting that is lost: the first seven are no part of
OpenAI's API, but of vLLM-Omni's, SGLang's and ours."""
MADE_HERE: Final = ("mode", "preset", "reference_strength")
"""Settings that are numbers by the time they are sent."""
HALF: Final = 128
"""The level from which on a mask repaints, as diffusers has it."""
USUAL: Final = Defaults(steps=20, guidance_scale=7.5, strength=0.8)
"""Of a model that does not say; only `mode` and `preset` are worked out from them."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: form fields, and picture files by part name. Settings of the job that it does
    not say: `unsaid`, for which the API has no field, and `unknown`, whose field the server does
    not know."""

    fields: Mapping[str, str]
    files: tuple[tuple[str, bytes], ...]
    unsaid: tuple[str, ...]
    unknown: tuple[str, ...] = ()


def asking(order: Order, model: str) -> Ask:
    """The request that says most of `order`, whose picture is there."""
    settings = order.settings
    decided = any(getattr(settings, name) is not None for name in MADE_HERE)
    numbers = resolve(settings, USUAL, with_image=True) if decided else settings
    said: dict[str, Any] = {
        "prompt": order.prompt,
        "model": model,
        "n": settings.pictures,
        "size": "{}x{}".format(*settings.size) if settings.size else None,
        "output_format": "png",
        "response_format": "b64_json",
        "strength": numbers.strength,
        "num_inference_steps": numbers.steps,
        "guidance_scale": numbers.guidance_scale,
        "negative_prompt": settings.negative_prompt,
        "scheduler": settings.sampler,
        "seed": settings.seed,
        "lora": json.dumps(dict(order.lora)) if order.lora else None,
    }
    assert order.image is not None
    besides = (*order.ip_adapter_image, *order.reference_image)
    part = "image[]" if besides else "image"
    files = [(part, picture) for picture in (order.image, *besides)]
    if order.mask is not None:
        files.append(("mask", transparent(order.mask, inverted=settings.mask_invert)))
    known = {*filter(None, OPTIONAL.values()), *MADE_HERE, "mask_invert"}
    unsaid = tuple(
        field.name
        for field in fields(settings)
        if field.name not in known and getattr(settings, field.name) != field.default
    )
    return Ask(
        {name: str(one) for name, one in said.items() if one is not None}, tuple(files), unsaid
    )


def transparent(mask: bytes, *, inverted: bool) -> bytes:
    """A mask as OpenAI has it, of one whose white is repainted: what is wholly transparent is, and
    all else is not."""
    with Image.open(io.BytesIO(mask)) as opened:
        repainted = (np.asarray(opened.convert("L")) >= HALF) != inverted
    pixels = np.zeros((*repainted.shape, 4), np.uint8)
    pixels[..., 3] = np.where(repainted, 0, 255)
    file = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(file, "PNG")
    return file.getvalue()


def without(asked: Ask, unknown: Collection[str]) -> Ask:
    """The request without the fields that a server does not know."""
    said = {name: one for name, one in asked.fields.items() if name not in unknown}
    lost = (OPTIONAL[name] for name in asked.fields if name in unknown)
    return replace(asked, fields=said, unknown=tuple(filter(None, lost)))
