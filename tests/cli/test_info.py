"""`overpaint info` says of each family's bundle what a person needs to use it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import Tiny
from typer.testing import CliRunner

from overpaint.cli.app import app

SAID = {
    "tiny_sd1": (
        "sd1 (Stable Diffusion 1.x), epsilon prediction",
        "defaults     strength 0.8, 50 steps, guidance 7.5",
        "PNDMScheduler, which the sampler default runs",
        "text_encoder: CLIP, 77 tokens, padded with 49407",
        "4 channels, 8x8 pixels each; scaled by 0.18215",
        "sides are multiples of 8; 8 to 4096 pixels; 32 at a time, 16 with guidance",
    ),
    "tiny_sd2": (
        "sd2 (Stable Diffusion 2.x), v_prediction prediction",
        "DDIMScheduler, which the sampler default runs",
        "text_encoder: CLIP, 77 tokens, padded with 0",
    ),
    "tiny_sdxl": (
        "sdxl (Stable Diffusion XL), epsilon prediction",
        "defaults     strength 0.3, 50 steps, guidance 5",
        "EulerDiscreteScheduler, which the sampler default runs",
        "text_encoder_2: CLIP, 77 tokens, padded with 0",
        'an absent negative prompt is zeros, which is not the empty ""',
        "scaled by 0.13025",
    ),
    "tiny_refiner": (
        "sdxl-refiner (the refiner of Stable Diffusion XL)",
        "told an aesthetic score: 6, and 2.5 beside the negative prompt",
        "finishes     what Stable Diffusion XL begins",
    ),
    "tiny_sd3": (
        "sd3 (Stable Diffusion 3 or 3.5), flow prediction",
        "FlowMatchEulerDiscreteScheduler, which the sampler default runs",
        "text_encoder_3: T5, 256 tokens, padded with 0",
        "16 channels, 8x8 pixels each; scaled by 1.5305, shifted by 0.0609",
        # The tiny MMDiT's positions end at 24 patches of 2x2 latents of 8x8 pixels.
        "sides are multiples of 16; 16 to 384 pixels",
    ),
    "tiny_flux1": (
        "flux1 (FLUX.1), flow prediction",
        "defaults     strength 0.6, 28 steps, guidance 3.5",
        "text_encoder: CLIP, 77 tokens, padded with 49407, pooled alone",
        "text_encoder_2: T5, 512 tokens, padded with 0",
        "the denoiser is told the guidance scale; a negative prompt has a say",
        "16 channels, 8x8 pixels each; scaled by 0.3611, shifted by 0.1159",
        "sides are multiples of 16; 16 to 4096 pixels",
    ),
    "tiny_z_image": (
        "z-image (Z-Image), flow prediction",
        "defaults     strength 0.6, 8 steps, guidance 1",
        "text_encoder: Qwen3, at most 512 tokens",
        "16 channels, 8x8 pixels each; scaled by 0.3611, shifted by 0.1159",
        "sides are multiples of 16; 16 to 4096 pixels",
    ),
    "tiny_klein": (
        "flux2-klein (FLUX.2 klein), flow prediction",
        "defaults     strength 0.8, 4 steps, guidance 1",
        "text_encoder: Qwen3, 512 tokens, padded with",
        "128 channels, 16x16 pixels each; scaled by 1",
        "the denoiser looks at the picture that is repainted",
        "sides are multiples of 16; 16 to 4096 pixels",
    ),
    "tiny_schnell": (
        "defaults     strength 0.6, 4 steps, guidance 1",
        "text_encoder_2: T5, 256 tokens, padded with 0",
    ),
}


@pytest.mark.parametrize("family", SAID)
def test_info_says_what_a_person_needs(family: str, request: pytest.FixtureRequest) -> None:
    bundle: Path = request.getfixturevalue(f"{family}_bundle")
    told = CliRunner().invoke(app, ["info", str(bundle)]).output
    for said in (*SAID[family], "made from", "made by", "parity", "runs on", "components"):
        assert said in told


def test_info_says_that_a_bundle_inpaints(inpainting: Callable[[str], Tiny]) -> None:
    bundle = str(inpainting("sd1").bundle)
    told = CliRunner().invoke(app, ["info", bundle]).output
    assert "sd1 (Stable Diffusion 1.x), inpainting, epsilon prediction" in told
    assert "masks        its denoiser is shown the mask and what of the picture is kept" in told
    assert "defaults     strength 1, " in told
    assert json.loads(CliRunner().invoke(app, ["info", bundle, "--json"]).output)["inpaints"]
