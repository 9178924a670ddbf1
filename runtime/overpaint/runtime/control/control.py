"""What is asked of a control network in one run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from overpaint.bundle.errors import UsageError
from overpaint.runtime.image import ImageLike

PREPROCESSORS: Final = ("map", "canny", "tile")
"""What is made here of a picture: nothing, for it is a map already; its edges; or nothing, for the
network wants the picture itself."""

_TAKEN_READY: Final = (
    *("depth", "openpose", "pose", "lineart", "hed", "softedge", "scribble", "mlsd", "normal"),
    *("normalbae", "segmentation", "seg", "shuffle", "inpaint", "ip2p", "recolor"),
)
_LARGEST_SCALE: Final = 10.0


@dataclass(frozen=True, slots=True)
class Control:
    """A picture for a control network; None is the one that is repainted. Raises UsageError for a
    value out of range.

    scale: multiplies what the network adds. start, end: it acts from this part to that of the
    steps that are run. preprocessor: what the picture is made into before the network sees it.
    kind: which of its kinds of picture a union network is shown, counted from 0.
    """

    picture: ImageLike | None = None
    scale: float = 1.0
    start: float = 0.0
    end: float = 1.0
    preprocessor: str = "map"
    kind: int | None = None

    def __post_init__(self) -> None:
        for name, high in (("scale", _LARGEST_SCALE), ("start", 1.0), ("end", 1.0)):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or not 0 <= value <= high:
                raise UsageError(
                    f"control {name}: expected a number from 0 to {high:g}, got {value!r}"
                )
        if self.start >= self.end:
            raise UsageError(
                f"control start: expected less than its end, {self.end:g}, got {self.start:g}"
            )
        if self.preprocessor not in PREPROCESSORS:
            raise UsageError(f"control preprocessor: {_unknown(self.preprocessor)}")
        if self.kind is not None and (type(self.kind) is not int or self.kind < 0):
            raise UsageError(f"control kind: expected a number from 0, got {self.kind!r}")

    def acts(self, row: int, rows: int) -> bool:
        """Whether it has a say in one of so many calls of the denoiser, as diffusers has it."""
        return not (row / rows < self.start or (row + 1) / rows > self.end)


def _unknown(name: object) -> str:
    known = ", ".join(PREPROCESSORS)
    if isinstance(name, str) and name.lower().replace("_", "-").split("-")[0] in _TAKEN_READY:
        return (
            f"{name} maps are not made here, for that takes a model of its own; make the map "
            f"elsewhere and give it as it is (map). Made here: {known}"
        )
    return f"expected one of {known}, got {name!r}"
