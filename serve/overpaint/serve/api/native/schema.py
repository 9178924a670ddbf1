"""What the native API is asked. An unknown field is an error that names it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, create_model

from overpaint.runtime.control.control import PREPROCESSORS
from overpaint.runtime.lora.live import MOST
from overpaint.runtime.option import NUMBERS, SEVERAL, Declared
from overpaint.runtime.request import LARGEST_LORA_WEIGHT
from overpaint.runtime.settings import Settings, options
from overpaint.serve.http.limits import Limits
from overpaint.serve.jobs.styles import MAX_LENGTH, MAX_ROWS

LIMITS = Limits()

Words = Annotated[str, StringConstraints(max_length=MAX_LENGTH)]
RowName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9 _-]{0,31}$")]
Prompt = Annotated[str, StringConstraints(max_length=LIMITS.prompt)]
Size = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{1,4}x[1-9][0-9]{1,4}$")]

Margins = Annotated[
    list[Annotated[int, Field(ge=0, le=LIMITS.image_side)]], Field(min_length=4, max_length=4)
]


_LoraName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_LoraWeight = Annotated[
    float, Field(ge=-LARGEST_LORA_WEIGHT, le=LARGEST_LORA_WEIGHT, allow_inf_nan=False)
]
LoraWeights = Annotated[dict[_LoraName, _LoraWeight], Field(max_length=MOST)]


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Shown(Closed):
    """What a control network is shown, and how much it counts."""

    picture: str | None = Field(
        None, description="given as `image` is; null is that, made into edges or as it is"
    )
    scale: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 1.0
    start: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    end: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 1.0
    preprocessor: Annotated[str, Field(json_schema_extra={"enum": list(PREPROCESSORS)})] = "map"
    kind: Annotated[int, Field(ge=0)] | None = Field(
        None, description="which of its kinds of picture a union network is shown, from 0"
    )


class Job(Closed):
    """A picture to repaint; without `image`, one to paint. What is null or absent comes from
    `preset`, `mode`, or the bundle's defaults."""

    prompt: Prompt
    image: str | None = Field(
        None, description="an upload's id, a data URL, or an https URL on an allowed host"
    )
    mask: str | None = Field(
        None, description="what of the picture is repainted, white, given as `image` is"
    )
    ip_adapter_image: Annotated[list[str], Field(max_length=LIMITS.references)] = Field(
        [], description="reference pictures, each given as `image` is"
    )
    ip_adapter_mask: Annotated[list[str], Field(max_length=LIMITS.references)] = Field(
        [], description="where each reference picture counts, white; none or one for each"
    )
    reference_image: Annotated[list[str], Field(max_length=LIMITS.references)] = Field(
        [], description="pictures that the denoiser itself looks at, each given as `image` is"
    )
    control: Annotated[dict[str, Shown], Field(max_length=LIMITS.controls)] | None = Field(
        None, description="by the names of control networks in /v1/capabilities"
    )
    model: str | None = Field(None, description="a name of /v1/capabilities; null is the first")
    lora: LoraWeights | None = Field(
        None, description="weights, from -2 to 2, of the model's `loras`, by name"
    )
    styles: Annotated[dict[RowName, Words], Field(max_length=MAX_ROWS)] | None = Field(
        None, description="rows to add to the prompt; null is the server's table, in modify mode"
    )

    def settings(self) -> Settings:
        """Raises UsageError for a value out of range, or two that contradict each other."""
        asked = {name: getattr(self, name) for name in options()}
        asked["size"] = parse_size(asked["size"]) if asked["size"] else None
        for several in ("extend", "ip_adapter_scale", "seeds"):
            if isinstance(asked[several], list):
                asked[several] = tuple(asked[several])
        return Settings(**asked)


def job_fields(settings: type[Settings] = Settings) -> dict[str, Any]:
    """A field for each option of a run, as its declaration and this server's limits have it."""
    return {name: (_type(one), _field(one)) for name, one in options(settings).items()}


_TIGHTER: Final[dict[str, dict[str, Any]]] = {
    "steps": {"le": LIMITS.steps},
    "n": {"le": LIMITS.n},
    "upscale": {"le": 4},
    "upscale_steps": {"le": LIMITS.steps},
    "guidance_scale": {"le": 100},
    "true_cfg_scale": {"le": 100},
    "negative_prompt": {"max_length": LIMITS.prompt},
}
"""What this server takes less of than the runtime does."""


_KINDS: Final[dict[Any, Any]] = {tuple[int, int]: Size, tuple[int, int, int, int]: Margins}
"""How JSON has what it has no kind for."""


def _type(one: Declared) -> Any:
    option, bounds = one.option, dict[str, Any](_TIGHTER.get(one.name, {}))
    if option.low is not None:
        bounds["gt" if option.between else "ge"] = option.low
    if option.high is not None:
        bounds["lt" if option.between else "le"] = option.high
    if one.kind is float:
        bounds["allow_inf_nan"] = False
    if option.choices is not None:
        bounds["json_schema_extra"] = {"enum": list(option.choices())}
    if one.kind == SEVERAL:
        whole = Annotated[int, Field(**bounds)]
        return Annotated[list[whole], Field(min_length=1, max_length=LIMITS.n)] | None
    if one.kind == NUMBERS:
        number = Annotated[float, Field(allow_inf_nan=False, **bounds)]
        several = Annotated[list[number], Field(min_length=1, max_length=LIMITS.references)]
        return number | several | None
    kind: Any = _KINDS.get(one.kind, one.kind)
    bounded = Annotated[kind, Field(**bounds)] if bounds else kind
    return bounded | None if one.optional else bounded


def _field(one: Declared) -> Any:
    return Field(one.default, description=one.option.help)


if TYPE_CHECKING:
    JobRequest: TypeAlias = Job
else:
    JobRequest = create_model("JobRequest", __base__=Job, __doc__=Job.__doc__, **job_fields())


LIVE: Final = (
    "negative_prompt",
    "strength",
    "steps",
    "guidance_scale",
    "seed",
    "size",
    "sampler",
)
"""The options of a live session."""

Strength = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Live(Closed):
    """The first message of a live session. `size` null is the model's own."""

    prompt: Prompt
    model: str | None = None
    lora: LoraWeights | None = None
    format: Literal["jpeg", "png"] = "jpeg"

    def settings(self) -> Settings:
        """Raises UsageError for a value out of range."""
        asked = {name: getattr(self, name) for name in LIVE}
        asked["size"] = parse_size(asked["size"]) if asked["size"] else None
        return Settings(**asked)


class LiveChange(Closed):
    """A later one: what frames become from the next one on; null leaves it as it is."""

    prompt: Prompt | None = None
    strength: Strength | None = None
    lora: LoraWeights | None = None


def _live_fields() -> dict[str, Any]:
    fields = {name: one for name, one in job_fields().items() if name in LIVE}
    return fields | {"steps": (Annotated[int, Field(ge=1, le=LIMITS.live_steps)] | None, None)}


if TYPE_CHECKING:
    LiveRequest: TypeAlias = Live
else:
    LiveRequest = create_model("LiveRequest", __base__=Live, __doc__=Live.__doc__, **_live_fields())


def parse_size(text: str) -> tuple[int, int]:
    """ "512x768" -> (512, 768). The text matches Size."""
    width, height = re.split("x", text)
    return int(width), int(height)
