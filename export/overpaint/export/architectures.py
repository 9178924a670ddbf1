"""Architectures: the configurations of first releases, and what several families share of them.

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

    def inpainting(self, like: str, pipeline: str, **config: Any) -> Architecture:
        """The same with a UNet that sees the mask and the masked picture, 1 + 4 channels, and
        differs in `config` besides."""
        library, class_name, plain = self.components["unet"]
        sees = (library, class_name, {**plain, "in_channels": 9, **config})
        components = {**self.components, "unet": sees}
        return replace(self, like=like, pipeline=pipeline, components=components)


def unet(levels: Config, **config: Any) -> tuple[str, str, Config]:
    """A UNet of two layers a level."""
    return "diffusers", "UNet2DConditionModel", {"layers_per_block": 2, **levels, **config}


def vae(size: int, **config: Any) -> tuple[str, str, Config]:
    """The VAE that every Stable Diffusion has, for pictures of `size`."""
    levels: Config = {
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "layers_per_block": 2,
    }
    return "diffusers", "AutoencoderKL", {"sample_size": size, **levels, **config}


def clip(width: int, layers: int, heads: int, projection: int, **config: Any) -> Config:
    """A CLIP text encoder; `projection` is how wide the pooled text is."""
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


ENDS, EXCLAMATION = "<|endoftext|>", "!"  # what CLIP tokenizers pad with
BETAS: Final[Config] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "steps_offset": 1,
    "set_alpha_to_one": False,
    "clip_sample": False,
}
LEADING: Final[Config] = {**BETAS, "timestep_spacing": "leading", "prediction_type": "epsilon"}
TRAILING: Final[Config] = {**LEADING, "timestep_spacing": "trailing"}
PNDM: Final = ("PNDMScheduler", {**BETAS, "skip_prk_steps": True, "prediction_type": "epsilon"})

SD_LEVELS: Final[Config] = {
    "block_out_channels": [320, 640, 1280, 1280],
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}
CLIP_L: Final = clip(768, 12, 12, 768, hidden_act="quick_gelu")
CLIP_G: Final = clip(1280, 32, 20, 1280, hidden_act="gelu")
PROJECTED: Final = "CLIPTextModelWithProjection"
QWEN3_4B: Final[Config] = {
    "vocab_size": 151936,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 40960,
    "max_window_layers": 36,
    "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"},
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "tie_word_embeddings": True,
}
T5_XXL: Final[Config] = {
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
