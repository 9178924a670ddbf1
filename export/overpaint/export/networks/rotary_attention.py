"""Attention with rotary positions (Su et al., 2021), written so that engines see what it is.

A head's numbers are turned in pairs by an angle that grows with the token's place. diffusers turns
complex numbers or stacks halves; here a turn is two products and a sum, y = x cos + x' sin, where
x' has the pairs swapped and sin the sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

Turns = tuple[Tensor, Tensor]
"""(cos, signed sin), each (tokens, 1, size of a head) float32."""


class RotaryAttention:
    """An attention processor for diffusers' FluxTransformer2DModel, and for the double blocks of
    its Flux2Transformer2DModel.

    The numbers are those of FluxAttnProcessor and of Flux2AttnProcessor.
    """

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: Turns | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Let the picture's tokens, and the text's before them where there are any, attend to all.

        Both are (batch, tokens, width). `attention_mask` is None: nothing is hidden.
        """
        assert image_rotary_emb is not None
        query = attn.norm_q(heads_of(attn, attn.to_q(hidden_states)))
        key = attn.norm_k(heads_of(attn, attn.to_k(hidden_states)))
        value = heads_of(attn, attn.to_v(hidden_states))
        text = encoder_hidden_states
        if text is not None:
            query = _join(attn.norm_added_q(heads_of(attn, attn.add_q_proj(text))), query)
            key = _join(attn.norm_added_k(heads_of(attn, attn.add_k_proj(text))), key)
            value = _join(heads_of(attn, attn.add_v_proj(text)), value)
        together = attend(turned(query, image_rotary_emb), turned(key, image_rotary_emb), value)
        if text is None:
            return together
        words = text.shape[1]
        linear, dropout = attn.to_out
        return dropout(linear(together[:, words:])), attn.to_add_out(together[:, :words])


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """All (batch, tokens, heads, size) -> (batch, tokens, heads * size)."""
    query, key, value = (each.transpose(1, 2) for each in (query, key, value))
    attended = scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return attended.transpose(1, 2).flatten(2)


def angles(places: Tensor, size: int, theta: float) -> Tensor:
    """Places (tokens,) float32 along an axis -> the angles of its `size` / 2 pairs."""
    pairs = torch.arange(0, size, 2, dtype=torch.float64, device=places.device)
    return places[:, None] * (theta ** (-pairs / size)).float()


def turns(angles: Tensor) -> Turns:
    """The angles of all axes side by side, (tokens, size / 2) -> what a turn multiplies by."""
    cos, sin = angles.cos(), angles.sin()
    twice = torch.stack((cos, cos), dim=-1).flatten(-2)
    signed = torch.stack((-sin, sin), dim=-1).flatten(-2)
    return twice[:, None], signed[:, None]


def turns_at(places: Tensor, sizes: Sequence[int], theta: float) -> Turns:
    """What tokens at `places` (tokens, axes) float32 are turned by; `sizes`: the numbers of a head
    that each axis turns."""
    each = [angles(places[:, axis], size, theta) for axis, size in enumerate(sizes)]
    return turns(torch.cat(each, dim=1))


def grid(rows: int, columns: int, device: Any) -> tuple[Tensor, Tensor]:
    """The row and the column of each patch of a picture, both (rows * columns,)."""
    row = torch.arange(rows, device=device)[:, None].expand(rows, columns)
    column = torch.arange(columns, device=device)[None].expand(rows, columns)
    return row.flatten(), column.flatten()


def turned(heads: Tensor, by: Turns) -> Tensor:
    """Heads (batch, tokens, heads, size), turned in float32."""
    cos, sin = by
    x = heads.float()
    size = heads.shape[-1]
    swap = torch.arange(size, device=heads.device) ^ 1
    return (x * cos + x.index_select(-1, swap) * sin).to(heads.dtype)


def heads_of(attn: Any, projected: Tensor) -> Tensor:
    """(batch, tokens, heads * size) -> (batch, tokens, heads, size)."""
    heads: Tensor = projected.reshape(*projected.shape[:2], attn.heads, -1)
    return heads


def _join(text: Tensor, image: Tensor) -> Tensor:
    return torch.cat((text, image), dim=1)
