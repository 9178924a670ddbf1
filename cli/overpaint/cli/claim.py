"""Files that are whole, under names that nobody else has taken."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from overpaint.scale.places import is_remote, put_remote

_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_NAMELESS: Final = getattr(os, "O_TMPFILE", None)
_NOT_NAMELESS: Final = (*_NO_LINKS, errno.EISDIR, errno.ENOENT, errno.EINVAL)


def put(data: bytes | memoryview, path: Path, *, replace: bool) -> None:
    """Write `data` apart from `path` and only then give it the name, so that no file is ever half.

    The name is claimed in one step of the file system: of two processes that want it, one gets
    FileExistsError. `replace` takes it from whatever file is there. Folders are made. Where the
    disk knows files without a name, a process that is killed meanwhile leaves nothing behind.

    Raises OSError.
    """
    if is_remote(path):
        put_remote(data, path, replace=replace)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if _NAMELESS is None or not _put_nameless(data, path, replace=replace):
        _put_beside(data, path, replace=replace)


def _put_nameless(data: bytes | memoryview, path: Path, *, replace: bool) -> bool:
    """False where the disk, or the system, knows no such files."""
    named = _beside(path) if replace else path
    try:
        with _nameless(path.parent) as (folder, file):
            _fill(file, data)
            os.link(f"/proc/self/fd/{file.fileno()}", named.name, dst_dir_fd=folder)
    except OSError as error:
        if error.errno not in _NOT_NAMELESS:
            raise
        return False
    if replace:
        try:
            named.replace(path)
        except OSError:
            named.unlink()
            raise
    return True


def _put_beside(data: bytes | memoryview, path: Path, *, replace: bool) -> None:
    beside = _beside(path)
    try:
        with beside.open("xb") as file:
            _fill(file, data)
        if replace:
            beside.replace(path)
        else:
            _claim(beside, path)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def _beside(path: Path) -> Path:
    return path.with_name(f".overpaint-{secrets.token_hex(8)}.part")


@contextlib.contextmanager
def _nameless(folder: Path) -> Iterator[tuple[int, BinaryIO]]:
    """A folder's descriptor and a new file in it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with open(os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o666), "wb") as file:
            yield descriptor, file
    finally:
        os.close(descriptor)


def _fill(file: BinaryIO, data: bytes | memoryview) -> None:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())  # some disks say only now that they are full


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
