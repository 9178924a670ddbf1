"""The repainted part, put into the picture as it was read."""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import Image

from overpaint.runtime.image import Placement


@dataclass(frozen=True, slots=True)
class Paste:
    """`picture` (RGB) changes as far as `alpha` (L, of its size) says: where that is 0, no bit."""

    picture: Image.Image = field(repr=False)
    alpha: Image.Image = field(repr=False)
    placement: Placement

    def __call__(self, painted: Image.Image) -> Image.Image:
        """The picture with what the canvas `painted` shows of it."""
        box = self.placement.box
        part = self.placement.back(painted)
        pasted = self.picture.copy()
        pasted.paste(part, box, self.alpha.crop(box))
        return pasted
