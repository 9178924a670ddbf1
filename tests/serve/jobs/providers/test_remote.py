"""Another overpaint server: what is sent there, and what it says of itself."""

from __future__ import annotations

import json
from dataclasses import fields, replace

from tests.serve.running import data_url

from overpaint.bundle.facts import Defaults
from overpaint.runtime.control.control import Control
from overpaint.runtime.image import Sides
from overpaint.runtime.settings import Settings
from overpaint.serve.api.native.about import describe
from overpaint.serve.api.native.schema import JobRequest
from overpaint.serve.config import Config
from overpaint.serve.jobs.capabilities import ModelCapabilities, Pace
from overpaint.serve.jobs.protocol import Order
from overpaint.serve.jobs.providers.remote import as_json, read_capabilities


def test_every_setting_of_the_runtime_can_be_asked_for_and_handed_on() -> None:
    """One that the API did not know would be refused by every server that is fallen back to."""
    everything = Settings(
        preset="fast",
        steps=7,
        steps_mode="exact",
        guidance_scale=3.0,
        true_cfg_scale=2.0,
        guidance_rescale=0.5,
        cfg_zero_star=True,
        fidelity="draft",
        forecast=1,
        guidance_start=0.1,
        guidance_end=0.8,
        adaptive_guidance=0.9,
        vae="tiny",
        negative_prompt="fog",
        sampler="euler",
        sigmas="karras",
        eta=0.2,
        denoising_start=0.1,
        denoising_end=0.9,
        seed=5,
        variation_seed=6,
        variation_strength=0.3,
        rng="numpy",
        n=2,
        size=(64, 48),
        tile="64x64",
        upscale=2.0,
        upscale_strength=0.4,
        upscale_steps=3,
        resize="crop",
        match_colour="mean",
        max_sequence_length=512,
        clip_skip=1,
        clip_skip_negative=True,
        prompt_chunks=True,
        prompt_weights=True,
        guess_mode=True,
        ip_adapter_scale=0.4,
        mask_from_alpha=True,
        extend=(8, 0, 0, 16),
        mask_invert=True,
        mask_mode="soft",
        mask_blur=2.5,
        mask_padding=32,
        mask_fill="noise",
        mask_cells="nearest",
        mask_paste=False,
    )
    # What denoising_start has the say over.
    others = [Settings(strength=0.3), Settings(reference_strength=0.4), Settings(mode="modify")]
    others += [Settings(seeds=(1, 5, 9))]
    unchanged = {
        field.name
        for field in fields(Settings)
        if all(getattr(one, field.name) == field.default for one in (everything, *others))
    }
    assert not unchanged, "give these a value here"
    for settings in (everything, *others):
        order = Order(model="fake", prompt="red", image=b"i", mask=b"m", settings=settings)
        asked = JobRequest.model_validate_json(json.dumps(as_json(order)))
        assert asked.settings() == settings
        assert (asked.image, asked.mask) == (data_url(b"i"), data_url(b"m"))


def test_what_control_networks_are_shown_is_handed_on() -> None:
    shown = {"canny": Control(b"edges", 0.5, 0.1, 0.9), "tile": Control(preprocessor="tile")}
    order = Order(model="fake", prompt="red", image=b"i", control=shown)
    asked = JobRequest.model_validate_json(json.dumps(as_json(order)))
    assert asked.control is not None
    for name, one in asked.control.items():
        told = one.model_dump()
        assert told.pop("picture") == (data_url(b"edges") if name == "canny" else None)
        assert replace(shown[name], picture=None) == Control(**told)


def test_what_a_server_says_of_its_models_is_read_as_it_was_meant() -> None:
    model = ModelCapabilities(
        name="fake",
        family="sd3",
        sha256="a" * 64,
        sides=Sides(multiple=16, minimum=64, maximum=1024),
        native=(768, 512),
        samplers={"default": ("default",), "euler": ("default", "karras")},
        defaults=Defaults(steps=28, guidance_scale=7.0, strength=0.6, sampler="euler"),
        rounding="up",
        max_steps=150,
        max_images=10,
        masks=("hard", "soft"),
        controls={"canny": None, "union": 6},
        device="NumPy",
        open=True,
        pace=Pace(step_s=0.2, other_s=0.5, pixels=4096.0),
    )
    idle = replace(model, name="idle", device=None, open=False, pace=None)
    body = json.loads(describe(Config(), [model, idle]).model_dump_json())
    there = replace(model, device="NumPy at http://there")
    assert read_capabilities(body, "http://there") == (there, idle)
