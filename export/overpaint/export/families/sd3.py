"""Stable Diffusion 3 and 3.5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from overpaint.bundle.tensor import DType
from overpaint.export.architectures import (
    CLIP_G,
    CLIP_L,
    ENDS,
    EXCLAMATION,
    PROJECTED,
    T5_XXL,
    Architecture,
    vae,
)
from overpaint.export.family import Export
from overpaint.export.networks.mmdit import transformer_part
from overpaint.export.part import Config, Part


def _mmdit(heads: int, layers: int, **config: Any) -> tuple[str, str, Config]:
    widths: Config = {
        "attention_head_dim": 64,
        "num_attention_heads": heads,
        "caption_projection_dim": 64 * heads,
        "num_layers": layers,
        "joint_attention_dim": 4096,
        "pooled_projection_dim": 2048,
        "in_channels": 16,
        "out_channels": 16,
        "patch_size": 2,
        "sample_size": 128,
    }
    return "diffusers", "SD3Transformer2DModel", {**widths, **config}


_FLOW: Final = ("FlowMatchEulerDiscreteScheduler", {"num_train_timesteps": 1000, "shift": 3.0})
_SD3_MEDIUM: Final = Architecture(
    like="Stable Diffusion 3 Medium",
    pipeline="StableDiffusion3Pipeline",
    components={
        "transformer": _mmdit(24, 24, pos_embed_max_size=192),
        "vae": vae(
            1024,
            latent_channels=16,
            scaling_factor=1.5305,
            shift_factor=0.0609,
            force_upcast=True,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        "text_encoder": ("transformers", PROJECTED, CLIP_L),
        "text_encoder_2": ("transformers", PROJECTED, CLIP_G),
        "text_encoder_3": ("transformers", "T5EncoderModel", T5_XXL),
    },
    scheduler=_FLOW,
    pads={"tokenizer": ENDS, "tokenizer_2": EXCLAMATION},
)
_SD35_MEDIUM: Final = replace(
    _SD3_MEDIUM,
    like="Stable Diffusion 3.5 Medium",
    components={
        **_SD3_MEDIUM.components,
        "transformer": _mmdit(
            24,
            24,
            pos_embed_max_size=384,
            dual_attention_layers=list(range(13)),
            qk_norm="rms_norm",
        ),
    },
)
_SD35_LARGE: Final = replace(
    _SD3_MEDIUM,
    like="Stable Diffusion 3.5 Large",
    components={
        **_SD3_MEDIUM.components,
        "transformer": _mmdit(38, 38, pos_embed_max_size=192, qk_norm="rms_norm"),
    },
)


def _denoiser(configs: Mapping[str, Config], compute: DType) -> Part:
    return transformer_part(configs["transformer"], compute)


EXPORT: Final = Export(
    denoiser=_denoiser,
    architectures={
        "sd3-medium": _SD3_MEDIUM,
        "sd3.5-medium": _SD35_MEDIUM,
        "sd3.5-large": _SD35_LARGE,
        "sd3.5-large-turbo": _SD35_LARGE.variant(
            "Stable Diffusion 3.5 Large Turbo",
            _FLOW,
            _name_or_path="stabilityai/stable-diffusion-3.5-large-turbo",
        ),
    },
)
