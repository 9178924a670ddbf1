"""A server in a process of its own, for what must not share memory, threads or signals with a test.

with started(folder, step_seconds=0.02, drain=20) as server: ...
"""

from __future__ import annotations

import argparse
import logging
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from tests.serve.engine import Knobs, fake_served

from overpaint.serve.app import create_app
from overpaint.serve.config import Config
from overpaint.serve.server import run

HOUSE = Path(__file__).parents[2]


@dataclass
class Process:
    process: subprocess.Popen[bytes]
    client: httpx.Client

    @property
    def url(self) -> str:
        return str(self.client.base_url)

    def submit(self, steps: int, **more: Any) -> str:
        body = {"prompt": "red", "size": "64x64", "steps": steps}
        answer = self.client.post("/v1/jobs", json=body | more)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def status(self, job: str) -> str:
        return str(self.client.get(f"/v1/jobs/{job}").json()["status"])

    def view(self, job: str) -> dict[str, Any]:
        """The job, once it has ended."""
        wait_until(lambda: self.status(job) in ("completed", "failed", "cancelled"))
        return dict(self.client.get(f"/v1/jobs/{job}").json())

    def kill(self) -> None:
        """As the kernel does it where memory runs out."""
        self.process.kill()
        self.process.wait()

    def state(self) -> str:
        return str(self.client.get("/readyz").json()["state"])


@contextmanager
def started(folder: Path, port: int = 0, **options: float | str) -> Iterator[Process]:
    """A process that serves one fake bundle, with its results in `folder`; killed at the end."""
    port = port or free_port()
    process = spawn(port, folder, **options)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            wait_until(lambda: is_ready(client))
            yield Process(process, client)
    finally:
        process.kill()
        process.wait()


def spawn(port: int, folder: Path, **options: float | str) -> subprocess.Popen[bytes]:
    """A process that serves one fake bundle, as soon as it can; the caller ends it."""
    shutil.rmtree(folder / "bundles", ignore_errors=True)
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "tests.serve.process", str(port), str(folder), *arguments]
    return subprocess.Popen(command, cwd=HOUSE)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--step-seconds", type=float, default=0.0)
    parser.add_argument("--deadly-step", type=int, default=0)
    parser.add_argument("--provider", default="local")
    parser.add_argument("--drain", type=float, default=30.0)
    parser.add_argument("--queue", type=int, default=64)
    parser.add_argument("--upload-bytes", type=int, default=Config().upload_bytes)
    parser.add_argument("--result-bytes", type=int, default=Config().result_bytes)
    parser.add_argument("--result-seconds", type=float, default=Config().result_seconds)
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    config = Config(
        port=chosen.port,
        folder=chosen.folder / "results",
        provider=chosen.provider,
        drain_seconds=chosen.drain,
        queue=chosen.queue,
        upload_bytes=chosen.upload_bytes,
        result_bytes=chosen.result_bytes,
        result_seconds=chosen.result_seconds,
    )
    knobs = Knobs(step_seconds=chosen.step_seconds, deadly_step=chosen.deadly_step)
    local = chosen.provider == "local"
    served = [fake_served(chosen.folder / "bundles", knobs=knobs)] if local else []
    return run(create_app(config, served), config)


if __name__ == "__main__":
    sys.exit(main())
