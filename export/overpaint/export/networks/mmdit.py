"""diffusers' SD3Transformer2DModel -> out_hidden_states."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from overpaint.bundle.tensor import DType
from overpaint.export.part import (
    BATCH,
    CONTEXT,
    LATENT_SIDE,
    Config,
    Part,
    Wrapper,
    float32,
    latent_ranges,
)

from .joint_attention import JointAttention
from .small import WIDTH

_LAYERS = 2


class Transformer(Wrapper):
    """diffusers' SD3Transformer2DModel -> out_hidden_states."""

    rounded_later = frozenset({"timestep"})

    def __init__(self, net: Any, names: tuple[str, ...]) -> None:
        super().__init__(net, names)
        self.net.set_attn_processor(JointAttention())

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        [out] = self.net(**self.feed(tensors), return_dict=False)
        return (out.float(),)


def transformer_part(config: Config, compute: DType) -> Part:
    """SD3Transformer2DModel of Stable Diffusion 3 and 3.5."""
    patch, channels = config["patch_size"], config["in_channels"]
    side = min(LATENT_SIDE, config["pos_embed_max_size"] * patch)
    latents = ("batch", channels, "latent_height", "latent_width")
    return Part(
        component="transformer",
        source="transformer",
        class_name="SD3Transformer2DModel",
        config=config,
        inputs=(
            float32("hidden_states", *latents),
            float32("encoder_hidden_states", "batch", "tokens", config["joint_attention_dim"]),
            float32("pooled_projections", "batch", config["pooled_projection_dim"]),
            float32("timestep", "batch"),
        ),
        outputs=(float32("out_hidden_states", "batch", config["out_channels"], *latents[2:]),),
        ranges={"batch": BATCH, "tokens": CONTEXT, **latent_ranges(side, patch)},
        compute=compute,
        wrapper=Transformer,
        reduced=lambda: transformer_part(_smaller(config), compute),
    )


def _smaller(config: Config) -> Config:
    return {
        **config,
        "num_layers": _LAYERS,
        "num_attention_heads": 2,
        "attention_head_dim": WIDTH // 2,
        "caption_projection_dim": WIDTH,
        "joint_attention_dim": WIDTH,
        "pooled_projection_dim": WIDTH,
        "pos_embed_max_size": 24,
        "dual_attention_layers": [
            layer for layer in config.get("dual_attention_layers") or () if layer < _LAYERS - 1
        ],
    }
