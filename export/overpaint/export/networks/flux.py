"""diffusers' FluxTransformer2DModel -> out_hidden_states, of latents as a VAE has them.

Its own forward takes patches and their places, which diffusers' pipelines make. Both follow from
the latents' shape: the graph makes them, and is fed as every other denoiser's is.
"""

from __future__ import annotations

from typing import Any, Final

import torch
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

from .rotary_attention import RotaryAttention, Turns, grid, turns_at
from .small import WIDTH

PATCH: Final = 2
THETA: Final = 10000.0
_LAYERS = 2
_TRAINED = 1000.0  # timesteps; the network counts guidance by them as well


class Flux(Wrapper):
    """diffusers' FluxTransformer2DModel -> out_hidden_states."""

    rounded_later = frozenset({"timestep", "guidance"})

    def __init__(self, net: Any, names: tuple[str, ...]) -> None:
        super().__init__(net, names)
        self.net.set_attn_processor(RotaryAttention())

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        net, given = self.net, self.feed(tensors)
        latents = given["hidden_states"]
        rows, columns = (side // PATCH for side in latents.shape[2:])
        times = [given["timestep"]]
        if "guidance" in given:
            times.append(given["guidance"] * _TRAINED)
        time = net.time_text_embed(*times, given["pooled_projections"])
        text = net.context_embedder(given["encoder_hidden_states"])
        tokens = net.x_embedder(_patches(latents, rows, columns))
        rotation = self._rotation(text.shape[1], rows, columns, latents.device)
        for block in net.transformer_blocks:
            text, tokens = block(tokens, text, time, rotation)
        for block in net.single_transformer_blocks:
            text, tokens = block(tokens, text, time, rotation)
        out = net.proj_out(net.norm_out(tokens, time))
        return (_put_together(out, rows, columns).float(),)

    def _rotation(self, text: int, rows: int, columns: int, device: Any) -> Turns:
        """Text is at (0, 0, 0), the patch of row r and column c at (0, r, c)."""
        row, column = grid(rows, columns, device)
        patches = torch.stack((torch.zeros_like(row), row, column), dim=-1).float()
        places = torch.cat((torch.zeros(text, 3, device=device), patches))
        return turns_at(places, self.net.config.axes_dims_rope, THETA)


def _patches(latents: Tensor, rows: int, columns: int) -> Tensor:
    """(batch, channels, h, w) -> (batch, tokens, channels * 4)."""
    channels = latents.shape[1]
    apart = latents.reshape(-1, channels, rows, PATCH, columns, PATCH)
    return apart.permute(0, 2, 4, 1, 3, 5).reshape(-1, rows * columns, channels * PATCH**2)


def _put_together(tokens: Tensor, rows: int, columns: int) -> Tensor:
    channels = tokens.shape[2] // PATCH**2
    apart = tokens.reshape(-1, rows, columns, channels, PATCH, PATCH)
    return apart.permute(0, 3, 1, 4, 2, 5).reshape(-1, channels, PATCH * rows, PATCH * columns)


def flux_part(config: Config, compute: DType) -> Part:
    """FluxTransformer2DModel of FLUX.1."""
    channels = config["in_channels"] // PATCH**2
    latents = ("batch", channels, "latent_height", "latent_width")
    guidance = (float32("guidance", "batch"),) if config.get("guidance_embeds") else ()
    return Part(
        component="transformer",
        source="transformer",
        class_name="FluxTransformer2DModel",
        config=config,
        inputs=(
            float32("hidden_states", *latents),
            float32("encoder_hidden_states", "batch", "tokens", config["joint_attention_dim"]),
            float32("pooled_projections", "batch", config["pooled_projection_dim"]),
            float32("timestep", "batch"),
            *guidance,
        ),
        outputs=(float32("out_hidden_states", *latents),),
        ranges={"batch": BATCH, "tokens": CONTEXT, **latent_ranges(LATENT_SIDE, PATCH)},
        compute=compute,
        wrapper=Flux,
        reduced=lambda: flux_part(_smaller(config), compute),
    )


def _smaller(config: Config) -> Config:
    return {
        **config,
        "num_layers": _LAYERS,
        "num_single_layers": _LAYERS,
        "num_attention_heads": 2,
        "attention_head_dim": WIDTH // 2,
        "joint_attention_dim": WIDTH,
        "pooled_projection_dim": WIDTH,
        "axes_dims_rope": [4, WIDTH // 4 - 2, WIDTH // 4 - 2],
    }
