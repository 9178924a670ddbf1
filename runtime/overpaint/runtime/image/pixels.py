"""RGB images <-> the arrays that the VAE takes and gives, with diffusers' rounding."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from overpaint.engines.errors import SessionError


def to_pixels(image: Image.Image) -> npt.NDArray[np.float32]:
    """An RGB image -> (1,3,H,W) float32 in [-1,1] (diffusers' VaeImageProcessor.preprocess)."""
    values = np.asarray(image, np.float32) / np.float32(255)
    return np.ascontiguousarray((values * 2 - 1).transpose(2, 0, 1)[None])


def from_pixels(pixels: npt.NDArray[np.floating]) -> list[Image.Image]:
    """(B,3,H,W) floats, nominally in [-1,1] -> B RGB images (VaeImageProcessor.postprocess).

    Values beyond the range are clipped; a value that is no number is an error, never black.
    """
    if not np.isfinite(pixels).all():
        raise SessionError(
            "the VAE decoder gave values that are not numbers: its precision is too low for this "
            "picture; use a float32 bundle, or export again with a float32 VAE"
        )
    values = np.clip(pixels.astype(np.float32, copy=False) * 0.5 + 0.5, 0, 1) * 255
    return [Image.fromarray(one) for one in np.rint(values).astype(np.uint8).transpose(0, 2, 3, 1)]
