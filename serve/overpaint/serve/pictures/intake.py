"""A stranger's bytes -> an upright RGB PNG of a size that is worth repainting.

What a file is, its bytes say. Its size in pixels is read from the header and checked before a pixel
is decoded; one frame is taken; and because the result is encoded anew, nothing else that the file
may have carried survives. All of it happens in a thread, two pictures at a time.
"""

from __future__ import annotations

import asyncio
import io
import warnings
from dataclasses import dataclass
from typing import Final

from PIL import Image

from overpaint.bundle.errors import ImageError
from overpaint.runtime.image import read
from overpaint.serve.http.limits import Limits
from overpaint.serve.http.problems import ApiError

FORMATS: Final = ("PNG", "JPEG", "WEBP")


@dataclass(frozen=True, slots=True)
class Received:
    """A PNG of `size` (width, height), made of a picture of `original` size."""

    png: bytes
    size: tuple[int, int]
    original: tuple[int, int]


class Intake:
    """Reads pictures, at most two at once: one of 16 MP is 200 MB while it is being read."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._turns = asyncio.Semaphore(2)

    async def receive(self, data: bytes, field: str) -> Received:
        """Raises ApiError: 413 too large, 415 no such picture, 422 damaged."""
        if len(data) > self.limits.image_bytes:
            most = self.limits.image_bytes // 10**6
            message = f"expected a picture of {most} MB or less, got {len(data) / 1e6:.1f} MB"
            raise ApiError(413, "image_too_large", message, field=field)
        async with self._turns:
            return await asyncio.to_thread(clean, data, self.limits, field)


def clean(data: bytes, limits: Limits, field: str) -> Received:
    """The picture in `data` and nothing else of it; blocks. Raises ApiError as `receive` does."""
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
        return _upright_png(image, limits, field)


def _upright_png(image: Image.Image, limits: Limits, field: str) -> Received:
    try:
        image.load()
        picture = read(image).image
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
