"""What was accepted and has not ended, on the disk: a server that was killed goes on with it.

A file for each job: a line of JSON, and the picture that it repaints. It is there before the client
is told of the job, and goes when how the job ended is kept.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from overpaint.runtime.settings import Settings
from overpaint.serve.ids import is_id
from overpaint.serve.store.files import drop_halves, write_whole

from .protocol import Order

SUFFIX: Final = ".job"


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


class Ledger:
    """Jobs in `folder`, of `max_bytes` together; what does not fit, or the disk refuses, is not
    kept, and `refused` hears why. Safe from any thread, for each job from one at a time."""

    def __init__(self, folder: Path | None, max_bytes: int, refused: Callable[[str], None]) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._refused = refused
        self._sizes: dict[str, int] = {}
        self._lock = threading.Lock()

    def put(self, job: Accepted) -> bool:
        """Keep `job`, or what is new about it. Whether a restart finds it."""
        if self._folder is None:
            return False
        data = _as_bytes(job)
        with self._lock:
            others = sum(self._sizes.values()) - self._sizes.get(job.id, 0)
        if others + len(data) > self._max_bytes:
            self._refused(f"those that wait take {others} bytes of {self._max_bytes} already")
            return job.id in self._sizes
        try:
            write_whole(self._path(self._folder, job.id), data)
        except OSError as error:
            self._refused(error.strerror or type(error).__name__)
            return job.id in self._sizes
        with self._lock:
            self._sizes[job.id] = len(data)
        return True

    def drop(self, job_id: str) -> None:
        """It has ended."""
        with self._lock:
            size = self._sizes.pop(job_id, None)
        if self._folder is not None and size is not None:
            with contextlib.suppress(OSError):
                self._path(self._folder, job_id).unlink()

    def take_up(self) -> list[tuple[str, Accepted | None]]:
        """The jobs of an earlier process by their ids, in the order in which they came; None for
        what cannot be read. Raises OSError where the folder cannot."""
        if self._folder is None or not self._folder.is_dir():
            return []
        drop_halves(self._folder)
        found = []
        for path in self._folder.glob(f"*{SUFFIX}"):
            if is_id(path.stem):  # only names of our own making count
                try:
                    data = path.read_bytes()
                except OSError:
                    data = b""
                self._sizes[path.stem] = len(data)
                found.append((path.stem, _from_bytes(path.stem, data)))
        return sorted(found, key=lambda one: one[1].created_at if one[1] else 0.0)

    def ids(self) -> tuple[str, ...]:
        """Of the jobs that a restart finds."""
        with self._lock:
            return tuple(self._sizes)

    @staticmethod
    def _path(folder: Path, job_id: str) -> Path:
        return folder / f"{job_id}{SUFFIX}"


def _as_bytes(job: Accepted) -> bytes:
    head: dict[str, Any] = asdict(job)
    image = head["order"].pop("image")
    return json.dumps(head | {"image": image is not None}).encode() + b"\n" + (image or b"")


def _from_bytes(job_id: str, data: bytes) -> Accepted | None:
    line, _, image = data.partition(b"\n")
    try:
        head = json.loads(line)
        order, with_image = head.pop("order"), head.pop("image")
        settings: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value  # JSON knows no tuples
            for name, value in order.pop("settings").items()
        }
        found = Accepted(
            order=Order(
                **order, image=image if with_image else None, settings=Settings(**settings)
            ),
            **head,
        )
    except Exception:  # another version may have written it, or somebody else
        return None
    return found if found.id == job_id else None
