"""Files that are whole, under names that nobody else has taken."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path
from typing import Final

_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def put(data: bytes | memoryview, path: Path, *, replace: bool) -> None:
    """Write `data` beside `path` and only then give it the name, so that no file is ever half.

    The name is claimed in one step of the file system: of two processes that want it, one gets
    FileExistsError. `replace` takes it from whatever file is there. Folders are made.

    Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".overpaint-{secrets.token_hex(8)}.part")
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # some disks say only now that they are full
        if replace:
            beside.replace(path)
        else:
            _claim(beside, path)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def _claim(beside: Path, path: Path) -> None:
    try:
        os.link(beside, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # FAT and some network disks have no links: an empty file holds the name for a moment.
        path.open("xb").close()
        try:
            beside.replace(path)
        except OSError:
            path.unlink()
            raise
