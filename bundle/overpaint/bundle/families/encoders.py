"""CLIP and T5 as text encoders: how they are fed, and which hidden state is taken of them."""

from __future__ import annotations

from typing import Final

from overpaint.bundle import layout
from overpaint.bundle.facts import Configs, TextEncoder

CLIP_LENGTH: Final = 77
T5_LENGTH: Final = 256  # diffusers' max_sequence_length; the model takes up to 512


def last_of_clip(configs: Configs, component: str) -> TextEncoder:
    """CLIP by its last hidden state, normalized."""
    return _clip(configs, component, "last_hidden_state", pooled=False)


def last_but_one_of_clip(configs: Configs, component: str, *, pooled: bool) -> TextEncoder:
    """CLIP by the last hidden state but one, and by its projection where that is `pooled`."""
    layers = configs.components[component]["num_hidden_layers"]  # which make layers + 1 states
    return _clip(configs, component, f"hidden_states.{layers - 1}", pooled=pooled)


def t5(configs: Configs, component: str) -> TextEncoder:
    """T5's encoder by its last hidden state."""
    tokenizer = _tokenizer(component)
    return TextEncoder(
        component=component,
        tokenizer=tokenizer,
        kind="t5",
        length=T5_LENGTH,
        pad_token_id=configs.pad_token_ids[tokenizer],
        hidden="last_hidden_state",
    )


def _clip(configs: Configs, component: str, hidden: str, *, pooled: bool) -> TextEncoder:
    tokenizer = _tokenizer(component)
    positions = configs.components[component].get("max_position_embeddings", CLIP_LENGTH)
    return TextEncoder(
        component=component,
        tokenizer=tokenizer,
        kind="clip",
        length=min(CLIP_LENGTH, positions),
        pad_token_id=configs.pad_token_ids[tokenizer],
        hidden=hidden,
        pooled="text_embeds" if pooled else None,
    )


def _tokenizer(component: str) -> str:
    return layout.TOKENIZERS[layout.TEXT_ENCODERS.index(component)]
