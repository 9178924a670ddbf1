"""What a mask hides, painted over with the colours around it."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image, ImageChops, ImageFilter

_RADII: Final = (128, 64, 32, 16, 8, 4, 2, 1)


def surroundings(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """`picture` (RGB) with its colours run into what `mask` (L) lets change.

    Blurs of what is kept, the widest first, each laid over the one before as far as it reaches:
    near an edge its own colours, far from all edges the mean. AUTOMATIC1111's fill is the model.
    """
    kept = picture.convert("RGBA")
    kept.putalpha(ImageChops.invert(mask))
    # Premultiplied, so that a blur takes up no colour from under the mask.
    premultiplied = kept.convert("RGBa")
    filled = Image.new("RGBA", picture.size, _mean(picture, mask))
    for radius in _RADII:
        blurred = premultiplied.filter(ImageFilter.GaussianBlur(radius))
        filled.alpha_composite(blurred.convert("RGBA"))
    filled.alpha_composite(kept)
    return filled.convert("RGB")


def _mean(picture: Image.Image, mask: Image.Image) -> tuple[int, ...]:
    """The mean colour of what is kept; of the whole where nothing is."""
    weights = 255.0 - np.asarray(mask, np.float64)
    if not weights.any():
        weights[:] = 1
    colours = np.asarray(picture, np.float64)
    return tuple(round(float(np.average(colours[..., i], weights=weights))) for i in range(3))
