"""Bundles that lie elsewhere: a copy on each node, fetched once and shared by all that runs there.

A copy is called by the hash of its manifest, which holds the hashes of all its files: another
bundle at the same URL is another copy. The old one stays until no process uses it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from overpaint.bundle import layout
from overpaint.bundle.errors import BundleError, DiskFullError, IntegrityError
from overpaint.bundle.files import hash_cache
from overpaint.bundle.files.hashing import Progress, sha256_file
from overpaint.bundle.files.names import problem_with_path
from overpaint.bundle.files.user_folders import cache_folder
from overpaint.bundle.format.manifest import File
from overpaint.bundle.format.manifest_file import parse_any

from .places import fetch, is_remote, place, told

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_in_use: Final[list[int]] = []
"""Locks on the copies that this process was given, held until it ends."""


def local_copy(url: str, progress: Progress | None = None) -> Path:
    """The folder on this machine that holds the bundle at `url`; a local path is itself.

    `url`: of whatever fsspec knows, with an `overpaint.json` in it: s3://bucket/sdxl, https://…,
    hf://owner/repository/sdxl. The first process of a machine that asks fetches it into the user's
    cache and verifies every file; others wait for it. One that is interrupted leaves no bundle, and
    the next goes on after the files that are whole.
    progress: called with (bytes done, bytes in all) while files are fetched.

    Raises:
        BundleError: there is no bundle, or it cannot be read.
        IntegrityError: a file there is not what its manifest says.
        DiskFullError: there is no room for it here.
    """
    source = place(url)
    if not is_remote(source):
        return source
    manifest = _manifest(source)
    files = parse_any(manifest, f"{url.rstrip('/')}/{layout.MANIFEST}").files
    home = _home(url)
    copy = home / hashlib.sha256(manifest).hexdigest()[:32]
    with _alone_in(home):
        if not copy.is_dir():
            with _here(copy):
                _fetch(source, manifest, files, copy, progress)
        lock = os.open(_lock_of(copy), os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_SH)
        _in_use.append(lock)
        _remove_unused(home, copy)
    return copy


def _home(url: str) -> Path:
    """Where the copies of what was and is at `url` lie."""
    cache = cache_folder()
    if cache is None:
        raise BundleError(f"{url}: nowhere to keep a copy; set HOME or XDG_CACHE_HOME")
    home = Path(cache, "copies", hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16])
    with _here(home):
        home.mkdir(parents=True, exist_ok=True)
    return home


@contextlib.contextmanager
def _alone_in(home: Path) -> Iterator[None]:
    """Until the end no other process fetches to, or removes from, `home`."""
    with (home / ".fetching").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _lock_of(copy: Path) -> Path:
    return copy.with_name(f"{copy.name}.lock")


def _manifest(source: Path) -> bytes:
    path = source / layout.MANIFEST
    try:
        with told(path):
            return path.read_bytes()
    except FileNotFoundError:
        raise BundleError(
            f"{source}: expected a bundle, and there is no {layout.MANIFEST}; copy one there that "
            "overpaint export or overpaint import made"
        ) from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror or error}") from None


def _fetch(
    source: Path, manifest: bytes, files: dict[str, File], copy: Path, progress: Progress | None
) -> None:
    """Fetch all into a folder beside, and give it the name of the copy at the end."""
    beside = copy.with_name(f"{copy.name}.part")
    done, total = 0, sum(file.size for file in files.values())
    for name, file in files.items():
        if problem := problem_with_path(name):
            raise IntegrityError(f"{source}: {problem}")
        to = beside / name
        if not _is_whole(to, file):
            to.parent.mkdir(parents=True, exist_ok=True)
            _fetch_file(source / name, to, file)
        done += file.size
        if progress is not None:
            progress(done, total)
    (beside / layout.MANIFEST).write_bytes(manifest)
    beside.rename(copy)
    for name, file in files.items():
        if file.weights:  # or each process would hash them once more
            hash_cache.remember(str(copy / name), (copy / name).stat(), file.sha256)


def _fetch_file(source: Path, to: Path, file: File) -> None:
    """Raises IntegrityError for a file that is not what the manifest says."""
    try:
        fetch(source, to)
    except FileNotFoundError:
        raise IntegrityError(f"{source}: missing, and the manifest beside it names it") from None
    if not _is_whole(to, file):
        to.unlink()
        raise IntegrityError(
            f"{source}: expected {file.size} bytes with SHA-256 {file.sha256[:16]}…, got others; "
            "it is damaged, or was replaced while it was fetched: try again, or copy it there anew"
        )


def _is_whole(path: Path, file: File) -> bool:
    there = path.is_file() and path.stat().st_size == file.size
    return there and sha256_file(path) == file.sha256


def _remove_unused(home: Path, copy: Path) -> None:
    """Remove what was fetched from the same URL before and no process uses."""
    for lock in home.glob("*.lock"):
        other = lock.with_suffix("")
        if other == copy:
            continue
        with contextlib.suppress(OSError), lock.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for folder in (other, other.with_name(f"{other.name}.part")):
                shutil.rmtree(folder, ignore_errors=True)
            lock.unlink()


@contextlib.contextmanager
def _here(path: Path) -> Iterator[None]:
    """What this machine's disk refuses, in one line."""
    try:
        yield
    except OSError as error:
        kind = DiskFullError if error.errno in _FULL else BundleError
        raise kind(f"{path}: cannot be written: {error.strerror or error}") from None
