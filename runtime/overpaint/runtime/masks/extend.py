"""A larger canvas, and the mask of what is new on it (outpainting)."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from PIL import Image

from overpaint.bundle.errors import UsageError
from overpaint.runtime.image import MAX_PIXELS

Margins: TypeAlias = tuple[int, int, int, int]
"""Pixels that are added on the left, at the top, on the right and at the bottom."""


def extended(picture: Image.Image, margins: Margins) -> Image.Image:
    """`picture` with its border pixels continued over the margins. Raises UsageError for a canvas
    that no picture may have."""
    left, top, right, bottom = margins
    width, height = left + picture.width + right, top + picture.height + bottom
    if width * height > MAX_PIXELS:
        raise UsageError(
            f"extend: expected a canvas of at most {MAX_PIXELS // 10**6} million pixels, got "
            f"{width}x{height}; extend by less"
        )
    planes = np.pad(np.asarray(picture), ((top, bottom), (left, right), (0, 0)), mode="edge")
    return Image.fromarray(planes)


def extended_mask(mask: Image.Image, margins: Margins) -> Image.Image:
    """`mask` (L) on the larger canvas, whose margins are repainted."""
    left, top, right, bottom = margins
    size = left + mask.width + right, top + mask.height + bottom
    larger = Image.new("L", size, 255)
    larger.paste(mask, (left, top))
    return larger
