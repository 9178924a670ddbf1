"""A picture as CLIP's image encoder takes it: transformers' CLIPImageProcessor."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

_MEAN: Final = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
_DEVIATION: Final = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


def clip_pixels(image: Image.Image, side: int) -> npt.NDArray[np.float32]:
    """An RGB picture -> (1,3,side,side): its shorter side resized to `side`, its middle, each
    channel by the mean and deviation of CLIP's training pictures."""
    width, height = image.size
    short = min(width, height)
    size = (int(side * width / short), int(side * height / short))
    resized = image.resize(size, Image.Resampling.BICUBIC)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    middle = np.asarray(resized.crop((left, top, left + side, top + side)), np.float32)
    values = (middle / np.float32(255) - _MEAN) / _DEVIATION
    return np.ascontiguousarray(values.transpose(2, 0, 1))[None]
