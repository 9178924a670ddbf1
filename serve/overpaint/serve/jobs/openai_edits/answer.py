"""What OpenAI's image edits answer: files that nobody here trusts, and how they came about."""

from __future__ import annotations

import base64
import binascii
import io
from typing import Any, Final

from PIL import Image

from overpaint.serve.http.limits import Limits
from overpaint.serve.jobs.protocol import Order, Painted, Reason

from .request import Ask

LIMITS: Final = Limits()
ANSWER_BYTES: Final = 6 * LIMITS.image_pixels
"""The longest answer to a job of one picture, three bytes a pixel in base64 and some room."""
FORMATS: Final = ("PNG", "JPEG", "WEBP")


class RefusedThereError(Exception):
    """What the server said instead of a picture; `unknown` is the field that it does not know."""

    def __init__(self, reason: Reason, message: str, unknown: str | None = None) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.unknown = unknown


def pictures(answer: Any) -> tuple[bytes, ...]:
    """The pictures of an answer as PNG files of our own. Raises RefusedThereError."""
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list) or not data:
        raise RefusedThereError("failed", "an answer without pictures")
    return tuple(_picture(one) for one in data)


def _picture(one: Any) -> bytes:
    text = one.get("b64_json") if isinstance(one, dict) else None
    if not isinstance(text, str):
        raise RefusedThereError("failed", "an answer without the picture itself (b64_json)")
    try:
        file = io.BytesIO(base64.b64decode(text, validate=True))
        with Image.open(file, formats=FORMATS) as opened:
            if opened.width * opened.height > LIMITS.image_pixels:
                size = f"{opened.width}x{opened.height}"
                raise RefusedThereError("failed", f"a picture of {size} pixels, which is too large")
            picture = opened.convert("RGB")
    except (binascii.Error, OSError, ValueError, Image.DecompressionBombError):
        raise RefusedThereError("failed", "an answer whose picture is none") from None
    made = io.BytesIO()
    picture.save(made, "PNG", compress_level=3)
    return made.getvalue()


def painted(
    name: str, order: Order, model: str, images: tuple[bytes, ...], asked: Ask, seconds: float
) -> Painted:
    """The job's end. `asked`: what the server `name` was told in the end, of its `model`."""
    settings = order.settings
    seed = settings.seed or 0
    lacking = [*asked.unknown, *asked.unsaid]
    with Image.open(io.BytesIO(images[0])) as opened:
        size = opened.size
    warnings = [f"{name} does not say what it ran: this is what it was asked for"]
    if model != order.model:
        warnings.append(f"painted by {model}, not by {order.model}")
    if lacking:
        warnings.append(f"{name} was not told, or does not know: {', '.join(lacking)}")
    if order.mask is not None:
        warnings.append(f"{name} may have changed what the mask keeps")
    number = {name: asked.fields.get(name) for name in ("strength", "guidance_scale")}
    return Painted(
        images=images,
        seeds=tuple(seed + i for i in range(len(images))),
        steps_run=0,
        timings={"total": round(seconds, 6)},
        device=f"at {name}",
        settings={
            "model": model,
            "model_sha256": "",
            "prompt": order.prompt,
            "negative_prompt": settings.negative_prompt,
            "sampler": settings.sampler or "default",
            "seed": seed,
            "steps": int(asked.fields.get("num_inference_steps", 0)),
            "size": list(size),
            **{key: float(value) if value else None for key, value in number.items()},
        },
        warnings=tuple(warnings),
    )
