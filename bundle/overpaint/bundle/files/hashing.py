"""SHA-256 of files, streamed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias

CHUNK: Final = 1 << 20  # bytes; hashing releases the interpreter lock, so large chunks cost nothing

Progress: TypeAlias = Callable[[int, int], None]
"""Called with (bytes done, bytes in all) while files are hashed, for a progress bar."""


def sha256_file(path: str | os.PathLike[str], read: Callable[[int], None] | None = None) -> str:
    """Return a file's SHA-256 in hexadecimal; `read` is told the size of each chunk.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    chunk = memoryview(bytearray(CHUNK))
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(chunk):
            digest.update(chunk[:count])
            if read is not None:
                read(count)
    return digest.hexdigest()


def sha256_files(
    folder: Path, statuses: Mapping[str, os.stat_result], progress: Progress | None = None
) -> Iterator[tuple[str, str]]:
    """Yield (path, SHA-256) for each path in `folder`, given the status of each.

    A file that several names share (a bundle's VAE, hard-linked twice) is read once.

    Raises:
        OSError: a file cannot be read.
    """
    identities = {(one.st_dev, one.st_ino): one.st_size for one in statuses.values()}
    done, total = 0, sum(identities.values())
    digests: dict[tuple[int, int], str] = {}

    def read(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    for path, status in statuses.items():
        identity = (status.st_dev, status.st_ino)
        if identity not in digests:
            digests[identity] = sha256_file(folder / path, read)
        yield path, digests[identity]
