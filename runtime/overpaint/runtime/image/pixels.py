"""RGB images <-> the arrays that the VAE takes and gives, with diffusers' rounding."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from overpaint.bundle.errors import SessionError


def to_pixels(image: Image.Image) -> npt.NDArray[np.float32]:
    """An RGB image -> (1,3,H,W) float32 in [-1,1] (diffusers' VaeImageProcessor.preprocess)."""
    # Planes are made of bytes, a quarter of what floats are, and computed in place: a tenth of the
    # time, which at few steps on a GPU is a good part of the whole.
    values = np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1)).astype(np.float32)
    values /= np.float32(255)
    values *= np.float32(2)
    values -= np.float32(1)
    return values[None]


def from_pixels(pixels: npt.NDArray[np.floating]) -> list[Image.Image]:
    """(B,3,H,W) floats, nominally in [-1,1] -> B RGB images (VaeImageProcessor.postprocess).

    Values beyond the range are clipped; a value that is no number is an error, never black.
    """
    if not np.isfinite(pixels).all():
        raise SessionError(
            "the VAE decoder gave values that are not numbers: its precision is too low for this "
            "picture; use a float32 bundle, or export again with a float32 VAE"
        )
    values = np.multiply(pixels, np.float32(0.5), dtype=np.float32)
    values += np.float32(0.5)
    np.clip(values, 0, 1, out=values)
    values *= np.float32(255)
    np.rint(values, out=values)
    batch, channels, height, width = values.shape
    colours = np.empty((batch, height, width, channels), np.uint8)
    for channel in range(channels):
        colours[..., channel] = values[:, channel]
    return [Image.fromarray(one) for one in colours]
