"""Pictures that a denoiser looks at beside the one that is repainted: read, and cut to its cells.

Source: diffusers' Flux2KleinPipeline, whose `image` they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from overpaint.bundle.errors import UsageError
from overpaint.bundle.format.manifest import Manifest

from .image import ImageLike, read, to_pixels

Array = npt.NDArray[np.float32]

MOST: Final = 4
LARGEST: Final = 1024 * 1024
"""Pixels; a larger picture is made smaller. So many are 4,096 tokens, as many as a picture of that
size has that is painted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceImages:
    """pixels: of each, (1,3,h,w) in [-1,1]. sha256: of each, as it was read."""

    pixels: tuple[Array, ...] = field(default=(), repr=False)
    sha256: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_reference_images(manifest: Manifest, pictures: Sequence[ImageLike]) -> ReferenceImages:
    """What `manifest`'s denoiser is to look at.

    Raises:
        UsageError: it looks at no pictures, or these are too many or too small.
        ImageError: one cannot be read.
    """
    check_reference_images(manifest.name, len(pictures), looks=manifest.looks_at_pictures)
    found = [read(one) for one in pictures]
    multiple = manifest.latents.multiple
    return ReferenceImages(
        pixels=tuple(to_pixels(_cut(one.image, multiple)) for one in found),
        sha256=tuple(one.sha256 for one in found),
        notes=tuple(note for one in found for note in one.notes),
    )


def check_reference_images(model: str, pictures: int, *, looks: bool) -> None:
    """Raise UsageError for so many pictures, of a model that `looks` at some or at none."""
    if pictures and not looks:
        raise UsageError(
            f"reference_image: {model} looks at no pictures beside the one that is repainted, as "
            "FLUX.2 klein does; through an IP-Adapter it may: that is ip_adapter_image"
        )
    if pictures > MOST:
        raise UsageError(f"reference_image: expected {MOST} at most, got {pictures}")


def _cut(picture: Image.Image, multiple: int) -> Image.Image:
    """Made smaller where it is large, then its middle, of sides that are multiples."""
    width, height = picture.size
    if width * height > LARGEST:
        scale = math.sqrt(LARGEST / (width * height))
        size = int(width * scale), int(height * scale)
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    sides = tuple(side // multiple * multiple for side in picture.size)
    if not all(sides):
        raise UsageError(
            f"reference_image: expected sides of at least {multiple} pixels, got {width}x{height}"
        )
    left, top = ((own - side) // 2 for own, side in zip(picture.size, sides, strict=True))
    return picture.crop((left, top, left + sides[0], top + sides[1]))
