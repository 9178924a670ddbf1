"""Bringing a weight file into a bundle without copying it, where the file system can."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final, Literal, TypeAlias

from overpaint.bundle.errors import CheckpointError

Choice: TypeAlias = Literal["auto", "link", "copy"]
Placed: TypeAlias = Literal["reflinked", "hard-linked", "copied"]

_FICLONE: Final = 0x40049409  # linux/fs.h: share the extents of one file with another


def place(source: Path, target: Path, choice: Choice = "auto") -> Placed:
    """Make `target` hold what `source` does, and say how; a symbolic `source` is followed.

    A reflink costs nothing and is independent of its source; a hard link *is* the source, so that
    whoever writes into one writes into both; a copy costs its size. `auto` takes the first that
    works, `link` never copies, and `copy` never depends on its source.

    Raises:
        CheckpointError: `link`, and the file system has neither; or the disk is full.
    """
    source = source.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        if _reflink(source, target):
            return "reflinked"
        if choice != "copy":
            try:
                os.link(source, target)
                return "hard-linked"
            except OSError as error:
                if choice == "link":
                    raise CheckpointError(
                        f"{source} cannot be linked to {target} ({error.strerror}); say --copy"
                    ) from error
        shutil.copyfile(source, target)
        return "copied"
    except OSError as error:
        raise CheckpointError(f"{target} cannot be written: {error.strerror or error}") from error


def _reflink(source: Path, target: Path) -> bool:
    if sys.platform != "linux":
        return False
    import fcntl

    with open(source, "rb") as origin, open(target, "wb") as clone:
        try:
            fcntl.ioctl(clone.fileno(), _FICLONE, origin.fileno())
            return True
        except OSError:
            pass
    target.unlink()
    return False
