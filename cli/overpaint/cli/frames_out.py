"""Where frames go: a folder of pictures, an animated picture, a film. Whole, or not at all."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Protocol

from PIL import Image

from overpaint.bundle.errors import OutputExistsError, OverpaintError, UsageError, one_line
from overpaint.bundle.files.looking import is_folder

from .frames_in import import_av
from .output import refuse_existing, save

ANIMATIONS: Final = {".gif": "GIF", ".webp": "WEBP"}
FILMS: Final = {".mp4": "libx264", ".mkv": "libx264", ".mov": "libx264", ".webm": "libvpx-vp9"}


class Show(Protocol):
    """Takes the next frame."""

    def __call__(self, frame: Image.Image, /) -> None: ...


@contextmanager
def frames_to(output: Path, rate: float, *, force: bool) -> Iterator[Show]:
    """Yield what takes frames for `output`: a folder (00001.png and on), or a file by its name's
    end, which is there when the block ends well. `rate`: frames a second.

    Raises UsageError, OutputExistsError, MissingExtraError; DiskFullError and OverpaintError where
    it cannot be written.
    """
    kind = output.suffix.lower()
    if is_folder(output) or not kind:
        yield _Folder(output, force)
        return
    if kind not in ANIMATIONS and kind not in FILMS:
        known = ", ".join((*ANIMATIONS, *FILMS))
        raise UsageError(f"--output {output}: expected a folder or a file that ends in {known}")
    refuse_existing(output, force=force)
    if kind in ANIMATIONS:
        yield from _animation(output, ANIMATIONS[kind], rate, force)
    else:
        yield from _film(output, FILMS[kind], rate, force)


class _Folder:
    """Each frame is a file as soon as it comes."""

    def __init__(self, folder: Path, force: bool) -> None:
        self._folder, self._force, self._count = folder, force, 0
        if not force and is_folder(folder) and any(folder.glob("[0-9]*.png")):
            raise OutputExistsError(
                f"{folder}: there are frames in it already; add --force to overwrite them, or "
                "choose another --output"
            )

    def __call__(self, frame: Image.Image, /) -> None:
        self._count += 1
        encoded = io.BytesIO()
        frame.save(encoded, "PNG", compress_level=1)
        save(encoded.getbuffer(), self._folder / f"{self._count:05}.png", force=self._force)


def _animation(path: Path, kind: str, rate: float, force: bool) -> Iterator[Show]:
    frames: list[Image.Image] = []
    yield frames.append
    if not frames:
        return
    first, *rest = frames
    encoded = io.BytesIO()
    duration = max(round(1000 / rate), 20)  # players take less for a mistake
    first.save(encoded, kind, save_all=True, append_images=rest, duration=duration, loop=0)
    save(encoded.getbuffer(), path, force=force)


def _film(path: Path, codec: str, rate: float, force: bool) -> Iterator[Show]:
    """Encoded beside `path` as frames come, and named when all have."""
    av = import_av(str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".overpaint-{secrets.token_hex(8)}{path.suffix}")
    try:
        with av.open(str(beside), "w") as container:
            stream = container.add_stream(codec, rate=Fraction(rate).limit_denominator(1001))
            stream.pix_fmt = "yuv420p"
            started = False

            def show(frame: Image.Image, /) -> None:
                nonlocal started
                if not started:
                    stream.width, stream.height = (side // 2 * 2 for side in frame.size)
                    started = True
                _mux(container, stream, av.VideoFrame.from_image(frame))

            yield show
            if started:
                _mux(container, stream, None)
        if started:
            if not force and os.path.lexists(path):
                refuse_existing(path, force=False)
            os.replace(beside, path)
    except (av.error.FFmpegError, OSError) as error:
        told = one_line(str(error))
        raise OverpaintError(f"{path}: cannot be written ({told})") from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def _mux(container: Any, stream: Any, frame: Any) -> None:
    for packet in stream.encode(frame):
        container.mux(packet)
