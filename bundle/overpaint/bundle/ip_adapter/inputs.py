"""What a denoiser with an adapter takes besides: its inputs' names, and what their axes mean.

    ip_adapter_tokens   (batch, ip_pictures, ip_tokens, width)   what it sees of the pictures
    ip_adapter_scale_L  (ip_pictures, ip_cells_L)                how much of each, at each place

One scale for each level L of a UNet that attends, for there is a mask in it: each level has a
quarter of the cells of the one above.
"""

from __future__ import annotations

from math import prod
from typing import Final

from overpaint.bundle.tensor import Range, Tensor

TOKENS: Final = "ip_adapter_tokens"
SCALE: Final = "ip_adapter_scale_"
MOST_PICTURES: Final = 16
_TOKENS_OF_ALL: Final = 1024
_LARGEST_LATENT: Final = 512


def tokens_input(width: int) -> Tensor:
    """The pictures' tokens; `width` is the cross-attention's."""
    return Tensor(name=TOKENS, dtype="float32", shape=("batch", "ip_pictures", "ip_tokens", width))


def scale_input(level: int) -> Tensor:
    """How much of each picture a level's cells see."""
    return Tensor(
        name=f"{SCALE}{level}", dtype="float32", shape=("ip_pictures", f"ip_cells_{level}")
    )


def ranges(levels: list[int]) -> dict[str, Range]:
    """The sizes that these inputs may have."""
    return {
        "ip_pictures": Range(minimum=1, maximum=MOST_PICTURES),
        "ip_tokens": Range(minimum=1, maximum=_TOKENS_OF_ALL),
        **{
            f"ip_cells_{level}": Range(
                minimum=1, maximum=prod(sides(level, _LARGEST_LATENT, _LARGEST_LATENT))
            )
            for level in levels
        },
    }


def level_of(name: str) -> int | None:
    """The level that a scale's name is of; None where it is no scale's."""
    return int(name.removeprefix(SCALE)) if name.startswith(SCALE) else None


def sides(level: int, height: int, width: int) -> tuple[int, int]:
    """A level's (height, width), of latents (height, width): halved each time, rounded up."""
    return -(-height >> level), -(-width >> level)
