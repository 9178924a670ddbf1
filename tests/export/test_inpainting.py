"""Inpainting checkpoints: denoisers that see the mask and the masked picture beside the noise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import onnxruntime
import pytest
import torch
from tests.checkpoints import CLIP_G_WIDTH, CLIP_L_WIDTH, T5_WIDTH
from tests.conftest import Tiny

from overpaint.bundle.format.manifest_file import read_manifest

Array = np.ndarray[Any, Any]
CHANNELS = {"sd1": (4, 9), "sd2": (4, 9), "sdxl": (4, 9), "sd3": (16, 33)}
"""Of latents, and of what the denoiser takes."""
TRACED = [
    pytest.param(family, marks=pytest.mark.parity) if family == "sd2" else family
    for family in CHANNELS
]
"""SD 2's denoiser takes long to trace, and differs from SD 1's in nothing that a mask meets."""


def normal(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def conditions(family: str) -> dict[str, Array]:
    """What the denoiser is given beside the latents, for two pictures."""
    time = np.asarray(321, np.float32)
    if family == "sd3":
        return {
            "encoder_hidden_states": normal(2, 77 + 256, T5_WIDTH),
            "pooled_projections": normal(2, CLIP_L_WIDTH + CLIP_G_WIDTH),
            "timestep": np.full(2, time),
        }
    width = {"sd1": CLIP_L_WIDTH, "sd2": CLIP_G_WIDTH, "sdxl": CLIP_L_WIDTH + CLIP_G_WIDTH}
    text = {"timestep": time, "encoder_hidden_states": normal(2, 77, width[family])}
    if family == "sdxl":
        ids = np.asarray([[80, 104, 0, 0, 80, 104.0]] * 2, np.float32)
        text |= {"text_embeds": normal(2, CLIP_G_WIDTH), "time_ids": ids}
    return text


def predicted_by_torch(checkpoint: Path, sample: Array, text: dict[str, Array]) -> Array:
    given = {name: torch.tensor(value) for name, value in text.items()}
    with torch.inference_mode():
        if (checkpoint / "transformer").is_dir():
            transformer = diffusers.SD3Transformer2DModel.from_pretrained(
                checkpoint, subfolder="transformer"
            )
            return transformer(torch.tensor(sample), **given).sample.numpy()
        unet = diffusers.UNet2DConditionModel.from_pretrained(checkpoint, subfolder="unet")
        added = {name: given.pop(name) for name in ("text_embeds", "time_ids") if name in given}
        return unet(torch.tensor(sample), **given, added_cond_kwargs=added).sample.numpy()


@pytest.mark.parametrize("family", TRACED)
def test_its_denoiser_equals_torch(family: str, inpainting: Callable[[str], Tiny]) -> None:
    tiny, (latents, channels) = inpainting(family), CHANNELS[family]
    manifest = read_manifest(tiny.bundle)
    sample, text = normal(2, channels, 10, 12), conditions(family)
    session = onnxruntime.InferenceSession(tiny.bundle / manifest.denoiser / "model.onnx")
    name = "hidden_states" if family == "sd3" else "sample"
    [ours] = session.run(None, {name: sample, **text})
    theirs = predicted_by_torch(tiny.checkpoint, sample, text)
    assert ours.shape == theirs.shape == (2, latents, 10, 12)
    assert np.abs(ours - theirs).max() < 1e-5 * np.abs(theirs).max()


@pytest.mark.parametrize("family", TRACED)
def test_its_manifest_says_that_it_inpaints(
    family: str, inpainting: Callable[[str], Tiny], bundles: dict[str, Path]
) -> None:
    manifest, plain = read_manifest(inpainting(family).bundle), read_manifest(bundles[family])
    assert manifest.inpaints
    assert not plain.inpaints
    assert (manifest.family, manifest.latents) == (plain.family, plain.latents)
    assert manifest.defaults.strength == 1.0  # the mask is filled from nothing
