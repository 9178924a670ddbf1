"""What was accepted and has not ended, on the disk: a server that was killed goes on with it.

A file for each job: a line of JSON, and the pictures that it was given: what it repaints, its mask,
references, and what its control networks are shown. It is there before the client is told of the
job, and goes when how the job ended is kept.
"""

from __future__ import annotations

import contextlib
import io
import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from overpaint.runtime.control.control import Control
from overpaint.runtime.settings import Settings
from overpaint.serve.ids import is_id
from overpaint.serve.store.files import drop_halves, write_whole

from .protocol import Order

SUFFIX: Final = ".job"
FILES: Final = ("image", "mask", "ip_adapter_image", "ip_adapter_mask", "reference_image")
"""Of an order, in the order in which they follow the line; the last three are several each."""

CONTROL: Final = "control/"
"""How the names begin of what its control networks are shown, which comes behind them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A job that was taken. `bundle` is the fingerprint of what it is to run on; `provider` has it
    under `ticket`. `passed_on` and `client` as `JobService.submit` has them. An engine here began
    with it `begun` times, and it outlived so many `restarts`."""

    id: str
    order: Order
    bundle: str
    provider: str
    ticket: str
    client: str | None = None
    passed_on: bool = False
    begun: int = 0
    restarts: int = 0
    created_at: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True)
class Entry:
    """A job's file. `begun` is part of its name: a name can be changed where a disk is full."""

    path: Path
    size: int


class Ledger:
    """Jobs in `folder`, of `max_bytes` together; what does not fit, or the disk refuses, is not
    kept, and `refused` hears why. Safe from any thread, for each job from one at a time."""

    def __init__(self, folder: Path | None, max_bytes: int, refused: Callable[[str], None]) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._refused = refused
        self._entries: dict[str, Entry] = {}
        self._lock = threading.Lock()

    def put(self, job: Accepted) -> None:
        """Keep `job`, or who has it now."""
        if self._folder is None:
            return
        entry, data = self._entries.get(job.id), _as_bytes(job)
        with self._lock:
            others = sum(one.size for one in self._entries.values()) - (entry.size if entry else 0)
        if others + len(data) > self._max_bytes:
            self._refused(f"those that wait take {others} bytes of {self._max_bytes} already")
            return
        path = entry.path if entry else _path(self._folder, job.id, job.begun)
        try:
            write_whole(path, data)
        except OSError as error:
            self._refused(error.strerror or type(error).__name__)
            return
        with self._lock:
            self._entries[job.id] = Entry(path, len(data))

    def begin(self, job: Accepted) -> None:
        """An engine begins with it, for the `begun`th time."""
        if self._folder is None or (entry := self._entries.get(job.id)) is None:
            return
        path = _path(self._folder, job.id, job.begun)
        try:
            entry.path.rename(path)
        except OSError as error:
            self._refused(error.strerror or type(error).__name__)
            self.drop(job.id)  # else it might bring servers down for ever
            return
        with self._lock:
            self._entries[job.id] = Entry(path, entry.size)

    def drop(self, job_id: str) -> None:
        """It has ended."""
        with self._lock:
            entry = self._entries.pop(job_id, None)
        if entry is not None:
            with contextlib.suppress(OSError):
                entry.path.unlink()

    def take_up(self) -> list[tuple[str, Accepted | None]]:
        """The jobs of an earlier process by their ids, in the order in which they came; None for
        what cannot be read. Raises OSError where the folder cannot."""
        if self._folder is None or not self._folder.is_dir():
            return []
        drop_halves(self._folder)
        found = []
        for path in self._folder.glob(f"*{SUFFIX}"):
            job_id, _, begun = path.stem.partition(".")
            if not is_id(job_id) or not begun.isdecimal():
                continue  # only names of our own making count
            try:
                data = path.read_bytes()
            except OSError:
                data = b""
            self._entries[job_id] = Entry(path, len(data))
            found.append((job_id, _from_bytes(data, job_id, int(begun))))
        return sorted(found, key=lambda one: one[1].created_at if one[1] else 0.0)

    def ids(self) -> tuple[str, ...]:
        """Of the jobs that a restart finds."""
        with self._lock:
            return tuple(self._entries)


def _path(folder: Path, job_id: str, begun: int) -> Path:
    return folder / f"{job_id}.{begun}{SUFFIX}"


def _as_bytes(job: Accepted) -> bytes:
    head: dict[str, Any] = asdict(job)
    order = head["order"]
    files = {name: order.pop(name) for name in FILES}
    files |= {f"{CONTROL}{name}": one.pop("picture") for name, one in order["control"].items()}
    sizes = {name: _sizes(file) for name, file in files.items()}
    line = json.dumps(head | {"files": sizes}).encode() + b"\n"
    return line + b"".join(
        one
        for file in files.values()
        for one in ([file] if isinstance(file, bytes) else file or ())
    )


def _sizes(file: bytes | tuple[bytes, ...] | None) -> int | list[int] | None:
    if file is None:
        return None
    return len(file) if isinstance(file, bytes) else [len(one) for one in file]


def _from_bytes(data: bytes, job_id: str, begun: int) -> Accepted | None:
    line, _, rest = data.partition(b"\n")
    try:
        head = json.loads(line)
        order, files = head.pop("order"), io.BytesIO(rest)
        read: dict[str, Any] = {
            name: tuple(files.read(one) for one in size)
            if isinstance(size, list)
            else size and files.read(size)
            for name, size in head.pop("files").items()
        }
        images = {name: read[name] for name in FILES}
        control = {
            name: Control(read[f"{CONTROL}{name}"], **said)
            for name, said in order.pop("control", {}).items()
        }
        settings: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value  # JSON knows no tuples
            for name, value in order.pop("settings").items()
        }
        found = Accepted(
            order=Order(**order, **images, control=control, settings=Settings(**settings)),
            **{**head, "begun": begun},
        )
    except Exception:  # another version may have written it, or somebody else
        return None
    return found if found.id == job_id else None
