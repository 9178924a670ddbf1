"""The native API's bodies. An unknown field is an error that names it."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from overpaint.runtime.schedule import SAMPLERS, SIGMAS
from overpaint.runtime.settings import MAX_SEED, Mode, Preset, Settings
from overpaint.serve.http.limits import Limits
from overpaint.serve.jobs.styles import MAX_LENGTH, MAX_ROWS

LIMITS = Limits()

Words = Annotated[str, StringConstraints(max_length=MAX_LENGTH)]
RowName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9 _-]{0,31}$")]
Prompt = Annotated[str, StringConstraints(max_length=LIMITS.prompt)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Part = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
Sampler = Annotated[str, Field(json_schema_extra={"enum": [*SAMPLERS]})]
Sigmas = Annotated[str, Field(json_schema_extra={"enum": [*SIGMAS]})]
Size = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{1,4}x[1-9][0-9]{1,4}$")]


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class JobRequest(Closed):
    """A picture to repaint; without `image`, one to paint. What is null or absent comes from
    `preset`, `mode`, or the bundle's defaults."""

    prompt: Prompt
    image: str | None = Field(
        None, description="an upload's id, a data URL, or an https URL on an allowed host"
    )
    model: str | None = Field(None, description="a name of /v1/capabilities; null is the first")
    negative_prompt: Prompt | None = None
    mode: Mode | None = Field(
        None, description='"modify" repaints; "copy" stays within strength 0.05 of the picture'
    )
    preset: Preset | None = None
    strength: Share | None = Field(None, description="0 keeps the picture, 1 repaints it all")
    reference_strength: Share | None = Field(None, description="strength = 1 - this")
    steps: Annotated[int, Field(ge=1, le=LIMITS.steps)] | None = None
    steps_mode: Literal["diffusers", "exact"] | None = None
    guidance_scale: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = None
    guidance_rescale: Share = Field(0.0, description="against colours that guidance washes out")
    eta: Share = Field(0.0, description="fresh noise in each step of ddim, gamma of tcd")
    denoising_start: Part | None = Field(None, description="begin here, and add no noise")
    denoising_end: Part | None = Field(None, description="stop here on the way to the picture")
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    sampler: Sampler | None = None
    sigmas: Sigmas | None = None
    rng: Literal["torch", "numpy"] | None = None
    n: Annotated[int, Field(ge=1, le=LIMITS.n)] = 1
    size: Size | None = Field(None, description="WIDTHxHEIGHT; null is the picture's own")
    resize: Literal["stretch", "crop", "pad"] = "stretch"
    max_sequence_length: Annotated[int, Field(ge=1, le=512)] | None = Field(
        None, description="how many tokens SD 3's T5 reads; null is 256"
    )
    prompt_chunks: bool = Field(False, description="chunk a long prompt instead of cutting it")
    prompt_weights: bool = Field(False, description="read (word:1.2) in the prompt as a weight")
    styles: Annotated[dict[RowName, Words], Field(max_length=MAX_ROWS)] | None = Field(
        None, description="rows to add to the prompt; null is the server's table, in modify mode"
    )

    def settings(self) -> Settings:
        """Raises UsageError where two fields contradict each other."""
        return Settings(
            strength=self.strength,
            reference_strength=self.reference_strength,
            mode=self.mode,
            preset=self.preset,
            steps=self.steps,
            steps_mode=self.steps_mode,
            guidance_scale=self.guidance_scale,
            guidance_rescale=self.guidance_rescale,
            eta=self.eta,
            denoising_start=self.denoising_start,
            denoising_end=self.denoising_end,
            negative_prompt=self.negative_prompt,
            sampler=self.sampler,
            sigmas=self.sigmas,
            seed=self.seed,
            rng=self.rng,
            n=self.n,
            size=parse_size(self.size) if self.size else None,
            resize=self.resize,
            max_sequence_length=self.max_sequence_length,
            prompt_chunks=self.prompt_chunks,
            prompt_weights=self.prompt_weights,
        )


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
    """One model. `device` and `pace` are null before it has run."""

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
