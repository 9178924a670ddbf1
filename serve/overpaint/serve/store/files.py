"""A file that is there whole or not at all, whatever ends the process or fills the disk."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Write beside `path`, on the disk, and rename; its folder is made where it is missing. Raises
    OSError, and leaves nothing half written."""
    beside: str | None = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # somebody may have deleted it
        descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError:
        if beside is not None:
            with contextlib.suppress(OSError):
                os.unlink(beside)
        raise


def drop_halves(folder: Path) -> None:
    """Remove what a process that ended meanwhile had half written."""
    for half in folder.glob(".*.part"):
        half.unlink(missing_ok=True)
