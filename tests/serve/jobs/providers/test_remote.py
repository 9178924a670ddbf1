"""Another overpaint server: what is sent there, and what it says of itself."""

from __future__ import annotations

from dataclasses import fields

from overpaint.runtime.settings import Settings
from overpaint.serve.api.native.schema import JobRequest
from overpaint.serve.jobs.protocol import Order
from overpaint.serve.jobs.providers.remote import as_json


def test_every_setting_of_the_runtime_can_be_asked_for_and_handed_on() -> None:
    """One that the API did not know would be refused by every server that is fallen back to."""
    everything = Settings(
        preset="fast",
        steps=7,
        steps_mode="exact",
        guidance_scale=3.0,
        guidance_rescale=0.5,
        negative_prompt="fog",
        sampler="euler",
        sigmas="karras",
        eta=0.2,
        denoising_start=0.1,
        denoising_end=0.9,
        seed=5,
        rng="numpy",
        n=2,
        size=(64, 48),
        resize="crop",
        max_sequence_length=512,
        prompt_chunks=True,
        prompt_weights=True,
    )
    # What denoising_start has the say over.
    others = [Settings(strength=0.3), Settings(reference_strength=0.4), Settings(mode="modify")]
    unchanged = {
        field.name
        for field in fields(Settings)
        if all(getattr(one, field.name) == field.default for one in (everything, *others))
    }
    assert not unchanged, "give these a value here"
    for settings in (everything, *others):
        body = as_json(Order(model="fake", prompt="red", settings=settings))
        assert JobRequest.model_validate(body).settings() == settings
