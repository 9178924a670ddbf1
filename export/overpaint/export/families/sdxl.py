"""Stable Diffusion XL's base."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from overpaint.bundle.tensor import DType
from overpaint.export.architectures import (
    CLIP_G,
    CLIP_L,
    ENDS,
    EXCLAMATION,
    LEADING,
    PROJECTED,
    TRAILING,
    Architecture,
    unet,
    vae,
)
from overpaint.export.family import Export
from overpaint.export.networks.unet import unet_part
from overpaint.export.part import Config, Part

XL_CONDITIONS: Final[Config] = {
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "sample_size": 128,
}
EULER: Final = ("EulerDiscreteScheduler", {**LEADING, "interpolation_type": "linear"})
_EULER_V: Final = (
    "EulerDiscreteScheduler",
    {**TRAILING, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
)
_BASE: Final = Architecture(
    like="Stable Diffusion XL base 1.0",
    pipeline="StableDiffusionXLPipeline",
    components={
        "unet": unet(
            {
                "block_out_channels": [320, 640, 1280],
                "down_block_types": ["DownBlock2D"] + ["CrossAttnDownBlock2D"] * 2,
                "up_block_types": ["CrossAttnUpBlock2D"] * 2 + ["UpBlock2D"],
                "attention_head_dim": [5, 10, 20],
                "transformer_layers_per_block": [1, 2, 10],
            },
            cross_attention_dim=2048,
            projection_class_embeddings_input_dim=1280 + 6 * 256,
            **XL_CONDITIONS,
        ),
        "vae": vae(1024, scaling_factor=0.13025, force_upcast=True),
        "text_encoder": ("transformers", "CLIPTextModel", CLIP_L),
        "text_encoder_2": ("transformers", PROJECTED, CLIP_G),
    },
    scheduler=EULER,
    pads={"tokenizer": ENDS, "tokenizer_2": EXCLAMATION},
    index={"force_zeros_for_empty_prompt": True},
)


def denoiser(configs: Mapping[str, Config], compute: DType) -> Part:
    """A UNet that is given what the second text encoder projects."""
    return unet_part(configs["unet"], compute, configs["text_encoder_2"]["projection_dim"])


EXPORT: Final = Export(
    denoiser=denoiser,
    architectures={
        "sdxl-base": _BASE,
        "sdxl-v": _BASE.variant("an SDXL fine-tune with v-prediction", _EULER_V),
        "sdxl-turbo": _BASE.variant(
            "SDXL Turbo",
            ("EulerAncestralDiscreteScheduler", TRAILING),
            _name_or_path="stabilityai/sdxl-turbo",
        ),
        "sdxl-inpainting": _BASE.inpainting(
            "Stable Diffusion XL 1.0 inpainting", "StableDiffusionXLInpaintPipeline"
        ),
    },
)
