"""The names of a VAE's tensors in single files, from those in diffusers' folders.

The original code (CompVis/latent-diffusion, `model.py`) numbers the decoder's levels from the
finest, diffusers in the order in which they run. Attention there is 1x1 convolutions.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from overpaint.bundle.checkpoint.source import Source, whole

_ATTENTION: Final = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}
_LEVEL: Final = re.compile(
    r"(encoder\.down|decoder\.up)_blocks\.(\d+)\.(resnets|downsamplers|upsamplers)\.(\d+)\.(.+)"
)
_MIDDLE: Final = re.compile(r"(encoder|decoder)\.mid_block\.(resnets|attentions)\.(\d+)\.(.+)")


@dataclass(frozen=True, slots=True)
class VaeNames:
    """How many levels the decoder has."""

    levels: int

    @classmethod
    def of(cls, names: Collection[str]) -> VaeNames:
        matches = [match for name in names if (match := _LEVEL.match(name))]
        return cls(1 + max((int(match[2]) for match in matches), default=0))

    def source(self, name: str) -> Source | None:
        """Where the tensor called `name` in diffusers lies in a single file."""
        if middle := _MIDDLE.fullmatch(name):
            side, part, index, rest = middle[1], middle[2], int(middle[3]), middle[4]
            if part == "resnets":
                return whole(f"{side}.mid.block_{index + 1}.{rest}")
            stem, _, kind = rest.rpartition(".")
            return whole(f"{side}.mid.attn_{index + 1}.{_ATTENTION.get(stem, stem)}.{kind}")
        if level := _LEVEL.fullmatch(name):
            side, number, part, rest = level[1], int(level[2]), level[3], level[5]
            if side == "decoder.up":
                number = self.levels - 1 - number
            if part == "resnets":
                rest = rest.replace("conv_shortcut", "nin_shortcut")
                return whole(f"{side}.{number}.block.{level[4]}.{rest}")
            return whole(f"{side}.{number}.{part.removesuffix('rs')}.{rest}")
        return whole(name.replace("conv_norm_out", "norm_out"))
