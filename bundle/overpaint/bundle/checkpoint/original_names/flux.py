"""The names of a FLUX.1 transformer's tensors in single files, from those in diffusers' folders.

The original code (black-forest-labs/flux, `model.py` and `modules/layers.py`) fuses query, key and
value, in single blocks the first layer of the MLP with them, and its last modulation is
(shift, scale) where diffusers' AdaLayerNormContinuous has (scale, shift).
"""

from __future__ import annotations

import re
from typing import Final

from overpaint.bundle.checkpoint.source import Rows, Source, swapped_halves, third, whole

_OUTSIDE: Final = {
    "x_embedder": "img_in",
    "context_embedder": "txt_in",
    "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
    "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
    "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
    "proj_out": "final_layer.linear",
}
DOUBLE_ATTENTION: Final = {
    "attn.norm_q": "img_attn.norm.query_norm",
    "attn.norm_k": "img_attn.norm.key_norm",
    "attn.norm_added_q": "txt_attn.norm.query_norm",
    "attn.norm_added_k": "txt_attn.norm.key_norm",
    "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj",
}
DOUBLE_FUSED: Final = {
    **{f"attn.to_{letter}": ("img_attn.qkv", part) for part, letter in enumerate("qkv")},
    **{f"attn.add_{letter}_proj": ("txt_attn.qkv", part) for part, letter in enumerate("qkv")},
}
"""FLUX.2's double blocks have these too."""

_DOUBLE: Final = {
    **DOUBLE_ATTENTION,
    "norm1.linear": "img_mod.lin",
    "norm1_context.linear": "txt_mod.lin",
    "ff.net.0.proj": "img_mlp.0",
    "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0",
    "ff_context.net.2": "txt_mlp.2",
}
_SINGLE: Final = {
    "norm.linear": "modulation.lin",
    "attn.norm_q": "norm.query_norm",
    "attn.norm_k": "norm.key_norm",
    "proj_out": "linear2",
}
_MLP: Final = 4
"""How many times as wide as the tokens the MLP is, and so its part of the fused rows."""

_SINGLE_FUSED: Final = {
    **{f"attn.to_{letter}": (part,) for part, letter in enumerate("qkv")},
    "proj_mlp": tuple(range(3, 3 + _MLP)),
}
_BLOCK: Final = re.compile(r"(single_)?transformer_blocks\.(\d+)\.(.+)\.(weight|bias)")


def flux_source(name: str) -> Source | None:
    """Where the tensor called `name` in diffusers lies in a single file."""
    stem, _, kind = name.rpartition(".")
    if stem in _OUTSIDE:
        return whole(f"{_OUTSIDE[stem]}.{kind}")
    if stem == "norm_out.linear":
        return swapped_halves(f"final_layer.adaLN_modulation.1.{kind}")
    block = _BLOCK.fullmatch(name)
    if block is None:
        return None
    number, module = block[2], block[3]
    if block[1]:
        return _single(f"single_blocks.{number}", module, kind)
    return _double(f"double_blocks.{number}", module, kind)


def _double(block: str, module: str, kind: str) -> Source | None:
    if module in DOUBLE_FUSED:
        fused, part = DOUBLE_FUSED[module]
        return third(f"{block}.{fused}.{kind}", part)
    return of_block(block, _DOUBLE.get(module), kind)


def _single(block: str, module: str, kind: str) -> Source | None:
    if module in _SINGLE_FUSED:
        name = f"{block}.linear1.{kind}"
        return Source(tuple(Rows(name, part, 3 + _MLP) for part in _SINGLE_FUSED[module]))
    return of_block(block, _SINGLE.get(module), kind)


def of_block(block: str, place: str | None, kind: str) -> Source | None:
    """A block's tensor that is whole where it lies; norms have their weight as a scale."""
    if place is None:
        return None
    return whole(f"{block}.{place}.{'scale' if place.endswith('_norm') else kind}")
