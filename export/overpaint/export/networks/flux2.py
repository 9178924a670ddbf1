"""diffusers' Flux2Transformer2DModel -> out_hidden_states, of latents and of pictures beside them.

Its own forward takes tokens and their places. Those of the noisy picture follow from the shape of
its latents, and the graph makes them; pictures that it only looks at have sizes of their own, and
come as tokens with places. There may be none of those.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

from overpaint.bundle.format.manifest import REFERENCE_PLACES, REFERENCE_STATES
from overpaint.bundle.tensor import DType, Range
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

from .rotary_attention import (
    RotaryAttention,
    Turns,
    attend,
    grid,
    heads_of,
    turned,
    turns_at,
)
from .small import WIDTH

_LAYERS = 2
_CELLS: Final = LATENT_SIDE // 2
"""A cell of these latents is as wide as two of other families'."""
_MOST_REFERENCES: Final = 2 * _CELLS**2


class ParallelAttention:
    """An attention processor: the numbers are those of Flux2ParallelSelfAttnProcessor."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        image_rotary_emb: Turns | None = None,
    ) -> Tensor:
        """`attention_mask` is None: nothing is hidden."""
        assert image_rotary_emb is not None
        width, gated = attn.inner_dim, attn.mlp_hidden_dim * attn.mlp_mult_factor
        query, key, value, mlp = attn.to_qkv_mlp_proj(hidden_states).split(
            [width, width, width, gated], dim=-1
        )
        query = turned(attn.norm_q(heads_of(attn, query)), image_rotary_emb)
        key = turned(attn.norm_k(heads_of(attn, key)), image_rotary_emb)
        attended = attend(query, key, heads_of(attn, value))
        out: Tensor = attn.to_out(torch.cat((attended, attn.mlp_act_fn(mlp)), dim=-1))
        return out


class Flux2(Wrapper):
    """diffusers' Flux2Transformer2DModel -> out_hidden_states."""

    rounded_later = frozenset({"timestep", REFERENCE_PLACES})

    def __init__(self, net: Any, names: tuple[str, ...]) -> None:
        super().__init__(net, names)
        for block in self.net.transformer_blocks:
            block.attn.set_processor(RotaryAttention())
        for block in self.net.single_transformer_blocks:
            block.attn.set_processor(ParallelAttention())

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        net, given = self.net, self.feed(tensors)
        latents, looked_at = given["hidden_states"], given[REFERENCE_STATES]
        batch, channels, rows, columns = latents.shape
        embed = net.time_guidance_embed
        time = embed.timestep_embedder(embed.time_proj(given["timestep"]).to(latents.dtype))
        text = net.context_embedder(given["encoder_hidden_states"])
        words = text.shape[1]
        noisy = latents.flatten(2).transpose(1, 2)
        tokens = net.x_embedder(torch.cat((noisy, looked_at.expand(batch, -1, -1)), dim=1))
        places = (
            _text_places(words, latents.device),
            _patch_places(rows, columns, latents.device),
            given[REFERENCE_PLACES],
        )
        rotation = turns_at(torch.cat(places), net.config.axes_dims_rope, net.config.rope_theta)
        modulations = net.double_stream_modulation_img(time), net.double_stream_modulation_txt(time)
        for block in net.transformer_blocks:
            text, tokens = block(tokens, text, *modulations, rotation)
        both, modulation = torch.cat((text, tokens), dim=1), net.single_stream_modulation(time)
        for block in net.single_transformer_blocks:
            both = block(both, None, modulation, rotation)
        own = both[:, words:][:, : rows * columns]
        out = net.proj_out(net.norm_out(own, time))
        return (out.transpose(1, 2).reshape(batch, channels, rows, columns).float(),)


def _text_places(words: int, device: Any) -> Tensor:
    """Token n is at (0, 0, 0, n): (tokens, 4)."""
    place = torch.arange(words, device=device)
    nowhere = torch.zeros_like(place)
    return torch.stack((nowhere, nowhere, nowhere, place), dim=-1).float()


def _patch_places(rows: int, columns: int, device: Any) -> Tensor:
    """The patch of row r and column c is at (0, r, c, 0): (tokens, 4)."""
    row, column = grid(rows, columns, device)
    nowhere = torch.zeros_like(row)
    return torch.stack((nowhere, row, column, nowhere), dim=-1).float()


def flux2_part(config: Config, compute: DType) -> Part:
    """Flux2Transformer2DModel of FLUX.2 klein."""
    latents = ("batch", config["in_channels"], "latent_height", "latent_width")
    return Part(
        component="transformer",
        source="transformer",
        class_name="Flux2Transformer2DModel",
        config=config,
        inputs=(
            float32("hidden_states", *latents),
            float32("encoder_hidden_states", "batch", "tokens", config["joint_attention_dim"]),
            float32("timestep", "batch"),
            float32(REFERENCE_STATES, 1, "references", config["in_channels"]),
            float32(REFERENCE_PLACES, "references", 4),
        ),
        outputs=(float32("out_hidden_states", *latents),),
        ranges={
            "batch": BATCH,
            "tokens": CONTEXT,
            "references": Range(minimum=0, maximum=_MOST_REFERENCES),
            **latent_ranges(_CELLS),
        },
        compute=compute,
        wrapper=Flux2,
        reduced=lambda: flux2_part(_smaller(config), compute),
    )


def _smaller(config: Config) -> Config:
    return {
        **config,
        "num_layers": _LAYERS,
        "num_single_layers": _LAYERS,
        "num_attention_heads": 2,
        "attention_head_dim": WIDTH // 2,
        "joint_attention_dim": WIDTH,
        "axes_dims_rope": [WIDTH // 8] * 4,
    }
