"""transformers' Qwen3Model as a text encoder: the state that its last layer is given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from overpaint.bundle.tensor import DType, Range
from overpaint.bundle.tensor import Tensor as Declared
from overpaint.export.part import BATCH, Config, Part, Wrapper, float32

from .rotary_attention import angles, attend
from .small import WIDTH

_LONGEST = 512


class Qwen3Text(Wrapper):
    """Qwen3Model -> hidden_states.K. Its last layer and its last norm are no part of the graph.

    Nothing hides padding: tokens see none but those before them, and padding is behind.
    """

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        [ids] = tensors
        net, config = self.net, self.net.config
        places = torch.arange(ids.shape[1], device=ids.device)
        before = places[None] <= places[:, None]
        state = net.embed_tokens(ids)
        turns = angles(places.float(), config.head_dim, config.rope_parameters["rope_theta"])
        for layer in net.layers[:-1]:
            state = state + _attention(layer.self_attn, layer.input_layernorm(state), turns, before)
            state = state + layer.mlp(layer.post_attention_layernorm(state))
        return (state.float(),)


def _attention(attn: Any, state: Tensor, turns: Tensor, seen: Tensor) -> Tensor:
    """The numbers are those of Qwen3Attention. `seen` (tokens, tokens)."""
    heads = (*state.shape[:2], -1, attn.head_dim)
    query = _turned(attn.q_norm(attn.q_proj(state).reshape(heads)), turns)
    key = _turned(attn.k_norm(attn.k_proj(state).reshape(heads)), turns)
    value = attn.v_proj(state).reshape(heads)
    key, value = (_repeated(each, attn.num_key_value_groups) for each in (key, value))
    out: Tensor = attn.o_proj(attend(query, key, value, seen))
    return out


def _turned(heads: Tensor, turns: Tensor) -> Tensor:
    """Heads (batch, tokens, heads, size), turned in float32 by angles (tokens, size / 2): a number
    of the first half is paired with its like of the second."""
    cos, sin = turns.cos()[:, None], turns.sin()[:, None]
    first, second = heads.float().chunk(2, dim=-1)
    turned = (first * cos - second * sin, second * cos + first * sin)
    return torch.cat(turned, dim=-1).to(heads.dtype)


def _repeated(heads: Tensor, times: int) -> Tensor:
    """Each head of keys or values `times` over, for the queries that share it."""
    batch, tokens, count, size = heads.shape
    alike = heads[:, :, :, None].expand(batch, tokens, count, times, size)
    return alike.reshape(batch, tokens, count * times, size)


def qwen3_part(component: str, class_name: str, config: Config, compute: DType) -> Part:
    """Qwen3Model of Z-Image."""
    state = f"hidden_states.{config['num_hidden_layers'] - 1}"
    return Part(
        component=component,
        source=component,
        class_name=class_name,
        config=config,
        inputs=(Declared(name="input_ids", dtype="int64", shape=("batch", "tokens")),),
        outputs=(float32(state, "batch", "tokens", config["hidden_size"]),),
        ranges={"batch": BATCH, "tokens": Range(minimum=1, maximum=_LONGEST)},
        compute=compute,
        wrapper=Qwen3Text,
        reduced=lambda: qwen3_part(component, class_name, _smaller(config), compute),
    )


def _smaller(config: Config) -> Config:
    return {
        **config,
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "vocab_size": 1000,
        "layer_types": ["full_attention"] * 3,
    }
