"""Where frames come from: a folder of pictures, an animated picture, a film, a camera."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image, ImageSequence, UnidentifiedImageError

from overpaint.bundle.errors import ImageError, MissingExtraError, one_line
from overpaint.bundle.files.looking import is_folder, is_there
from overpaint.runtime.image import ImageLike

from .work import pictures_in

ANIMATED: Final = (".gif", ".webp", ".png", ".apng")
CAMERA: Final = re.compile(r"camera(?::(?P<number>\d+))?")
USUAL_RATE: Final = 25.0  # of pictures that do not say


@dataclass(frozen=True, slots=True)
class Frames:
    """Pictures as they come; `rate` is how many there are to a second, `total` how many in all,
    None where that is not known. `endless`: they come until somebody stops it."""

    pictures: Iterator[ImageLike]
    rate: float
    total: int | None
    endless: bool = False


@contextmanager
def frames_of(source: str) -> Iterator[Frames]:
    """The frames of a folder, a file, or "camera" (the first; "camera:1" is the second).

    Raises ImageError where it is missing or none of these; MissingExtraError where a film or a
    camera needs PyAV.
    """
    camera = CAMERA.fullmatch(source)
    path = Path(source)
    if camera and not is_there(path):
        yield from _film(*_camera(int(camera["number"] or 0)), endless=True)
    elif is_folder(path):
        pictures = pictures_in(path)
        yield Frames(iter(pictures), USUAL_RATE, len(pictures))
    elif not is_there(path):
        raise ImageError(f"{path}: no such file; expected a film, a folder of pictures, or camera")
    elif path.suffix.lower() in ANIMATED:
        yield from _animation(path)
    else:
        yield from _film(str(path), None, endless=False)


def _animation(path: Path) -> Iterator[Frames]:
    try:
        with Image.open(path) as image:
            count = getattr(image, "n_frames", 1)
            milliseconds = float(image.info.get("duration") or 1000 / USUAL_RATE)
            frames = (frame.convert("RGB") for frame in ImageSequence.Iterator(image))
            yield Frames(frames, 1000 / milliseconds, count)
    except UnidentifiedImageError:
        raise ImageError(f"{path}: not a picture that can be read") from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({one_line(str(error))})") from None


def _camera(number: int) -> tuple[str, str]:
    """What PyAV calls a camera here: a file, and its format."""
    if sys.platform == "darwin":
        return str(number), "avfoundation"
    if sys.platform == "win32":
        return f"video={number}", "dshow"
    return f"/dev/video{number}", "v4l2"


def _film(name: str, form: str | None, *, endless: bool) -> Iterator[Frames]:
    av = import_av(name)
    try:
        with av.open(name, format=form) as container:
            if not container.streams.video:
                raise ImageError(f"{name}: there is no picture in it")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            rate = float(stream.average_rate or USUAL_RATE)
            pictures = (frame.to_image() for frame in container.decode(stream))
            yield Frames(pictures, rate, stream.frames or None, endless)
    except (av.error.FFmpegError, OSError) as error:
        raise ImageError(f"{name}: cannot be read as a film ({one_line(str(error))})") from None


def import_av(name: str) -> Any:
    """PyAV, which reads and writes films. MissingExtraError where it is not installed."""
    try:
        import av
    except ImportError as error:
        raise MissingExtraError.told_by(error, "video", "av") from error
    return av
