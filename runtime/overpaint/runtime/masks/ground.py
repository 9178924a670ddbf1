"""What is painted on: the picture at its own size, and the mask over it."""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import Image, ImageChops, ImageFilter

from overpaint.bundle.errors import UsageError
from overpaint.runtime.image import (
    ImageLike,
    flattened,
    place,
    read_with_alpha,
)
from overpaint.runtime.request import Request
from overpaint.runtime.settings import Settings, options

from .extend import extended, extended_mask
from .read import read_mask, transparency


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """`picture` is RGB; `mask`, of its size, is grey (L), None repaints all; `feathered` is the
    mask with its edge blurred, as far as that is asked for.

    image_sha256, mask_sha256: of what was read (`Picture.sha256`).
    """

    picture: Image.Image = field(repr=False)
    mask: Image.Image | None = field(repr=False)
    feathered: Image.Image | None = field(repr=False)
    image_sha256: str
    mask_sha256: str | None
    notes: tuple[str, ...]


def read_ground(image: ImageLike, request: Request) -> Ground:
    """Read the picture and, where there is one, its mask. Raises ImageError, UsageError."""
    settings = request.settings
    loaded = read_with_alpha(image)
    picture = flattened(loaded)
    notes = picture.notes
    mask, mask_sha256 = None, None
    if request.mask is not None:
        read = read_mask(request.mask)
        mask, told = _fitted(read.image, picture.image.size, settings.resize)
        mask_sha256, notes = read.sha256, (*notes, *read.notes, *told)
    elif settings.mask_from_alpha:
        mask = transparency(loaded.image)
    if mask is not None and settings.mask_invert:
        mask = ImageChops.invert(mask)
    ground = picture.image
    if settings.extend is not None:
        ground = extended(ground, settings.extend)
        mask = extended_mask(mask or Image.new("L", picture.image.size, 0), settings.extend)
    return Ground(
        picture=ground,
        mask=mask,
        feathered=None if mask is None else feathered(mask, settings.mask_blur),
        image_sha256=picture.sha256,
        mask_sha256=mask_sha256,
        notes=notes,
    )


def check_mask_settings(settings: Settings, *, masked: bool, image: bool) -> None:
    """Raise UsageError for words about a mask where there is none, or where there are two.

    masked: whether one was given beside the settings. image: whether there is a picture.
    """
    of_picture = settings.mask_from_alpha or settings.extend is not None
    if (masked or of_picture) and not image:
        raise UsageError("mask: it says which part of a picture to repaint; text to image has none")
    if masked and settings.mask_from_alpha:
        raise UsageError("mask_from_alpha: the mask is given already; give one of them")
    if masked or of_picture:
        return
    for name, one in options(Settings).items():
        if name.startswith("mask_") and getattr(settings, name) != one.default:
            raise UsageError(
                f"{name}: there is no mask; give one (mask, mask_from_alpha or extend), or leave "
                f"{name} out"
            )


def feathered(mask: Image.Image, blur: float) -> Image.Image:
    """`mask` (L), blurred by a Gaussian of `blur` pixels."""
    return mask.filter(ImageFilter.GaussianBlur(blur)) if blur else mask


def _fitted(
    mask: Image.Image, size: tuple[int, int], resize: str
) -> tuple[Image.Image, tuple[str, ...]]:
    """`mask` brought to `size` (width, height), the way that the picture comes to the run's."""
    if mask.size == size:
        return mask, ()
    return place(mask.size, size, resize).canvas(mask), (
        f"mask: expected the picture's {size[0]}x{size[1]} pixels, got {mask.width}x{mask.height}: "
        f"fitted ({resize})",
    )
