"""What the native API is asked. An unknown field is an error that names it."""

from __future__ import annotations

import re
from typing import Annotated, Literal

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
