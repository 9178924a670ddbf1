"""Strangers' pictures are decoded in processes of their own, which a hostile one may bring down.

A reader has so many seconds of a core for a picture, and so many bytes of memory. The kernel ends
it where it takes more, and the next picture gets a new one. Requests and answers are a line of JSON
and the bytes that it counts, so nothing that a broken reader writes is ever run.

    intake = Intake(limits)
    received = await intake.receive(data, "image")
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import resource
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import IO, Any, Final

from overpaint.serve.http.limits import Limits
from overpaint.serve.http.problems import ApiError

from .intake import Received, clean, texts
from .masks import MASKS, Repainted

READERS: Final = 2  # a picture of 16 MP is 200 MB while it is being read
START: Final = "import json, sys; sys.path = json.loads(sys.argv[1]); import {0}; {0}.main()"


class Intake:
    """Reads pictures, so many at once as there are readers; they start when they are wanted, the
    first of them with the server."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="pictures")
        self._readers = tuple(Reader(limits) for _ in range(READERS))
        self._free: queue.LifoQueue[Reader] = queue.LifoQueue()  # one that has started, if any
        for reader in self._readers:
            self._free.put(reader)

    def start(self) -> None:
        """So that the first picture need not wait for it."""
        self._readers[-1].start()

    async def receive(self, data: bytes, field: str) -> Received:
        """A picture. Raises ApiError: 413 too large, 415 no such picture, 422 damaged."""
        return await self._receive("clean", data, field)

    async def receive_mask(self, data: bytes, field: str, repainted: Repainted) -> Received:
        """A picture of which what is `repainted` comes out white. Raises ApiError as `receive`."""
        return await self._receive(repainted, data, field)

    async def _receive(self, task: str, data: bytes, field: str) -> Received:
        if len(data) > self.limits.image_bytes:
            most = self.limits.image_bytes // 10**6
            message = f"expected a picture of {most} MB or less, got {len(data) / 1e6:.1f} MB"
            raise ApiError(413, "image_too_large", message, field=field)
        head, png = await self._ask(task, data, field)
        return Received(png, tuple(head["size"]), tuple(head["original"]))

    async def texts(self, data: bytes, field: str) -> dict[str, str]:
        """What a PNG says beside its pixels. Raises ApiError 422."""
        _, found = await self._ask("texts", data, field)
        return dict(json.loads(found))

    async def _ask(self, task: str, data: bytes, field: str) -> tuple[dict[str, Any], bytes]:
        def ask() -> tuple[dict[str, Any], bytes]:
            reader = self._free.get()
            try:
                return reader.ask(task, data, field)
            finally:
                self._free.put(reader)

        return await asyncio.get_running_loop().run_in_executor(self._threads, ask)

    def close(self) -> None:
        """End every reader, in the middle of a picture too."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for reader in self._readers:
            reader.close()


class Reader:
    """One such process, for one thread at a time; begun anew where it has ended."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def ask(self, task: str, data: bytes, field: str) -> tuple[dict[str, Any], bytes]:
        """(head, body) of the answer; blocks. Raises ApiError, 422 where the reader was ended."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        head = None
        with contextlib.suppress(OSError):  # it is gone
            _write(process.stdin, {"task": task, "field": field}, data)
            head = _read(process.stdout)
        if head is None:
            self._process = None
            process.kill()
            slow = process.wait() == -signal.SIGPROF
            _close_pipes(process)
            seconds = f"more than {self._limits.decode_seconds:g} seconds of a core to read"
            message = f"the picture takes {seconds if slow else 'more than it may to read'}"
            raise ApiError(422, "invalid_image", message, field=field)
        answer, body = head
        if "status" in answer:
            raise ApiError(answer["status"], answer["code"], answer["message"], field=field)
        return answer, body

    def start(self) -> None:
        """Begin the process, where there is none; it gets ready by itself."""
        self._running()

    def close(self) -> None:
        """Whoever waits for an answer gets none. From any thread."""
        self._closed = True
        if (process := self._process) is not None:
            process.kill()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            _close_pipes(self._process)
            self._process = None
        if self._process is None:
            start = START.format(__name__)
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    start,
                    json.dumps(sys.path),
                    json.dumps(asdict(self._limits)),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # Ctrl+C is for the server, which drains first
            )
        if self._closed:
            self._process.kill()
        return self._process


def main() -> None:
    """The process: read a picture, answer, and so on until the server closes the pipe."""
    limits = Limits(**json.loads(sys.argv[2]))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # the end, even in the middle of a decoder
    with contextlib.suppress(ValueError, OSError):  # where the system knows no such limit
        resource.setrlimit(resource.RLIMIT_AS, (limits.decode_bytes, limits.decode_bytes))
    with contextlib.suppress(BrokenPipeError):
        while (asked := _read(sys.stdin.buffer)) is not None:
            head, data = asked
            signal.setitimer(signal.ITIMER_PROF, limits.decode_seconds)
            answer, body = _answer(head["task"], data, head["field"], limits)
            signal.setitimer(signal.ITIMER_PROF, 0)
            _write(sys.stdout.buffer, answer, body)


def _answer(task: str, data: bytes, field: str, limits: Limits) -> tuple[dict[str, Any], bytes]:
    try:
        if task == "texts":
            return {}, json.dumps(texts(data, field)).encode()
        received = clean(data, limits, field, MASKS.get(task))
    except ApiError as error:
        return {"status": error.status, "code": error.code, "message": error.message}, b""
    return {"size": received.size, "original": received.original}, received.png


def _write(pipe: IO[bytes], head: dict[str, Any], body: bytes) -> None:
    pipe.write(json.dumps({**head, "bytes": len(body)}).encode() + b"\n")
    pipe.write(body)
    pipe.flush()


def _read(pipe: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """A head and its body; None where the other side has ended."""
    line = pipe.readline()
    if not line.endswith(b"\n"):
        return None
    head = json.loads(line)
    body = pipe.read(head["bytes"])
    return (head, body) if len(body) == head["bytes"] else None


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
