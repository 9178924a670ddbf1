"""Whatever a caller calls an image -> an upright RGB picture, or one line that says why not."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from overpaint.bundle.errors import ImageError

from .colours import to_srgb
from .formats import FORMATS, reader_of

ImageLike: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | npt.NDArray[Any]

MAX_PIXELS: Final = 8192 * 8192
_MAY_MOVE: Final = ("GIF", "WEBP", "PNG", "AVIF")
_EXPECTED = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"


@dataclass(frozen=True, slots=True)
class Picture:
    """An image, upright, 8 bits a channel, and `notes` on what had to be changed for that.

    RGB, but RGBA from `read_with_alpha` and grey (L) where it is a mask.
    """

    image: Image.Image
    name: str
    notes: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Of its size and its pixels' bytes: of what is painted over, however it was encoded."""
        width, height = self.image.size
        return hashlib.sha256(b"%d %d " % (width, height) + self.image.tobytes()).hexdigest()


def read(source: ImageLike) -> Picture:
    """Read `source`: a path, a file's bytes, a binary file, a PIL image or a NumPy array.

    Files are recognised by their bytes, never by their names. EXIF orientation is applied, colours
    of an ICC profile become those of sRGB, the first frame of an animation is taken, transparency
    is laid on white, palettes, grey, CMYK and 16-bit pictures become 8-bit RGB. Arrays are (H,W),
    (H,W,1), (H,W,3) or (H,W,4): uint8, or floats in [0,1].

    Raises ImageError for whatever is missing, damaged, no picture, or above `MAX_PIXELS`.
    """
    return flattened(read_with_alpha(source))


def flattened(picture: Picture) -> Picture:
    """An RGB or RGBA picture laid on white, with a note where that shows."""
    if picture.image.mode == "RGB":
        return picture
    low, _ = cast("tuple[int, int]", picture.image.getchannel("A").getextrema())
    told = (f"{picture.name}: transparent parts were laid on white",) if low < 255 else ()
    return replace(picture, image=laid_on(picture.image, "white"), notes=(*picture.notes, *told))


def laid_on(image: Image.Image, colour: str) -> Image.Image:
    """An RGB or RGBA image with `colour` where it is transparent, RGB."""
    if image.mode == "RGB":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, colour), image).convert("RGB")


def read_with_alpha(source: ImageLike) -> Picture:
    """As `read`, with what a picture says of its transparency: RGB or RGBA."""
    if isinstance(source, Image.Image):
        return _upright(source, "the image", [])
    if isinstance(source, np.ndarray):
        return _upright(Image.fromarray(_as_uint8(source)), "the array", [])
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode(io.BytesIO(source), "the image")
    if isinstance(source, (str, os.PathLike)):
        return _read_path(Path(source))
    if hasattr(source, "read"):
        name = str(getattr(source, "name", "the file"))
        return _decode(io.BytesIO(source.read()), name)
    raise ImageError(
        "expected an image as a path, bytes, a binary file, a PIL image or a NumPy array, "
        f"got {type(source).__name__}"
    )


def _read_path(path: Path) -> Picture:
    if str(path).startswith(("http:/", "https:/")):
        raise ImageError(f"{path}: expected a file, got a URL; download the picture first")
    try:
        with path.open("rb") as file:
            return _decode(file, str(path))
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ImageError(f"{path}: expected a picture, got a folder") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ImageError(f"{path}: cannot be read ({_reason(error)})") from None


def _decode(file: BinaryIO, name: str) -> Picture:
    if not file.read(1):
        raise ImageError(f"{name}: is empty (0 bytes), expected a picture")
    file.seek(0)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")  # Pillow's remarks on odd files become notes
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        picture = _load(_open(file, name), name)
    remarks = dict.fromkeys(f"{name}: {_reason(remark.message)}" for remark in said)
    return replace(picture, notes=(*picture.notes, *remarks))


def _open(file: BinaryIO, name: str) -> Image.Image:
    formats = reader_of(file, name)
    try:
        image = Image.open(file, formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(f"{name}: {_too_large()}") from None
    except UnidentifiedImageError:
        raise ImageError(
            f"{name}: not a picture that can be read (expected {_EXPECTED}, by its bytes)"
        ) from None
    except Exception as error:  # a decoder may fail on hostile bytes with any exception at all
        raise ImageError(f"{name}: cannot be read as a picture ({_reason(error)})") from None
    # The size stands in the header: a bomb is refused before a pixel of it is decoded.
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"{name}: {_too_large(image.size)}")
    return image


def _load(image: Image.Image, name: str) -> Picture:
    try:
        image.load()
        moves = getattr(image, "is_animated", False) and image.format in (
            "GIF",
            "WEBP",
            "PNG",
            "AVIF",
        )
        notes = [f"{name}: took the first frame of an animation"] if moves else []
        return _upright(image, name, notes)
    except ImageError:
        raise
    except Exception as error:  # as above
        raise ImageError(
            f"{name}: the {image.format} is damaged or cut short ({_reason(error)})"
        ) from None


def _upright(image: Image.Image, name: str, notes: list[str]) -> Picture:
    if image.width == 0 or image.height == 0:
        raise ImageError(f"{name}: expected at least one pixel, got {image.width}x{image.height}")
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"{name}: {_too_large(image.size)}")
    image = ImageOps.exif_transpose(image)
    image, told = to_srgb(image)
    notes += [f"{name}: {note}" for note in told]
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(_from_deep(np.asarray(image), image.mode, name))
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return Picture(image if image.mode == mode else image.convert(mode), name, tuple(notes))


def _from_deep(values: npt.NDArray[Any], mode: str, name: str) -> npt.NDArray[np.uint8]:
    """Grey levels of more than 8 bits: integers count to 65535, floats to 1."""
    top = 1.0 if mode.startswith("F") else 65535.0
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= top):  # a NaN fails too
        raise ImageError(f"{name}: expected grey levels in [0, {top:g}], got [{low:g}, {high:g}]")
    return np.asarray(np.rint(values * (255.0 / top)), np.uint8)


def _as_uint8(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (3, 4)):
        raise ImageError(
            "expected an array of shape (H,W), (H,W,1), (H,W,3) or (H,W,4), "
            f"got {_shape(array.shape)}"
        )
    if array.size == 0:
        raise ImageError(f"expected at least one pixel, got an array of {_shape(array.shape)}")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if not np.issubdtype(array.dtype, np.floating):
        raise ImageError(f"expected uint8, or floats in [0, 1], got {array.dtype}")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):
        raise ImageError(f"expected floats in [0, 1], got values from {low:g} to {high:g}")
    return np.asarray(np.rint(array * 255.0), np.uint8)


def _shape(shape: tuple[int, ...]) -> str:
    return f"({','.join(map(str, shape))})"


def _too_large(size: tuple[int, int] | None = None) -> str:
    got = f"{size[0]}x{size[1]} pixels" if size else "far more"
    return f"expected at most {MAX_PIXELS // 10**6} million pixels, got {got}; shrink it first"


def _reason(error: Exception | Warning | str) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())
