"""The architectures whose graphs the wheel carries, by the configurations of their first releases.

A fine-tune keeps its base's architecture, so these few cover nearly all checkpoints. Only what
differs from the classes' defaults is written down. A *variant* has the same tensors and another
scheduler, which nothing in a single file may tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

Config = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A pipeline without weights. `components`: folder -> (library, class, config).

    `like` is the name that people know a release by, for messages; `index` what else its
    model_index.json says; `pads` the padding token of each CLIP tokenizer.
    """

    like: str
    pipeline: str
    components: Mapping[str, tuple[str, str, Config]]
    scheduler: tuple[str, Config]
    pads: Mapping[str, str]
    index: Config = field(default_factory=dict)

    def variant(self, like: str, scheduler: tuple[str, Config], **index: Any) -> Architecture:
        """The same tensors, trained for another schedule."""
        return replace(self, like=like, scheduler=scheduler, index={**self.index, **index})


def _unet(levels: Config, **config: Any) -> tuple[str, str, Config]:
    return "diffusers", "UNet2DConditionModel", {"layers_per_block": 2, **levels, **config}


def _vae(size: int, **config: Any) -> tuple[str, str, Config]:
    levels: Config = {
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "layers_per_block": 2,
    }
    return "diffusers", "AutoencoderKL", {"sample_size": size, **levels, **config}


def _clip(width: int, layers: int, heads: int, projection: int, **config: Any) -> Config:
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "projection_dim": projection,
        "max_position_embeddings": 77,
        "vocab_size": 49408,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 1,
        **config,
    }


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


_ENDS, _EXCLAMATION = "<|endoftext|>", "!"
_BETAS: Final[Config] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "steps_offset": 1,
    "set_alpha_to_one": False,
    "clip_sample": False,
}
_LEADING: Final[Config] = {**_BETAS, "timestep_spacing": "leading", "prediction_type": "epsilon"}
_TRAILING: Final[Config] = {**_LEADING, "timestep_spacing": "trailing"}
_PNDM: Final = ("PNDMScheduler", {**_BETAS, "skip_prk_steps": True, "prediction_type": "epsilon"})
_DDIM_V: Final = ("DDIMScheduler", {**_BETAS, "prediction_type": "v_prediction"})
_EULER: Final = ("EulerDiscreteScheduler", {**_LEADING, "interpolation_type": "linear"})
_EULER_V: Final = (
    "EulerDiscreteScheduler",
    {**_TRAILING, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
)
_FLOW: Final = ("FlowMatchEulerDiscreteScheduler", {"num_train_timesteps": 1000, "shift": 3.0})

_SD_LEVELS: Final[Config] = {
    "block_out_channels": [320, 640, 1280, 1280],
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}
_XL_CONDITIONS: Final[Config] = {
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "sample_size": 128,
}
_CLIP_L: Final = _clip(768, 12, 12, 768, hidden_act="quick_gelu")
_CLIP_H: Final = _clip(1024, 23, 16, 512, hidden_act="gelu")
_CLIP_G: Final = _clip(1280, 32, 20, 1280, hidden_act="gelu")
_T5_XXL: Final[Config] = {
    "vocab_size": 32128,
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
    "is_gated_act": True,
    "dense_act_fn": "gelu_new",
    "decoder_start_token_id": 0,
}
_PROJECTED: Final = "CLIPTextModelWithProjection"

SD1: Final = Architecture(
    like="Stable Diffusion 1.5",
    pipeline="StableDiffusionPipeline",
    components={
        "unet": _unet(_SD_LEVELS, sample_size=64, cross_attention_dim=768, attention_head_dim=8),
        "vae": _vae(512, scaling_factor=0.18215, force_upcast=False),
        "text_encoder": ("transformers", "CLIPTextModel", _CLIP_L),
    },
    scheduler=_PNDM,
    pads={"tokenizer": _ENDS},
)
SD2: Final = Architecture(
    like="Stable Diffusion 2.1 (768, v-prediction)",
    pipeline="StableDiffusionPipeline",
    components={
        "unet": _unet(
            _SD_LEVELS,
            sample_size=96,
            cross_attention_dim=1024,
            attention_head_dim=[5, 10, 20, 20],
            use_linear_projection=True,
            upcast_attention=True,
        ),
        "vae": _vae(768, scaling_factor=0.18215, force_upcast=False),
        "text_encoder": ("transformers", "CLIPTextModel", _CLIP_H),
    },
    scheduler=_DDIM_V,
    pads={"tokenizer": _EXCLAMATION},
)
SDXL: Final = Architecture(
    like="Stable Diffusion XL base 1.0",
    pipeline="StableDiffusionXLPipeline",
    components={
        "unet": _unet(
            {
                "block_out_channels": [320, 640, 1280],
                "down_block_types": ["DownBlock2D"] + ["CrossAttnDownBlock2D"] * 2,
                "up_block_types": ["CrossAttnUpBlock2D"] * 2 + ["UpBlock2D"],
                "attention_head_dim": [5, 10, 20],
                "transformer_layers_per_block": [1, 2, 10],
            },
            cross_attention_dim=2048,
            projection_class_embeddings_input_dim=1280 + 6 * 256,
            **_XL_CONDITIONS,
        ),
        "vae": _vae(1024, scaling_factor=0.13025, force_upcast=True),
        "text_encoder": ("transformers", "CLIPTextModel", _CLIP_L),
        "text_encoder_2": ("transformers", _PROJECTED, _CLIP_G),
    },
    scheduler=_EULER,
    pads={"tokenizer": _ENDS, "tokenizer_2": _EXCLAMATION},
    index={"force_zeros_for_empty_prompt": True},
)
REFINER: Final = Architecture(
    like="Stable Diffusion XL refiner 1.0",
    pipeline="StableDiffusionXLImg2ImgPipeline",
    components={
        "unet": _unet(
            {
                "block_out_channels": [384, 768, 1536, 1536],
                "down_block_types": ["DownBlock2D", *["CrossAttnDownBlock2D"] * 2, "DownBlock2D"],
                "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 2, "UpBlock2D"],
                "attention_head_dim": [6, 12, 24, 24],
                "transformer_layers_per_block": 4,
            },
            cross_attention_dim=1280,
            projection_class_embeddings_input_dim=1280 + 5 * 256,
            **_XL_CONDITIONS,
        ),
        "vae": _vae(1024, scaling_factor=0.13025, force_upcast=True),
        "text_encoder_2": ("transformers", _PROJECTED, _CLIP_G),
    },
    scheduler=_EULER,
    pads={"tokenizer_2": _EXCLAMATION},
    index={"force_zeros_for_empty_prompt": False, "requires_aesthetics_score": True},
)
SD3: Final = Architecture(
    like="Stable Diffusion 3 Medium",
    pipeline="StableDiffusion3Pipeline",
    components={
        "transformer": _mmdit(24, 24, pos_embed_max_size=192),
        "vae": _vae(
            1024,
            latent_channels=16,
            scaling_factor=1.5305,
            shift_factor=0.0609,
            force_upcast=True,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        "text_encoder": ("transformers", _PROJECTED, _CLIP_L),
        "text_encoder_2": ("transformers", _PROJECTED, _CLIP_G),
        "text_encoder_3": ("transformers", "T5EncoderModel", _T5_XXL),
    },
    scheduler=_FLOW,
    pads={"tokenizer": _ENDS, "tokenizer_2": _EXCLAMATION},
)
SD35_MEDIUM: Final = replace(
    SD3,
    like="Stable Diffusion 3.5 Medium",
    components={
        **SD3.components,
        "transformer": _mmdit(
            24,
            24,
            pos_embed_max_size=384,
            dual_attention_layers=list(range(13)),
            qk_norm="rms_norm",
        ),
    },
)
SD35_LARGE: Final = replace(
    SD3,
    like="Stable Diffusion 3.5 Large",
    components={
        **SD3.components,
        "transformer": _mmdit(38, 38, pos_embed_max_size=192, qk_norm="rms_norm"),
    },
)

ARCHITECTURES: Final[dict[str, Architecture]] = {
    "sd1.5": SD1,
    "sd2.1": SD2,
    "sd2.1-base": SD2.variant("Stable Diffusion 2.1 base (512, noise prediction)", _PNDM),
    "sdxl-base": SDXL,
    "sdxl-v": SDXL.variant("an SDXL fine-tune with v-prediction", _EULER_V),
    "sdxl-turbo": SDXL.variant(
        "SDXL Turbo",
        ("EulerAncestralDiscreteScheduler", _TRAILING),
        _name_or_path="stabilityai/sdxl-turbo",
    ),
    "sdxl-refiner": REFINER,
    "sd3-medium": SD3,
    "sd3.5-medium": SD35_MEDIUM,
    "sd3.5-large": SD35_LARGE,
    "sd3.5-large-turbo": SD35_LARGE.variant(
        "Stable Diffusion 3.5 Large Turbo",
        _FLOW,
        _name_or_path="stabilityai/stable-diffusion-3.5-large-turbo",
    ),
}
