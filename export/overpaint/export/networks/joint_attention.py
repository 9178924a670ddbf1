"""Stable Diffusion 3's attention, with heads transposed where attention is computed, not before."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


class JointAttention:
    """An attention processor for diffusers' SD3Transformer2DModel (Esser et al., 2024, section 4).

    The numbers are those of JointAttnProcessor2_0, which normalizes and joins what it has already
    transposed: the transposes stay, and hide from engines that the norms are norms.
    """

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Let the picture's tokens, and the text's where there are any, attend to all of them.

        Both are (batch, tokens, width). `attention_mask` is None: nothing is hidden.
        """
        query = _heads(attn, attn.to_q(hidden_states), attn.norm_q)
        key = _heads(attn, attn.to_k(hidden_states), attn.norm_k)
        value = _heads(attn, attn.to_v(hidden_states))
        if encoder_hidden_states is not None:
            text = encoder_hidden_states
            query = _join(query, _heads(attn, attn.add_q_proj(text), attn.norm_added_q))
            key = _join(key, _heads(attn, attn.add_k_proj(text), attn.norm_added_k))
            value = _join(value, _heads(attn, attn.add_v_proj(text)))
        query, key, value = (each.transpose(1, 2) for each in (query, key, value))
        attended = scaled_dot_product_attention(query, key, value)
        together = attended.transpose(1, 2).flatten(2)
        if encoder_hidden_states is None:
            return _out(attn, together)
        tokens = hidden_states.shape[1]
        image, text = together[:, :tokens], together[:, tokens:]
        return _out(attn, image), text if attn.context_pre_only else attn.to_add_out(text)


def _heads(attn: Any, projected: Tensor, norm: Any | None = None) -> Tensor:
    """(batch, tokens, heads, size), each head normalized where the network does so."""
    heads: Tensor = projected.reshape(*projected.shape[:2], attn.heads, -1)
    if norm is not None:
        heads = norm(heads)
    return heads


def _join(image: Tensor, text: Tensor) -> Tensor:
    return torch.cat((image, text), dim=1)


def _out(attn: Any, image: Tensor) -> Tensor:
    linear, dropout = attn.to_out
    out: Tensor = dropout(linear(image))
    return out
