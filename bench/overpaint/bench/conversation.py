"""The parent's side of a contender's process: ask, wait for an answer, end it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from typing import Any

from overpaint.bundle.errors import OverpaintError
from overpaint.engines.session.closing import Closing

from .contenders import Contender
from .machine import device_memory_mb


class ContenderError(OverpaintError):
    """A contender is not installed, or failed; `missing` names the module that is not there."""

    def __init__(self, message: str, missing: str | None = None) -> None:
        super().__init__(message)
        self.missing = missing


@dataclass(frozen=True, slots=True)
class Opened:
    """What a contender says once its first picture is there; seconds since it was asked for."""

    imported: float
    opened: float
    first: float
    resident: float
    did: dict[str, Any]
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Played:
    """How frames went, in seconds: see `peer_process.play`."""

    seconds: float
    processor_seconds: float
    latencies: list[float]
    dropped: int


class Conversation(Closing):
    """A contender at work. `opened` after `start`; then `paint` as often as wanted, then `end`."""

    def __init__(self, contender: Contender, job: dict[str, Any], threads: int) -> None:
        self._name = contender.name
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TQDM_DISABLE": "1"}
        asked = time.time()
        try:
            self._process = subprocess.Popen(
                contender.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                env=environment,
            )
        except OSError as error:
            self._errors.close()
            missing = contender.command[0]
            raise ContenderError(f"{missing}: {error.strerror}", missing) from None
        self.opened = self._start({**job, "asked": asked})

    def _start(self, job: dict[str, Any]) -> Opened:
        try:
            said = self._ask(json.dumps(job))
            if missing := said.get("missing"):
                raise ContenderError(f"{missing} is not installed", missing)
            return Opened(**said)
        except BaseException:
            self.close()
            raise

    def paint(self) -> tuple[float, dict[str, list[float]]]:
        """One warm run: milliseconds, and the seconds of each stage where it tells them."""
        said = self._ask("paint")
        return said["ms"], said["stages"]

    def play(self, frames: int, rate: float = 0.0) -> Played:
        """So many frames, as fast as they are taken or, with a rate, so many of them a second."""
        return Played(**self._ask(f"play {frames} {rate}"))

    def end(self) -> tuple[float, float, float | None]:
        """Resident, peak and device memory in MB, after all runs."""
        device = device_memory_mb(self._process.pid)
        said = self._ask("end")
        return said["resident"], said["peak"], device

    def _ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it is over, and its last words say why
        answer = self._process.stdout.readline()
        if not answer:
            self._errors.seek(0)
            words = self._errors.read().decode(errors="replace").strip().splitlines()
            last = words[-1] if words else f"exit code {self._process.wait()}"
            raise ContenderError(f"{self._name} ended early: {last}")
        said: dict[str, Any] = json.loads(answer)
        if failed := said.get("failed"):
            raise ContenderError(f"{self._name} failed: {failed}")
        return said

    def close(self) -> None:
        """End the process, whatever it does. May be repeated."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
        self._errors.close()
