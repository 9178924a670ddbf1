"""The names of an MMDiT's tensors in single files, from those in diffusers' folders.

The original code (Stability-AI/sd3.5, `mmditx.py`) fuses query, key and value, and its last layers
split a modulation into (shift, scale) where diffusers' AdaLayerNormContinuous has (scale, shift).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from overpaint.bundle.checkpoint.source import Source, swapped_halves, third, whole

_OUTSIDE: Final = {
    "pos_embed.proj": "x_embedder.proj",
    "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
    "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    "context_embedder": "context_embedder",
    "proj_out": "final_layer.linear",
}
_BLOCK: Final = re.compile(r"transformer_blocks\.(\d+)\.(.+)\.(weight|bias)")
_FUSED: Final = {
    **{f"attn.to_{letter}": ("x_block.attn.qkv", part) for part, letter in enumerate("qkv")},
    **{f"attn2.to_{letter}": ("x_block.attn2.qkv", part) for part, letter in enumerate("qkv")},
    **{
        f"attn.add_{letter}_proj": ("context_block.attn.qkv", part)
        for part, letter in enumerate("qkv")
    },
}
_PLAIN: Final = {
    "attn.to_out.0": "x_block.attn.proj",
    "attn.to_add_out": "context_block.attn.proj",
    "attn.norm_q": "x_block.attn.ln_q",
    "attn.norm_k": "x_block.attn.ln_k",
    "attn.norm_added_q": "context_block.attn.ln_q",
    "attn.norm_added_k": "context_block.attn.ln_k",
    "attn2.to_out.0": "x_block.attn2.proj",
    "attn2.norm_q": "x_block.attn2.ln_q",
    "attn2.norm_k": "x_block.attn2.ln_k",
    "norm1.linear": "x_block.adaLN_modulation.1",
    "norm1_context.linear": "context_block.adaLN_modulation.1",
    "ff.net.0.proj": "x_block.mlp.fc1",
    "ff.net.2": "x_block.mlp.fc2",
    "ff_context.net.0.proj": "context_block.mlp.fc1",
    "ff_context.net.2": "context_block.mlp.fc2",
}


@dataclass(frozen=True, slots=True)
class MmditNames:
    """How many blocks there are: the last one ends the context stream, and differs."""

    blocks: int

    @classmethod
    def of(cls, names: Collection[str]) -> MmditNames:
        matches = [match for name in names if (match := _BLOCK.match(name))]
        return cls(1 + max((int(match[1]) for match in matches), default=0))

    def source(self, name: str) -> Source | None:
        """Where the tensor called `name` in diffusers lies in a single file."""
        if name == "pos_embed.pos_embed":
            return whole("pos_embed")
        stem, _, kind = name.rpartition(".")
        if stem in _OUTSIDE:
            return whole(f"{_OUTSIDE[stem]}.{kind}")
        if stem == "norm_out.linear":
            return swapped_halves(f"final_layer.adaLN_modulation.1.{kind}")
        block = _BLOCK.fullmatch(name)
        if block is None:
            return None
        number, module, kind = int(block[1]), block[2], block[3]
        if module in _FUSED:
            fused, part = _FUSED[module]
            return third(f"joint_blocks.{number}.{fused}.{kind}", part)
        if module not in _PLAIN:
            return None
        place = f"joint_blocks.{number}.{_PLAIN[module]}.{kind}"
        last = number == self.blocks - 1 and module == "norm1_context.linear"
        return swapped_halves(place) if last else whole(place)
