"""How close a run stays to the exact one: named sets of parts that cost quality and save time.

Each part is an option of its own too. What was measured of them: docs/fidelity.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a level brings where the option of the same name says nothing."""

    forecast: int = 0
    guidance_start: float = 0.0
    guidance_end: float = 1.0
    adaptive_guidance: float | None = None


EXACT: Final = "exact"
LEVELS: Final[Mapping[str, Parts]] = {
    EXACT: Parts(),
    "balanced": Parts(forecast=1, guidance_end=0.6),
    "draft": Parts(forecast=2, guidance_end=0.4),
}
