"""transformers' Qwen3 as a text encoder: the state that its last layer is given, or three of its
states side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import torch
from torch import Tensor

from overpaint.bundle.tensor import DType, Range
from overpaint.bundle.tensor import Tensor as Declared
from overpaint.export.part import BATCH, Config, Part, Wrapper, float32

from .rotary_attention import angles, attend
from .small import WIDTH

_LONGEST = 512
_IDS: Final = Declared(name="input_ids", dtype="int64", shape=("batch", "tokens"))
_MASK: Final = Declared(name="attention_mask", dtype="int64", shape=("batch", "tokens"))


class Qwen3Text(Wrapper):
    """Qwen3Model -> hidden_states.K. Its last layer and its last norm are no part of the graph.

    Nothing hides padding: tokens see none but those before them, and padding is behind.
    """

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        [ids] = tensors
        *_, state = _states(self.net, ids, _before(ids), len(self.net.layers) - 1)
        return (state.float(),)


class Qwen3Quarters(Wrapper):
    """Qwen3ForCausalLM -> hidden_states.I-J-K: the states after each quarter of its layers but the
    last, side by side.

    What fills a prompt up has states too, which are taken: no token sees it, itself included.
    """

    def __init__(self, net: Any, names: tuple[str, ...]) -> None:
        super().__init__(net.model, names)  # without its head, whose weight is the embedding's

    def weight_name(self, name: str) -> str:
        return "model." + super().weight_name(name)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        ids, mask = tensors
        net = self.net
        wanted = _quarters(len(net.layers))
        seen = _before(ids)[None, None] & (mask > 0)[:, None, None]
        states = list(_states(net, ids, seen, wanted[-1]))
        return (torch.cat([states[layer] for layer in wanted], dim=-1).float(),)


def _quarters(layers: int) -> tuple[int, int, int]:
    """9, 18 and 27 of Qwen3's 36."""
    return layers // 4, layers * 2 // 4, layers * 3 // 4


def _before(ids: Tensor) -> Tensor:
    """Which tokens each sees, (tokens, tokens): those before it, and itself."""
    places = torch.arange(ids.shape[1], device=ids.device)
    return places[None] <= places[:, None]


def _states(net: Any, ids: Tensor, seen: Tensor, layers: int) -> Iterator[Tensor]:
    """The embedded tokens, then what each of the first `layers` makes of them."""
    config, places = net.config, torch.arange(ids.shape[1], device=ids.device)
    turns = angles(places.float(), config.head_dim, config.rope_parameters["rope_theta"])
    state = net.embed_tokens(ids)
    yield state
    for layer in net.layers[:layers]:
        state = state + _attention(layer.self_attn, layer.input_layernorm(state), turns, seen)
        state = state + layer.mlp(layer.post_attention_layernorm(state))
        yield state


def _attention(attn: Any, state: Tensor, turns: Tensor, seen: Tensor) -> Tensor:
    """The numbers are those of Qwen3Attention. `seen` (tokens, tokens), or with two axes before."""
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
        inputs=(_IDS,),
        outputs=(float32(state, "batch", "tokens", config["hidden_size"]),),
        ranges={"batch": BATCH, "tokens": Range(minimum=1, maximum=_LONGEST)},
        compute=compute,
        wrapper=Qwen3Text,
        reduced=lambda: qwen3_part(component, class_name, _smaller(config), compute),
    )


def qwen3_quarters_part(component: str, class_name: str, config: Config, compute: DType) -> Part:
    """Qwen3ForCausalLM of FLUX.2 klein."""
    states = "-".join(map(str, _quarters(config["num_hidden_layers"])))
    width = 3 * config["hidden_size"]
    return Part(
        component=component,
        source=component,
        class_name=class_name,
        config=config,
        inputs=(_IDS, _MASK),
        outputs=(float32(f"hidden_states.{states}", "batch", "tokens", width),),
        ranges={"batch": BATCH, "tokens": Range(minimum=1, maximum=_LONGEST)},
        compute=compute,
        wrapper=Qwen3Quarters,
        reduced=lambda: qwen3_quarters_part(component, class_name, _smaller(config, 4), compute),
    )


def _smaller(config: Config, layers: int = 3) -> Config:
    return {
        **config,
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "vocab_size": 1000,
        "layer_types": ["full_attention"] * layers,
    }
