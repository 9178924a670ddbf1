"""Bytes kept for a time and up to a size: uploads, results, finished jobs.

In memory, or in a folder where each entry is a file, written beside and renamed, so that a restart
finds what was finished and a full disk leaves no half file: what the disk refuses stays in memory.
Keys are made here, never by a client; a client's key is only ever looked up.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from overpaint.bundle.errors import OverpaintError
from overpaint.serve.ids import is_id

from .files import drop_halves, write_whole

GONE_REMEMBERED = 10_000


def lock(folder: Path) -> IO[bytes]:
    """Make `folder` this process' own until the returned file is closed. Raises OSError, and
    BlockingIOError where another process has it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = (folder / ".lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise
    return file


class UnknownKeyError(OverpaintError):
    """No such thing was ever kept here, or it is forgotten."""


class GoneError(OverpaintError):
    """It was kept here, and its time is over."""


@dataclass(frozen=True, slots=True)
class Entry:
    """`until` is on the monotonic clock, which nobody sets. `data` is None where the bytes lie in
    the folder."""

    until: float
    size: int
    data: bytes | None


class Kept:
    """At most `max_bytes`, each for `seconds`; the oldest goes first. Safe from any thread."""

    def __init__(
        self,
        *,
        seconds: float,
        max_bytes: int,
        folder: Path | None = None,
        suffix: str = "",
        refused: Callable[[OSError], None] = lambda error: None,
    ) -> None:
        self.seconds = seconds
        self.max_bytes = max_bytes
        self._folder = folder
        self._suffix = suffix
        self._refused = refused
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        if folder is not None:
            self._load(folder)

    def put(self, key: str, data: bytes) -> float:
        """Keep `data`; returns when it expires (seconds since the epoch)."""
        saved = self._folder is not None and self._save(key, data)
        entry = Entry(time.monotonic() + self.seconds, len(data), None if saved else data)
        with self._lock:
            self._add(key, entry)
            self._sweep()
        return time.time() + self.seconds

    def get(self, key: str) -> bytes:
        """Raises GoneError after its time, UnknownKeyError for what never was here."""
        with self._lock:
            self._sweep()
            entry = self._entries.get(key)
            if entry is None:
                raise GoneError(key) if key in self._gone else UnknownKeyError(key)
        if entry.data is not None:
            return entry.data
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError:
            raise GoneError(key) from None

    def drop(self, key: str) -> None:
        """Let go of one, as if it had never been kept."""
        with self._lock:
            if (entry := self._entries.pop(key, None)) is not None:
                self._remove(key, entry)

    def on_disk(self, key: str) -> bool:
        """Whether a restart finds it."""
        with self._lock:
            return (entry := self._entries.get(key)) is not None and entry.data is None

    def newest(self, most: int) -> list[str]:
        """The keys that were kept last, the last one first."""
        with self._lock:
            self._sweep()
            return list(itertools.islice(reversed(self._entries), most))

    def sweep(self) -> None:
        """Let go of what has expired."""
        with self._lock:
            self._sweep()

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """Bytes held, in memory and on disk."""
        return self._bytes

    def _add(self, key: str, entry: Entry) -> None:
        self._entries[key] = entry
        self._bytes += entry.size

    def _sweep(self) -> None:
        now = time.monotonic()
        while self._entries:
            key, entry = next(iter(self._entries.items()))
            over = self._bytes > self.max_bytes and len(self._entries) > 1
            if entry.until > now and not over:
                break
            del self._entries[key]
            self._remove(key, entry)
            self._gone[key] = None
        while len(self._gone) > GONE_REMEMBERED:
            self._gone.popitem(last=False)

    def _remove(self, key: str, entry: Entry) -> None:
        self._bytes -= entry.size
        if entry.data is None:
            with contextlib.suppress(OSError):
                self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{key}{self._suffix}"

    def _save(self, key: str, data: bytes) -> bool:
        """Whether the file is on disk, whole."""
        try:
            write_whole(self._path(key), data)
        except OSError as error:
            self._refused(error)
            return False
        return True

    def _load(self, folder: Path) -> None:
        """Take up what an earlier process finished. Only names of our own making count."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        drop_halves(folder)
        found = [path for path in folder.glob(f"*{self._suffix}") if is_id(path.stem)]
        for path in sorted(found, key=lambda path: path.stat().st_mtime):
            status = path.stat()
            age = max(0.0, time.time() - status.st_mtime)
            until = time.monotonic() + self.seconds - age
            self._add(path.stem, Entry(until, status.st_size, None))
        self._sweep()
