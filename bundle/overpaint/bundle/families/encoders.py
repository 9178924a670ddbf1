"""CLIP, T5 and Qwen3 as text encoders: how they are fed, and which hidden state is taken."""

from __future__ import annotations

from typing import Final

import msgspec

from overpaint.bundle import layout
from overpaint.bundle.errors import CheckpointError
from overpaint.bundle.facts import Configs, TextEncoder

from .config_fields import ClipFields, read_fields

CLIP_LENGTH: Final = 77
T5_LENGTH: Final = 256  # diffusers' max_sequence_length for SD 3; the model takes up to 512


def last_of_clip(configs: Configs, component: str) -> TextEncoder:
    """CLIP by its last hidden state, normalized."""
    return _clip(configs, component, "last_hidden_state", pooled=False)


def last_but_one_of_clip(configs: Configs, component: str, *, pooled: bool) -> TextEncoder:
    """CLIP by the last hidden state but one, and by its projection where that is `pooled`."""
    layers = _layers(configs, component)
    return _clip(configs, component, f"hidden_states.{layers - 1}", pooled=pooled)


def pooled_clip(configs: Configs, component: str) -> TextEncoder:
    """CLIP by its pooled vector alone, not projected."""
    clip = _clip(configs, component, None, pooled=True)
    return msgspec.structs.replace(clip, pooled="pooler_output")


def t5(configs: Configs, component: str, length: int = T5_LENGTH) -> TextEncoder:
    """T5's encoder by its last hidden state."""
    tokenizer = _tokenizer(component)
    return TextEncoder(
        component=component,
        tokenizer=tokenizer,
        kind="t5",
        length=length,
        pad_token_id=_pad_token_id(configs, tokenizer),
        hidden="last_hidden_state",
    )


def last_but_one_of_qwen3(configs: Configs, component: str, length: int) -> TextEncoder:
    """Qwen3 by the state that its last layer is given, of `length` tokens at the most."""
    tokenizer = _tokenizer(component)
    return TextEncoder(
        component=component,
        tokenizer=tokenizer,
        kind="qwen3",
        length=length,
        pad_token_id=_pad_token_id(configs, tokenizer),
        hidden=f"hidden_states.{_layers(configs, component) - 1}",
    )


def quarters_of_qwen3(configs: Configs, component: str, length: int) -> TextEncoder:
    """Qwen3 by the states after each quarter of its layers but the last, side by side (of 36 layers
    those after 9, 18 and 27), of `length` tokens always: what fills a prompt up is taken too."""
    layers = _layers(configs, component)
    after = "-".join(str(layers * quarter // 4) for quarter in (1, 2, 3))
    whole = last_but_one_of_qwen3(configs, component, length)
    return msgspec.structs.replace(whole, hidden=f"hidden_states.{after}", hides_padding=True)


def _clip(configs: Configs, component: str, hidden: str | None, *, pooled: bool) -> TextEncoder:
    tokenizer = _tokenizer(component)
    positions = _fields(configs, component).max_position_embeddings
    return TextEncoder(
        component=component,
        tokenizer=tokenizer,
        kind="clip",
        length=min(CLIP_LENGTH, positions),
        pad_token_id=_pad_token_id(configs, tokenizer),
        hidden=hidden,
        pooled="text_embeds" if pooled else None,
    )


def _layers(configs: Configs, component: str) -> int:
    """How many layers there are, which make one state more."""
    layers = _fields(configs, component).num_hidden_layers
    if layers is None:
        raise CheckpointError(f"{component}'s config: num_hidden_layers: missing")
    return layers


def _fields(configs: Configs, component: str) -> ClipFields:
    return read_fields(configs.components[component], ClipFields, f"{component}'s config")


def _pad_token_id(configs: Configs, tokenizer: str) -> int:
    if tokenizer not in configs.pad_token_ids:
        raise CheckpointError(f"{tokenizer}: missing; its text encoder needs it")
    return configs.pad_token_ids[tokenizer]


def _tokenizer(component: str) -> str:
    return layout.TOKENIZERS[layout.TEXT_ENCODERS.index(component)]
