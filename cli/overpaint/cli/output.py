"""Finished images -> files, whole or not at all."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Final

from overpaint.bundle.errors import OverpaintError
from overpaint.runtime.metadata import Painting

from .work import refuse_existing

_KINDS: Final = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_OPTIONS: Final[dict[str, dict[str, int]]] = {"JPEG": {"quality": 95}, "WEBP": {"quality": 95}}


def write(image: Painting, path: Path, *, force: bool) -> None:
    """Write beside, then rename, so that a failure leaves no half file; folders are made."""
    kind = _KINDS[path.suffix.lower()]
    encoded = io.BytesIO()
    image.save(encoded, kind, **_OPTIONS.get(kind, {}))
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(encoded.getbuffer())
        refuse_existing(path, force=force)  # it may have come while we painted
        beside.replace(path)
    except OSError as error:
        raise OverpaintError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()
