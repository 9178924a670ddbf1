"""The names of a UNet's tensors in single files, from those in diffusers' folders.

The original code (CompVis/latent-diffusion, `openaimodel.py`) counts blocks through: the input
blocks are the first convolution, then each level's layers and its downsampler; the output blocks
each level's layers, the upsampler being the last module of its level's last block.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from overpaint.bundle.checkpoint.source import Source, whole

_OUTSIDE: Final = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_RESNET: Final = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_IN_LEVEL: Final = re.compile(
    r"(down_blocks|up_blocks)\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)"
)
_IN_MIDDLE: Final = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)")


@dataclass(frozen=True, slots=True)
class UnetNames:
    """How many layers a level has, and which of the up levels have attention."""

    layers: int
    attention: frozenset[int]

    @classmethod
    def of(cls, names: Collection[str]) -> UnetNames:
        """What a UNet's own tensor names say about its layout."""
        matches = [match for name in names if (match := _IN_LEVEL.match(name))]
        down = [int(match[4]) for match in matches if match[1] == "down_blocks"]
        attention = {
            int(match[2]) for match in matches if match[1] + match[3] == "up_blocksattentions"
        }
        return cls(max(down, default=0) + 1, frozenset(attention))

    def source(self, name: str) -> Source | None:
        """Where the tensor called `name` in diffusers lies in a single file."""
        stem, _, kind = name.rpartition(".")
        if stem in _OUTSIDE:
            return whole(f"{_OUTSIDE[stem]}.{kind}")
        if middle := _IN_MIDDLE.fullmatch(name):
            part, index, rest = middle[1], int(middle[2]), middle[3]
            place = 1 if part == "attentions" else 2 * index
            return whole(f"middle_block.{place}.{_inside(part, rest)}")
        if level := _IN_LEVEL.fullmatch(name):
            return whole(self._level(level[1], int(level[2]), level[3], int(level[4]), level[5]))
        return None

    def _level(self, side: str, level: int, part: str, index: int, rest: str) -> str:
        if side == "down_blocks":
            first = 1 + level * (self.layers + 1)
            if part == "downsamplers":
                return f"input_blocks.{first + self.layers}.0.op.{rest.removeprefix('conv.')}"
            return f"input_blocks.{first + index}.{int(part == 'attentions')}.{_inside(part, rest)}"
        first = level * (self.layers + 1)
        if part == "upsamplers":
            return f"output_blocks.{first + self.layers}.{1 + (level in self.attention)}.{rest}"
        return f"output_blocks.{first + index}.{int(part == 'attentions')}.{_inside(part, rest)}"


def _inside(part: str, rest: str) -> str:
    """A name within a residual block; attention blocks have the same names on both sides."""
    if part != "resnets":
        return rest
    stem, _, kind = rest.rpartition(".")
    return f"{_RESNET.get(stem, stem)}.{kind}"
