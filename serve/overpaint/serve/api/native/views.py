"""What the native API answers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field


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
    seeds: list[int] | list[str]
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
    """`fallback` says why the first provider does not have the job; null where it does. `restarts`
    counts the servers that were killed before the job had ended."""

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
    restarts: int = 0
    tried: list[TriedView]


class InfotextView(BaseModel):
    """`settings`: options of a job, by name. `other`: whatever else is said, in its own words."""

    prompt: str
    settings: dict[str, Any]
    other: dict[str, Any]


class ErrorView(BaseModel):
    code: str
    message: str
    field: str | None
    id: str


class ProblemView(BaseModel):
    """Every answer that is not a success."""

    error: ErrorView


class SizesView(BaseModel):
    """Sides in pixels; `default` is for text to image. `most_pixels`: of each picture of a job with
    one, two, … pictures, as the memory there is enough for; empty where that is not known."""

    multiple: int
    minimum: int
    maximum: int
    default: Area
    most_pixels: list[int] = []


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
    """Seconds measured here: of a step, and of all else in a job, which painted so many pixels.
    Both grow with them."""

    step_s: float
    other_s: float
    pixels: float


class ModelView(BaseModel):
    """One model. `device` and `pace` are null before it has run; `masks` are the values of
    `mask_mode` that it takes, `references` whether it sees reference pictures through an adapter,
    `looks_at_pictures` whether its denoiser does, `loras` the names to which a job may give
    weights."""

    name: str
    family: str
    sha256: str = Field(description="of the checkpoint; empty where its server does not tell")
    device: str | None
    open: bool
    sizes: SizesView
    samplers: list[str]
    sigmas: dict[str, list[str]] = Field(description="of each sampler")
    defaults: DefaultsView
    steps: StepsView
    masks: list[str] = []
    references: bool = False
    looks_at_pictures: bool = False
    loras: list[str] = []
    embeddings: dict[str, int] = Field(
        {}, description="words of textual inversions, and how many tokens each of them is"
    )
    controls: dict[str, int | None] = Field(
        {}, description="control networks, and how many kinds of picture a union one tells apart"
    )
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
    live_sessions: int
    n: int
    references: int
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
