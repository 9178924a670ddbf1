"""What is run live where nothing was said: few steps, all of them, one call for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from overpaint.bundle.errors import UsageError
from overpaint.bundle.format.bundle import Bundle
from overpaint.runtime.choices import LATENTS
from overpaint.runtime.request import Request
from overpaint.runtime.resolved import random_seed
from overpaint.runtime.settings import Settings

STEPS: Final = 4
FEW_STEPS: Final = ("lcm", "tcd")
"""Samplers of consistency models, whose steps lie in the range that strength narrows."""


def live_request(
    bundle: Bundle,
    prompt: str,
    settings: Settings,
    residual_guidance: float,
    lora: Mapping[str, float],
) -> Request:
    """A request for frames of `prompt`. Raises UsageError for what no live run can do."""
    if residual_guidance < 0 or (residual_guidance != 1 and (settings.guidance_scale or 1) > 1):
        raise UsageError(
            f"residual_guidance: expected 0 or more, and no guidance_scale beside it; got "
            f"{residual_guidance} and {settings.guidance_scale}"
        )
    if settings.pictures != 1:
        raise UsageError(f"n: a live run makes one picture of each frame, got {settings.pictures}")
    if settings.resize == LATENTS:
        raise UsageError(
            "resize: a live run's frames are resized in pixels; expected stretch or crop"
        )
    if settings.steps_mode == "diffusers":
        raise UsageError("steps_mode: a live run runs all its steps; expected exact or lcm")
    flows = bundle.manifest.prediction == "flow"  # for which there is no TCD
    sampler = settings.sampler or ("default" if flows else "tcd")
    mode = settings.steps_mode or ("lcm" if sampler in FEW_STEPS else "exact")
    asked = replace(
        settings,
        sampler=sampler,
        steps_mode=mode,
        steps=settings.steps or STEPS,
        guidance_scale=1.0 if settings.guidance_scale is None else settings.guidance_scale,
        seed=random_seed() if settings.seed is None else settings.seed,
    )
    return Request(None, prompt, asked, lora=lora)
