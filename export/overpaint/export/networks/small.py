"""The sizes of reduced networks."""

from __future__ import annotations

from typing import Final

WIDTH: Final = 64
CHANNELS: Final = (64, 128, 128, 128)
NORM_GROUPS: Final = 8
"""Groups of two channels, as 32 would make, have two values at the smallest size, and a norm over
two nearly equal values blows up what half precision rounds. True networks have ten and more."""
HEADS: Final = (2, 4, 4, 4)
