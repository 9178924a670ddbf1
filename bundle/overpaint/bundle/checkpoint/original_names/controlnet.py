"""The names of a control network's tensors in single files, from those in diffusers' folders.

The original code (lllyasviel/ControlNet, `cldm.py`) has the UNet's own names, and beside them the
hint's layers, with an activation between each two, and a 1x1 convolution behind each block.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from overpaint.bundle.checkpoint.source import Source, whole

from .unet import UnetNames

PREFIX: Final = "control_model."
_HINT: Final = re.compile(r"controlnet_cond_embedding\.(conv_in|conv_out|blocks\.(\d+))\.(\w+)")
_SKIP: Final = re.compile(r"controlnet_down_blocks\.(\d+)\.(\w+)")


@dataclass(frozen=True, slots=True)
class ControlNames:
    """The UNet's names, and how many layers the hint has between its first and its last."""

    unet: UnetNames
    layers: int

    @classmethod
    def of(cls, names: Collection[str]) -> ControlNames:
        matches = [match for name in names if (match := _HINT.fullmatch(name))]
        layers = {match[2] for match in matches if match[2]}
        return cls(UnetNames.of(names), len(layers))

    def source(self, name: str) -> Source | None:
        """Where the tensor called `name` in diffusers lies in a single file, behind its prefix."""
        if hint := _HINT.fullmatch(name):
            ends = {"conv_in": 0, "conv_out": self.layers + 1}
            at = ends[hint[1]] if hint[1] in ends else 1 + int(hint[2])
            return whole(f"input_hint_block.{2 * at}.{hint[3]}")
        if skip := _SKIP.fullmatch(name):
            return whole(f"zero_convs.{skip[1]}.0.{skip[2]}")
        if name.startswith("controlnet_mid_block."):
            return whole(f"middle_block_out.0.{name.rpartition('.')[2]}")
        return self.unet.source(name)
