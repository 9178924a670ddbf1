"""Whatever a caller calls a mask -> a grey picture: how much each pixel may change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image, ImageChops

from overpaint.runtime.image import ImageLike, Picture, laid_on, read_with_alpha


def read_mask(source: ImageLike) -> Picture:
    """A mask as a Picture in grey (L): 255 is repainted, 0 is kept.

    `source` is what `image.read` takes, or an array (H,W) of bool. Transparent parts are kept.
    Raises ImageError.
    """
    if isinstance(source, np.ndarray) and source.dtype == np.bool_:
        source = source.astype(np.uint8) * np.uint8(255)
    picture = read_with_alpha(source)
    return replace(picture, image=laid_on(picture.image, "black").convert("L"))


def transparency(image: Image.Image) -> Image.Image:
    """The mask that repaints where `image`, RGB or RGBA, is transparent."""
    if image.mode == "RGB":
        return Image.new("L", image.size, 0)
    return ImageChops.invert(image.getchannel("A"))
