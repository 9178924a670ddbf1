"""What lies at a path. pathlib's own questions raise where a folder on the way may not be entered,
and where a name is longer than any file's; somebody's prompt is, typed where a path belongs."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from overpaint.bundle.errors import OverpaintError

_NOTHING: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL)


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a folder lies at `path`. Raises OverpaintError where that cannot be seen."""
    return stat.S_ISDIR(_mode(path))


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether a regular file lies at `path`. Raises OverpaintError where that cannot be seen."""
    return stat.S_ISREG(_mode(path))


def is_there(path: str | os.PathLike[str]) -> bool:
    """Whether anything lies at `path`. Raises OverpaintError where that cannot be seen."""
    return _mode(path) != 0


def _mode(path: str | os.PathLike[str]) -> int:
    """The st_mode, 0 where there is nothing."""
    try:
        return os.stat(path).st_mode
    except ValueError:  # a NUL in the name
        return 0
    except OSError as error:
        if error.errno in _NOTHING:
            return 0
        raise OverpaintError(f"{os.fspath(path)}: cannot be read: {error.strerror}") from None
