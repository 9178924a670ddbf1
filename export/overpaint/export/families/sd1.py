"""Stable Diffusion 1.x."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from overpaint.bundle.tensor import DType
from overpaint.export.architectures import (
    CLIP_L,
    ENDS,
    PNDM,
    SD_LEVELS,
    Architecture,
    unet,
    vae,
)
from overpaint.export.family import Export
from overpaint.export.networks.unet import unet_part
from overpaint.export.part import Config, Part

_FIRST: Final = Architecture(
    like="Stable Diffusion 1.5",
    pipeline="StableDiffusionPipeline",
    components={
        "unet": unet(SD_LEVELS, sample_size=64, cross_attention_dim=768, attention_head_dim=8),
        "vae": vae(512, scaling_factor=0.18215, force_upcast=False),
        "text_encoder": ("transformers", "CLIPTextModel", CLIP_L),
    },
    scheduler=PNDM,
    pads={"tokenizer": ENDS},
)


def denoiser(configs: Mapping[str, Config], compute: DType) -> Part:
    """A UNet without pooled text."""
    return unet_part(configs["unet"], compute)


EXPORT: Final = Export(
    denoiser=denoiser,
    architectures={
        "sd1.5": _FIRST,
        "sd1.5-inpainting": _FIRST.inpainting(
            "Stable Diffusion 1.5 inpainting", "StableDiffusionInpaintPipeline"
        ),
    },
)
