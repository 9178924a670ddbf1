"""Stable Diffusion XL's refiner."""

from __future__ import annotations

from typing import Final

from overpaint.export.architectures import (
    CLIP_G,
    EXCLAMATION,
    PROJECTED,
    Architecture,
    unet,
    vae,
)
from overpaint.export.family import Export

from .sdxl import EULER, XL_CONDITIONS, denoiser

_REFINER: Final = Architecture(
    like="Stable Diffusion XL refiner 1.0",
    pipeline="StableDiffusionXLImg2ImgPipeline",
    components={
        "unet": unet(
            {
                "block_out_channels": [384, 768, 1536, 1536],
                "down_block_types": ["DownBlock2D", *["CrossAttnDownBlock2D"] * 2, "DownBlock2D"],
                "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 2, "UpBlock2D"],
                "attention_head_dim": [6, 12, 24, 24],
                "transformer_layers_per_block": 4,
            },
            cross_attention_dim=1280,
            projection_class_embeddings_input_dim=1280 + 5 * 256,
            **XL_CONDITIONS,
        ),
        "vae": vae(1024, scaling_factor=0.13025, force_upcast=True),
        "text_encoder_2": ("transformers", PROJECTED, CLIP_G),
    },
    scheduler=EULER,
    pads={"tokenizer_2": EXCLAMATION},
    index={"force_zeros_for_empty_prompt": False, "requires_aesthetics_score": True},
)

EXPORT: Final = Export(denoiser=denoiser, architectures={"sdxl-refiner": _REFINER})
