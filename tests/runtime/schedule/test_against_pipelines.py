"""Which steps run is what diffusers' img2img pipelines run. They are built without models: only
their constructors and `get_timesteps` are asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from diffusers import (
    StableDiffusion3Img2ImgPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionXLImg2ImgPipeline,
)
from tests.runtime.schedule.diffusers_reference import SD, scheduler_class

from overpaint.runtime.schedule import brought_up_to_date, make_schedule, read_scheduler_config

STRENGTHS = [round(0.01 * i, 2) for i in range(1, 101)]
EULER: dict[str, Any] = {"_class_name": "EulerDiscreteScheduler", **SD, "steps_offset": 1}
FLOW: dict[str, Any] = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}


def scheduler_of(fields: dict[str, Any], sampler_class: str | None = None) -> Any:
    own = scheduler_class(fields["_class_name"]).from_config(fields)
    return scheduler_class(sampler_class).from_config(own.config) if sampler_class else own


def pipeline(kind: Any, scheduler: Any) -> Any:
    if kind is StableDiffusionImg2ImgPipeline:
        return kind(
            vae=None, text_encoder=None, tokenizer=None, unet=None, scheduler=scheduler,
            safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        )  # fmt: skip
    if kind is StableDiffusionXLImg2ImgPipeline:
        return kind(
            vae=None, text_encoder=None, text_encoder_2=None, tokenizer=None, tokenizer_2=None,
            unet=None, scheduler=scheduler, add_watermarker=False,
        )  # fmt: skip
    return kind(
        transformer=None, scheduler=scheduler, vae=None, text_encoder=None, tokenizer=None,
        text_encoder_2=None, tokenizer_2=None, text_encoder_3=None, tokenizer_3=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "fields", "rounding"),
    [
        (StableDiffusionImg2ImgPipeline, EULER, "down"),
        (StableDiffusionXLImg2ImgPipeline, EULER, "down"),
        (StableDiffusion3Img2ImgPipeline, FLOW, "up"),
    ],
)
@pytest.mark.parametrize("steps", [1, 2, 4, 20, 25, 28, 50, 90, 100])
def test_every_strength_runs_the_pipelines_timesteps(
    kind: Any, fields: dict[str, Any], rounding: Any, steps: int
) -> None:
    pipe = pipeline(kind, scheduler_of(fields))
    pipe.scheduler.set_timesteps(steps)
    config = read_scheduler_config(fields)
    for strength in STRENGTHS:
        timesteps, executed = pipe.get_timesteps(steps, strength, None)
        ours = make_schedule(config, steps=steps, strength=strength, rounding=rounding)
        assert len(ours.rows) == len(timesteps)
        assert ours.executed == (executed if len(timesteps) else 0)
        np.testing.assert_allclose([row.timestep for row in ours.rows], timesteps, rtol=1e-6)


@pytest.mark.parametrize(
    ("sampler", "name"),
    [
        ("euler", "EulerDiscreteScheduler"),
        ("heun", "HeunDiscreteScheduler"),
        ("ddim", "DDIMScheduler"),
        ("dpmpp-2m", "DPMSolverMultistepScheduler"),
        ("unipc", "UniPCMultistepScheduler"),
    ],
)
def test_denoising_start_is_sdxls(sampler: str, name: str) -> None:
    pipe = pipeline(StableDiffusionXLImg2ImgPipeline, scheduler_of(EULER, name))
    config = read_scheduler_config(EULER)
    for steps in (7, 25, 40):
        pipe.scheduler.set_timesteps(steps)
        for start in (0.1, 0.5, 0.8, 0.81, 0.95):
            timesteps, _ = pipe.get_timesteps(steps, 0.3, None, denoising_start=start)
            ours = make_schedule(
                config, steps=steps, strength=0.3, sampler=sampler, denoising_start=start
            )
            theirs = timesteps.tolist()
            np.testing.assert_allclose([row.timestep for row in ours.rows], theirs, rtol=1e-6)


@pytest.mark.parametrize("name", ["PNDMScheduler", "DDIMScheduler", "EulerDiscreteScheduler"])
@pytest.mark.parametrize("steps_offset", [None, 0, 1])
@pytest.mark.parametrize("clip_sample", [None, True, False])
def test_early_sd_configs_are_brought_up_to_date_as_the_pipeline_does(
    name: str, steps_offset: int | None, clip_sample: bool | None
) -> None:
    fields: dict[str, Any] = {"_class_name": name, **SD, "skip_prk_steps": True}
    fields |= {} if steps_offset is None else {"steps_offset": steps_offset}
    fields |= {} if clip_sample is None else {"clip_sample": clip_sample}
    pipe = pipeline(StableDiffusionImg2ImgPipeline, scheduler_of(fields))
    corrected = pipe.scheduler.config
    assert (corrected.steps_offset, corrected.get("clip_sample", False)) == (1, False)
    ours = brought_up_to_date(read_scheduler_config(fields)).written
    assert (ours["steps_offset"], ours["clip_sample"]) == (1, False)
