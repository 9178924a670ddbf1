"""The form of POST /v1/images/edits: strings from a multipart body, made into values."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Json, ValidationError
from starlette.datastructures import FormData, UploadFile

from overpaint.runtime.schedule import SAMPLERS
from overpaint.runtime.settings import MAX_SEED, Settings
from overpaint.serve.api.native.schema import LIMITS, LoraWeights, Prompt, Size, parse_size
from overpaint.serve.http.problems import ApiError

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Sampler = Annotated[str, Field(json_schema_extra={"enum": [*SAMPLERS]})]
FILES = ("image", "image[]", "mask")
IGNORED = frozenset(
    {
        "background",
        "complexity",
        "input_fidelity",
        "moderation",
        "quality",
        "safety_identifier",
        "user",
    }
)


class EditForm(BaseModel):
    """Beside OpenAI's own fields: those that vLLM-Omni and SGLang share, strength, scheduler, and
    lora, weights by name as JSON."""

    model_config = ConfigDict(extra="forbid")

    prompt: Prompt
    model: str | None = None
    n: Annotated[int, Field(ge=1, le=LIMITS.n)] = 1
    size: Size | Literal["auto"] = "auto"
    response_format: Literal["b64_json", "url"] = "b64_json"
    output_format: Literal["png", "webp", "jpeg"] = "png"
    output_compression: Annotated[int, Field(ge=0, le=100)] = 100
    stream: bool = False
    partial_images: Annotated[int, Field(ge=0, le=3)] = 0
    negative_prompt: Prompt | None = None
    num_inference_steps: Annotated[int, Field(ge=1, le=LIMITS.steps)] | None = None
    guidance_scale: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    strength: Share | None = None
    scheduler: Sampler | None = None
    lora: Json[LoraWeights] | None = None

    def settings(self) -> Settings:
        """Raises UsageError for a scheduler that is not known."""
        return Settings(
            strength=self.strength,
            steps=self.num_inference_steps,
            guidance_scale=self.guidance_scale,
            negative_prompt=self.negative_prompt,
            sampler=self.scheduler,
            seed=self.seed,
            n=self.n,
            size=None if self.size == "auto" else parse_size(self.size),
        )


def parse(form: FormData) -> tuple[EditForm, list[UploadFile], UploadFile | None]:
    """The values, the pictures, of which the first is repainted and the others are references, and
    the mask. Raises ApiError 400 naming what is wrong."""
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        if name not in IGNORED and name not in FILES and isinstance(value, str) and value:
            fields[name] = value
    images, masks = _files(form, *FILES[:2]), _files(form, FILES[2])
    if not 1 <= len(images) <= 1 + LIMITS.references:
        most = 1 + LIMITS.references
        message = f"expected 1 to {most} pictures in the part `image`, got {len(images)}"
        raise ApiError(400, "invalid_request", message, field="image")
    if len(masks) > 1:
        message = f"expected one mask in the part `mask`, got {len(masks)}"
        raise ApiError(400, "invalid_request", message, field="mask")
    try:
        return EditForm.model_validate(fields), images, masks[0] if masks else None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            message = f"Unknown parameter: '{field}'."
            raise ApiError(400, "unknown_parameter", message, field=field) from None
        message = f"{field}: {first['msg']}"
        raise ApiError(400, "invalid_request", message, field=field) from None


def _files(form: FormData, *names: str) -> list[UploadFile]:
    return [one for name in names for one in form.getlist(name) if isinstance(one, UploadFile)]
