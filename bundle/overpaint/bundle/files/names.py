"""File names inside a bundle: which are allowed, and whether the file there is really inside.

A bundle is data from elsewhere. Its names are relative, use `/`, and stay in the folder; its files
are regular files, so that what was hashed is what is opened.
"""

from __future__ import annotations

import os
import stat
from typing import Final

from overpaint.bundle.errors import IntegrityError

PICKLE_SUFFIXES: Final = (".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth")
LONGEST: Final = 512


def problem_with_path(path: str) -> str | None:
    """Say why `path` may not name a file of a bundle; None where it may."""
    if not path or len(path) > LONGEST:
        return f"expected a file name of 1 to {LONGEST} characters, got {len(path)}"
    if any(ord(character) < 32 or character in '\\:*?"<>|' for character in path):
        return f"{path!r} holds a character that is not portable; separate folders with /"
    if path.startswith("/"):
        return f"{path!r} is absolute; expected a path relative to the bundle"
    segments = path.split("/")
    if ".." in segments:
        return f"{path!r} leaves the folder"
    if "" in segments or "." in segments:
        return f"{path!r} has an empty or '.' segment; write it plainly"
    if path.lower().endswith(PICKLE_SUFFIXES):
        return f"{path!r} is named like a pickle, which can run code; use safetensors"
    return None


def resident(folder: str | os.PathLike[str], path: str) -> os.stat_result:
    """Return the status of a regular file inside `folder`, reached through no symbolic link.

    Raises:
        IntegrityError: `path` is no allowed name, missing, a link or reached through one, or not
            a regular file.
    """
    if problem := problem_with_path(path):
        raise IntegrityError(f"{os.fspath(folder)}: {problem}")
    here = os.fspath(folder)
    segments = path.split("/")
    for depth, segment in enumerate(segments, 1):
        here = os.path.join(here, segment)
        last = depth == len(segments)
        status = _status(here)
        if stat.S_ISLNK(status.st_mode):
            raise IntegrityError(
                f"{here}: is a symbolic link; a bundle holds its own files. "
                "Make a real copy of it with: cp -RL BUNDLE COPY"
            )
        if last and not stat.S_ISREG(status.st_mode):
            raise IntegrityError(f"{here}: expected a regular file")
    return status


def _status(path: str) -> os.stat_result:
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise IntegrityError(
            f"{path}: missing. Copy the bundle again, or make it anew "
            "with overpaint export or overpaint import"
        ) from None
    except OSError as error:
        raise IntegrityError(f"{path}: cannot be read: {error.strerror}") from error
