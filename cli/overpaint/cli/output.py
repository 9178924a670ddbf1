"""Finished images -> files, whole or not at all."""

from __future__ import annotations

import errno
import io
import sys
from pathlib import Path
from typing import Final

from overpaint.bundle.errors import DiskFullError, OutputExistsError, OverpaintError
from overpaint.runtime.metadata import Painting
from overpaint.scale.places import is_folder, is_there

from .claim import put

STANDARD: Final = Path("-")
"""As an input stdin, as an output stdout."""
_KINDS: Final = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_OPTIONS: Final[dict[str, dict[str, int]]] = {"JPEG": {"quality": 95}, "WEBP": {"quality": 95}}
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


def write(image: Painting, path: Path, *, force: bool) -> None:
    """Encode `image` as the name of `path` says, and put it there; as PNG where that is stdout.

    Raises what `save` does.
    """
    kind = "PNG" if path == STANDARD else _KINDS[path.suffix.lower()]
    encoded = io.BytesIO()
    image.save(encoded, kind, **_OPTIONS.get(kind, {}))
    save(encoded.getbuffer(), path, force=force)


def save(data: bytes | memoryview, path: Path, *, force: bool) -> None:
    """Put a whole file at `path`.

    Raises OutputExistsError, also where the name was taken while we painted; DiskFullError; and
    OverpaintError where the file cannot be written for another reason.
    """
    try:
        if path == STANDARD:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            put(data, path, replace=force)
    except FileExistsError:
        raise OutputExistsError(_already_there(path)) from None
    except OSError as error:
        if path == STANDARD:
            sys.stdout = None  # or Python tries once more, at its end
        told = f"{path}: cannot be written ({error.strerror or error})"
        raise (DiskFullError if error.errno in _FULL else OverpaintError)(told) from None


def refuse_existing(path: Path, *, force: bool) -> None:
    """Raise OutputExistsError where `write` would, before anything is painted for it."""
    if is_folder(path):
        raise OutputExistsError(f"{path}: expected a file to write, but a folder is there")
    if is_there(path) and not force:
        raise OutputExistsError(_already_there(path))


def _already_there(path: Path) -> str:
    return f"{path}: exists already; add --force to overwrite it, or choose another --output"
