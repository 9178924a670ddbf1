"""What is asked of a pipeline, in one piece. Command line, Python and server build one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from overpaint.bundle.errors import UsageError

from .control.control import Control
from .engines import Engines
from .image import ImageLike
from .settings import Settings
from .text.lora_tags import tagged

HAND_OVER: Final = 0.8
LARGEST_LORA_WEIGHT: Final = 2.0


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
    repainted, black is kept. `lora`: weights of LoRAs that the pipeline has open, from -2 to 2, by
    name; what the prompt says of them is added. `ip_adapter_image`: reference pictures;
    `ip_adapter_mask`: where each of them counts, white, or none. `reference_image`: pictures that
    the denoiser itself looks at. `control`: by the names of the
    control networks that are open, what each is shown."""

    image: ImageLike | None
    prompt: str
    settings: Settings = field(default_factory=Settings)
    refiner: Refiner | None = None
    mask: ImageLike | None = None
    lora: Mapping[str, float] = field(default_factory=dict)
    ip_adapter_image: tuple[ImageLike, ...] = ()
    ip_adapter_mask: tuple[ImageLike, ...] = ()
    reference_image: tuple[ImageLike, ...] = ()
    control: Mapping[str, Control] = field(default_factory=dict)

    def lora_weights(self) -> dict[str, float]:
        """`lora`, and what the prompt says. Raises UsageError."""
        return lora_weights(self.lora, self.prompt, self.settings)


def lora_weights(lora: Mapping[str, float], prompt: str, settings: Settings) -> dict[str, float]:
    """`lora`, and what the prompt says where `settings` have its notation read.

    Raises:
        UsageError: a weight is none from -2 to 2, or the prompt's notation is broken.
    """
    weights = dict(lora)
    if settings.prompt_weights:
        for name, weight in tagged(prompt).items():
            weights[name] = weights.get(name, 0.0) + weight
    for name, weight in weights.items():
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not number or not abs(weight) <= LARGEST_LORA_WEIGHT:
            raise UsageError(
                f"lora: expected weights from {-LARGEST_LORA_WEIGHT:g} to "
                f"{LARGEST_LORA_WEIGHT:g}, got {weight!r} for {name}"
            )
    return weights
