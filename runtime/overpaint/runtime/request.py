"""What is asked of a pipeline, in one piece. Command line, Python and server build one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from overpaint.bundle.errors import UsageError

from .engines import Engines
from .image import ImageLike
from .settings import Settings

HAND_OVER: Final = 0.8


@dataclass(frozen=True, slots=True)
class Refiner:
    """The engines that finish what others begin, and the part of the way from noise to picture
    that is run before them: between 0 and 1, 0.8 where None."""

    engines: Engines
    hand_over: float = HAND_OVER

    def __post_init__(self) -> None:
        number = isinstance(self.hand_over, int | float) and not isinstance(self.hand_over, bool)
        if not number or not 0 < self.hand_over < 1:
            raise UsageError(
                f"hand_over: expected a number between 0 and 1, got {self.hand_over!r}"
            )


@dataclass(frozen=True, slots=True)
class Request:
    """A picture to repaint as `prompt` says. Without `image` it is text to image. `mask`: white is
    repainted, black is kept."""

    image: ImageLike | None
    prompt: str
    settings: Settings = field(default_factory=Settings)
    refiner: Refiner | None = None
    mask: ImageLike | None = None
