"""The native API's bodies. An unknown field is an error that names it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, create_model

from overpaint.runtime.option import Declared
from overpaint.runtime.settings import Settings, options
from overpaint.serve.config import Limits
from overpaint.serve.styles import MAX_LENGTH, MAX_ROWS

LIMITS = Limits()

Words = Annotated[str, StringConstraints(max_length=MAX_LENGTH)]
RowName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9 _-]{0,31}$")]
Prompt = Annotated[str, StringConstraints(max_length=LIMITS.prompt)]
Size = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{1,4}x[1-9][0-9]{1,4}$")]


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Job(Closed):
    """A picture to repaint; without `image`, one to paint. What is null or absent comes from
    `preset`, `mode`, or the bundle's defaults."""

    prompt: Prompt
    image: str | None = Field(
        None, description="an upload's id, a data URL, or an https URL on an allowed host"
    )
    model: str | None = Field(None, description="a name of /v1/capabilities; null is the first")
    styles: Annotated[dict[RowName, Words], Field(max_length=MAX_ROWS)] | None = Field(
        None, description="rows to add to the prompt; null is the server's table, in modify mode"
    )

    def settings(self) -> Settings:
        """Raises UsageError for a value out of range, or two that contradict each other."""
        asked = {name: getattr(self, name) for name in options()}
        asked["size"] = parse_size(asked["size"]) if asked["size"] else None
        return Settings(**asked)


def job_fields(settings: type[Settings] = Settings) -> dict[str, Any]:
    """A field for each option of a run, as its declaration and this server's limits have it."""
    return {name: (_type(one), _field(one)) for name, one in options(settings).items()}


_TIGHTER: Final[dict[str, dict[str, Any]]] = {
    "steps": {"le": LIMITS.steps},
    "n": {"le": LIMITS.n},
    "guidance_scale": {"le": 100},
    "negative_prompt": {"max_length": LIMITS.prompt},
}
"""What this server takes less of than the runtime does."""


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
    kind: Any = Size if one.kind == tuple[int, int] else one.kind
    bounded = Annotated[kind, Field(**bounds)] if bounds else kind
    return bounded | None if one.optional else bounded


def _field(one: Declared) -> Any:
    return Field(one.default, description=one.option.help)


if TYPE_CHECKING:
    JobRequest: TypeAlias = Job
else:
    JobRequest = create_model("JobRequest", __base__=Job, __doc__=Job.__doc__, **job_fields())


def parse_size(text: str) -> tuple[int, int]:
    """ "512x768" -> (512, 768). The text matches Size."""
    width, height = re.split("x", text)
    return int(width), int(height)


class Area(BaseModel):
    width: int
    height: int


class UploadView(Area):
    id: str
    original: Area
    expires_at: float = Field(description="seconds since the epoch; 410 after it")


class Progress(BaseModel):
    step: int
    total: int
    eta_s: float | None


class JobResult(BaseModel):
    media: list[str]
    seeds: list[int]
    steps_run: int
    timings: dict[str, float]
    device: str
    settings: dict[str, Any]
    warnings: list[str]


class JobError(BaseModel):
    code: str
    message: str
    id: str | None


class TriedView(BaseModel):
    provider: str
    reason: str
    message: str


class JobView(BaseModel):
    """`fallback` says why the first provider does not have the job; null where it does."""

    id: str
    status: Literal["queued", "running", "completed", "failed", "cancelled"]
    model: str
    created_at: float
    started_at: float | None
    finished_at: float | None
    expires_at: float | None
    queue_position: int | None
    progress: Progress | None
    result: JobResult | None
    error: JobError | None
    provider: str
    fallback: str | None
    tried: list[TriedView]


class ErrorView(BaseModel):
    code: str
    message: str
    field: str | None
    id: str


class ProblemView(BaseModel):
    """Every answer that is not a success."""

    error: ErrorView


class SizesView(BaseModel):
    """Sides in pixels; `default` is for text to image."""

    multiple: int
    minimum: int
    maximum: int
    default: Area


class DefaultsView(BaseModel):
    strength: float
    steps: int
    guidance_scale: float
    sampler: str


class StepsView(BaseModel):
    """`rounding`: of steps x strength, which is how many are run."""

    maximum: int
    rounding: Literal["down", "up"]


class PaceView(BaseModel):
    """Seconds measured here: of a step, and of all else in a job."""

    step_s: float
    other_s: float


class ModelView(BaseModel):
    """One bundle on this machine. `device` and `pace` are null before it has run."""

    name: str
    family: str
    device: str | None
    open: bool
    sizes: SizesView
    samplers: list[str]
    sigmas: dict[str, list[str]] = Field(description="of each sampler")
    defaults: DefaultsView
    steps: StepsView
    pace: PaceView | None


class ModeView(BaseModel):
    """What a mode or a preset brings; null leaves it to the bundle."""

    strength: float | None
    steps: int | None
    guidance_scale: float | None


class StyleView(BaseModel):
    name: str
    words: str


class LimitsView(BaseModel):
    upload_bytes: int
    upload_pixels: int
    upload_side: int
    upload_seconds: float
    media_seconds: float
    media_bytes: int
    job_seconds: float
    queue: int
    n: int
    prompt_characters: int


class CapabilitiesView(BaseModel):
    """The first model is the default. `styles` and `negative_prompt` are added in modify mode."""

    version: str
    models: list[ModelView]
    modes: dict[str, ModeView]
    presets: dict[str, ModeView]
    styles: list[StyleView]
    negative_prompt: str | None
    image_hosts: list[str]
    limits: LimitsView


class ProviderView(BaseModel):
    provider: str
    state: Literal["ready", "loading", "draining", "unhealthy"]
    detail: str
    waiting: int
    running: int
    capacity: int


class ReadyView(BaseModel):
    state: Literal["ready", "loading", "draining", "unhealthy"]
    detail: str
    providers: list[ProviderView]


class HealthView(BaseModel):
    status: Literal["ok"]
