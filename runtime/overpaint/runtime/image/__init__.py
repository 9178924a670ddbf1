"""Pictures in and out: any file or array -> RGB -> pixels (B,3,H,W) float32 in [-1,1], and back."""

from __future__ import annotations

from .formats import FORMATS
from .pixels import from_pixels, to_pixels
from .place import Box, Placement, place
from .read import MAX_PIXELS, ImageLike, Picture, flattened, laid_on, read, read_with_alpha
from .sides import Sides

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "Box",
    "ImageLike",
    "Picture",
    "Placement",
    "Sides",
    "flattened",
    "from_pixels",
    "laid_on",
    "place",
    "read",
    "read_with_alpha",
    "to_pixels",
]
