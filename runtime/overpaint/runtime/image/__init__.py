"""Pictures in and out: any file or array -> RGB -> pixels (B,3,H,W) float32 in [-1,1], and back."""

from __future__ import annotations

from .fit import Sides, fit
from .formats import FORMATS
from .pixels import from_pixels, to_pixels
from .read import MAX_PIXELS, ImageLike, Picture, read

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "ImageLike",
    "Picture",
    "Sides",
    "fit",
    "from_pixels",
    "read",
    "to_pixels",
]
