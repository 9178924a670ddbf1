"""A union network, which is told what it sees: diffusers' own pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from tests.conftest import Tiny
from tests.parity import LIMIT, PROMPT, SEED, difference, photograph

from overpaint.bundle.errors import UsageError
from overpaint.runtime import Control, Img2Img

SIZE, MAP = (64, 64), photograph((64, 64)).rotate(90)


def test_each_kind_of_picture_is_the_one_that_diffusers_makes(
    controlnet: Callable[..., Tiny], checkpoints: dict[str, Path], tiny_sdxl_bundle: Path
) -> None:
    network = controlnet("sdxl", "union", union=6)
    own = diffusers.DiffusionPipeline.from_pretrained(checkpoints["sdxl"])
    net = diffusers.ControlNetUnionModel.from_pretrained(network.checkpoint)
    made = diffusers.StableDiffusionXLControlNetUnionImg2ImgPipeline
    reference = made(**own.components, controlnet=net)
    reference.set_progress_bar_config(disable=True)
    pictures = []
    with Img2Img.open(tiny_sdxl_bundle, control=[network.bundle], device="cpu") as pipe:
        for kind in (0, 3):
            [wanted] = reference(
                PROMPT,
                image=photograph(SIZE),
                control_image=[MAP],
                control_mode=[kind],
                width=SIZE[0],
                height=SIZE[1],
                negative_prompt="blurry",
                num_inference_steps=5,
                strength=0.8,
                guidance_scale=5.0,
                controlnet_conditioning_scale=0.7,
                generator=torch.Generator().manual_seed(SEED),
            ).images
            [got] = pipe(
                photograph(SIZE),
                PROMPT,
                control={"union": Control(MAP, 0.7, kind=kind)},
                negative_prompt="blurry",
                steps=5,
                strength=0.8,
                guidance_scale=5.0,
                seed=SEED,
            ).images
            assert difference(np.asarray(wanted), np.asarray(got)) <= LIMIT
            pictures.append(np.asarray(got))
        assert not np.array_equal(*pictures), "the kind has a say"
        for kind in (None, 6):
            with pytest.raises(UsageError, match="a kind from 0 to 5"):
                pipe(photograph(SIZE), PROMPT, control={"union": Control(MAP, kind=kind)})
