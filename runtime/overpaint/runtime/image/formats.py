"""The kinds of picture files that are read, and which of them this installation can read."""

from __future__ import annotations

from typing import BinaryIO, Final

from PIL import Image

from overpaint.bundle.errors import ImageError
from overpaint.bundle.installed import install_command

FORMATS: Final = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "HEIC")
_PILLOWS_OWN: Final = FORMATS[:6]
_AVIF_BRANDS: Final = (b"avif", b"avis")
_HEIC_BRANDS: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")


def reader_of(file: BinaryIO, name: str) -> tuple[str, ...]:
    """What Pillow is to try on `file`, whose position stays at its start.

    Raises ImageError for AVIF and HEIC where what reads them is not installed.
    """
    brands = _brands(file.read(64))
    file.seek(0)
    if any(brand in _AVIF_BRANDS for brand in brands):
        return _avif(name)
    if any(brand in _HEIC_BRANDS for brand in brands):
        return _heic(name)
    return _PILLOWS_OWN


def _brands(start: bytes) -> tuple[bytes, ...]:
    """What an ISO media file says that it is, its own brand first (ISO/IEC 14496-12, 4.3)."""
    if start[4:8] != b"ftyp":
        return ()
    end = min(int.from_bytes(start[:4], "big"), len(start))
    return (start[8:12], *(start[at : at + 4] for at in range(16, end, 4)))


def _avif(name: str) -> tuple[str, ...]:
    Image.init()  # every plugin that this Pillow has
    if "AVIF" not in Image.OPEN:
        raise ImageError(
            f"{name}: is an AVIF picture, which Pillow reads from 11.3 on; install it with: "
            "pip install --upgrade Pillow"
        )
    return ("AVIF",)


def _heic(name: str) -> tuple[str, ...]:
    try:
        from pillow_heif import register_heif_opener
    except ModuleNotFoundError:
        raise ImageError(
            f"{name}: is a HEIC picture, which pillow-heif reads; install it with: "
            f"{install_command('heif')}"
        ) from None
    register_heif_opener()
    return ("HEIF",)
