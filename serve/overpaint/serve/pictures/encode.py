"""A finished picture in the format that a client asked for."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass

from PIL import Image

from overpaint.serve.store.kept import Kept


@dataclass(frozen=True, slots=True)
class Encoded:
    """A file and the size of its picture (width, height)."""

    data: bytes
    size: tuple[int, int]


async def encoded(media: Kept, key: str, kind: str, quality: int) -> Encoded:
    """The picture kept as `key`, as "png" (the kept file itself), "webp" or "jpeg"."""
    return await asyncio.to_thread(_encode, media.get(key), kind, quality)


def _encode(png: bytes, kind: str, quality: int) -> Encoded:
    image = Image.open(io.BytesIO(png))
    if kind == "png":
        return Encoded(png, image.size)
    return Encoded(convert(image, kind, quality), image.size)


def media_type(data: bytes) -> str:
    """Of a picture that was encoded here: PNG, WEBP or JPEG."""
    if data[:4] == b"RIFF":
        return "image/webp"
    return "image/jpeg" if data[:2] == b"\xff\xd8" else "image/png"


def convert(image: Image.Image, kind: str, quality: int) -> bytes:
    """`quality` 100 is lossless for WEBP, and as good as JPEG gets."""
    file = io.BytesIO()
    if kind == "webp":
        image.save(file, "WEBP", quality=quality, lossless=quality == 100)
    elif kind == "jpeg":
        image.save(file, "JPEG", quality=max(1, quality), subsampling=0 if quality > 90 else -1)
    else:
        image.save(file, "PNG", compress_level=3)
    return file.getvalue()
