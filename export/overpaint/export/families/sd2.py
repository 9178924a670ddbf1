"""Stable Diffusion 2.x."""

from __future__ import annotations

from typing import Final

from overpaint.export.architectures import (
    BETAS,
    EXCLAMATION,
    PNDM,
    SD_LEVELS,
    Architecture,
    clip,
    unet,
    vae,
)
from overpaint.export.family import Export

from .sd1 import denoiser

_CLIP_H: Final = clip(1024, 23, 16, 512, hidden_act="gelu")
_DDIM_V: Final = ("DDIMScheduler", {**BETAS, "prediction_type": "v_prediction"})
_SECOND: Final = Architecture(
    like="Stable Diffusion 2.1 (768, v-prediction)",
    pipeline="StableDiffusionPipeline",
    components={
        "unet": unet(
            SD_LEVELS,
            sample_size=96,
            cross_attention_dim=1024,
            attention_head_dim=[5, 10, 20, 20],
            use_linear_projection=True,
            upcast_attention=True,
        ),
        "vae": vae(768, scaling_factor=0.18215, force_upcast=False),
        "text_encoder": ("transformers", "CLIPTextModel", _CLIP_H),
    },
    scheduler=_DDIM_V,
    pads={"tokenizer": EXCLAMATION},
)
_SECOND_BASE: Final = _SECOND.variant("Stable Diffusion 2.1 base (512, noise prediction)", PNDM)

EXPORT: Final = Export(
    denoiser=denoiser,
    architectures={
        "sd2.1": _SECOND,
        "sd2.1-base": _SECOND_BASE,
        "sd2-inpainting": _SECOND_BASE.inpainting(
            "Stable Diffusion 2 inpainting", "StableDiffusionInpaintPipeline", sample_size=64
        ),
    },
)
