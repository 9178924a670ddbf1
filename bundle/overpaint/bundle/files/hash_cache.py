"""Which weight files were hashed before: gigabytes are read once, not at every start.

One small file per verified (path, size, modification time, inode, SHA-256) in the user's cache
folder. Its name is the hash of all five, so there is nothing to parse, no lock to take, and a file
that changed is simply not found. Where there is no HOME, or nothing can be written, nothing is
remembered and weights are hashed each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os

from .user_folders import cache_folder


def is_verified(path: str, status: os.stat_result, sha256: str) -> bool:
    """Whether the file with this status was found to have this hash before."""
    entry = _entry(path, status, sha256)
    return entry is not None and os.path.exists(entry)


def remember(path: str, status: os.stat_result, sha256: str) -> None:
    """Remember that the file with this status has this hash; does nothing where it cannot."""
    if (entry := _entry(path, status, sha256)) is None:
        return
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(entry), mode=0o700, exist_ok=True)
        with open(entry, "w", encoding="utf-8", errors="replace") as file:
            file.write(f"{sha256}  {os.path.realpath(path)}\n")


def _entry(path: str, status: os.stat_result, sha256: str) -> str | None:
    if (folder := cache_folder()) is None:
        return None
    real = os.path.realpath(path)
    key = f"{real}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ino}\0{sha256}"
    name = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
    return os.path.join(folder, "verified", name)
