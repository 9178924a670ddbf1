"""A stranger's bytes -> an upright PNG, RGB or RGBA, of a size that is worth repainting.

What a file is, its bytes say. Its size in pixels is read from the header and checked before a pixel
is decoded; one frame is taken; and because the result is encoded anew, nothing else that the file
may have carried survives. All of it happens in processes that may be killed: `reader`.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from PIL import Image

from overpaint.bundle.errors import ImageError
from overpaint.runtime.image import read_with_alpha
from overpaint.serve.http.limits import Limits
from overpaint.serve.http.problems import ApiError

FORMATS: Final = ("PNG", "JPEG", "WEBP")
SCANS: Final = 500  # of a JPEG; ten are usual, and each goes over the whole picture
START_OF_SCAN: Final = b"\xff\xda"

ToMask: TypeAlias = Callable[[Image.Image], Image.Image]


@dataclass(frozen=True, slots=True)
class Received:
    """A PNG of `size` (width, height), made of a picture of `original` size."""

    png: bytes
    size: tuple[int, int]
    original: tuple[int, int]


def clean(data: bytes, limits: Limits, field: str, as_mask: ToMask | None = None) -> Received:
    """The picture in `data` and nothing else of it, or what `as_mask` makes of that; blocks. Raises
    ApiError: 413 too large, 415 no such picture, 422 damaged, or what is no mask."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        except Image.DecompressionBombError:
            raise _too_many_pixels(limits, field) from None
        except Exception:  # a decoder may fail on hostile bytes with any exception at all
            message = "expected a PNG, JPEG or WEBP picture (by its bytes, not its name)"
            raise ApiError(415, "not_an_image", message, field=field) from None
    with image:
        if image.width * image.height > limits.image_pixels:
            raise _too_many_pixels(limits, field)
        if image.format == "JPEG" and data.count(START_OF_SCAN) > SCANS:
            message = f"expected a JPEG of {SCANS} scans or fewer"
            raise ApiError(422, "invalid_image", message, field=field)
        return _upright_png(image, limits, field, as_mask)


def texts(data: bytes, field: str) -> dict[str, str]:
    """What a PNG says beside its pixels, by keyword. Raises ApiError 422."""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            return {str(key): text for key, text in image.info.items() if isinstance(text, str)}
    except Exception:  # a decoder may fail on hostile bytes with any exception at all
        raise ApiError(422, "invalid_image", "expected a PNG", field=field) from None


def _upright_png(
    image: Image.Image, limits: Limits, field: str, as_mask: ToMask | None
) -> Received:
    try:
        image.load()
        picture = read_with_alpha(image).image
        picture = as_mask(picture) if as_mask else picture
    except ImageError as error:
        raise ApiError(422, "invalid_image", str(error), field=field) from None
    except Exception:  # as above
        message = f"the {image.format} is damaged or cut short"
        raise ApiError(422, "invalid_image", message, field=field) from None
    original = picture.size
    picture.thumbnail((limits.image_side, limits.image_side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)
    return Received(file.getvalue(), picture.size, original)


def _too_many_pixels(limits: Limits, field: str) -> ApiError:
    most = limits.image_pixels // 10**6
    message = f"expected a picture of {most} million pixels or fewer; shrink it first"
    return ApiError(413, "image_too_large", message, field=field)
