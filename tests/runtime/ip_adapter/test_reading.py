"""Reference pictures and their masks, read as transformers and diffusers read them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers.image_processor import IPAdapterMaskProcessor
from PIL import Image, ImageDraw
from tests.parity import photograph
from transformers import CLIPImageProcessor

from overpaint.bundle.ip_adapter.inputs import sides
from overpaint.runtime.ip_adapter.cells import mask_cells
from overpaint.runtime.ip_adapter.pixels import clip_pixels


@pytest.mark.parametrize("size", [(224, 224), (640, 427), (301, 500), (57, 91), (224, 900)])
@pytest.mark.parametrize("side", [32, 224])
def test_a_picture_is_what_clips_own_processor_makes_of_it(
    size: tuple[int, int], side: int
) -> None:
    processor = CLIPImageProcessor(size=side, crop_size=side)
    theirs = processor(photograph(size), return_tensors="np").pixel_values
    assert np.abs(clip_pixels(photograph(size), side) - theirs).max() < 1e-6


@pytest.mark.parametrize("own", [(128, 64), (300, 200)])
@pytest.mark.parametrize("level", range(4))
def test_a_mask_weighs_the_cells_of_each_level_as_diffusers_has_it(
    own: tuple[int, int], level: int
) -> None:
    width, height = 128, 64
    mask = Image.new("L", own, 0)
    ImageDraw.Draw(mask).ellipse((own[0] // 4, 3, own[0] - 9, own[1] - 11), 255)
    processed = IPAdapterMaskProcessor().preprocess(mask, height=height, width=width)
    here = sides(level, height // 8, width // 8)
    cells = here[0] * here[1]
    theirs = IPAdapterMaskProcessor.downsample(processed[0], 1, cells, 1)[0, :, 0]
    ours = mask_cells(mask, (width, height), here)
    assert torch.abs(theirs - torch.from_numpy(ours)).max() < 1e-5


def test_a_levels_sides_are_rounded_up_at_each_halving() -> None:
    assert [sides(level, 9, 13) for level in range(4)] == [(9, 13), (5, 7), (3, 4), (2, 2)]
