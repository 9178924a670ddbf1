"""A server on a real socket of this machine, in a thread of this process."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
from PIL import Image

from overpaint.serve.app import create_app
from overpaint.serve.config import Config
from overpaint.serve.jobs.engines.models import Served
from overpaint.serve.server import Server, bind, url_of, uvicorn_config
from overpaint.serve.state import State


@dataclass
class Running:
    """A server that listens at `url`, and a client for it."""

    url: str
    state: State
    client: httpx.Client
    stop: Callable[[], None]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def upload(self, png: bytes) -> str:
        answer = self.client.post("/v1/uploads", files={"file": ("a.png", png)})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def submit(self, **body: Any) -> dict[str, Any]:
        answer = self.client.post("/v1/jobs", json={"prompt": "red", **body})
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def job(self, job_id: str) -> dict[str, Any]:
        answer = self.client.get(f"/v1/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def ended(self, job_id: str, seconds: float = 20) -> dict[str, Any]:
        """The job, once it has ended."""
        return self.until(job_id, "completed", "failed", "cancelled", seconds=seconds)

    def until(self, job_id: str, *statuses: str, seconds: float = 20) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while (job := self.job(job_id))["status"] not in statuses:
            assert time.monotonic() < deadline, job
            time.sleep(0.01)
        return job

    def pixels(self, media_id: str) -> np.ndarray:
        answer = self.client.get(f"/v1/media/{media_id}.png")
        assert answer.status_code == 200, answer.text
        return np.asarray(Image.open(io.BytesIO(answer.content)))


@contextmanager
def serving(config: Config, served: Sequence[Served], *, ready: bool = True) -> Iterator[Running]:
    """Serve on a free port of loopback while the block runs."""
    app = create_app(config, served)
    listener = bind("127.0.0.1", config.port)
    server = Server(uvicorn_config(app, config), app.state.server)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()

    def stop() -> None:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()

    headers = {"Authorization": f"Bearer {config.token}"} if config.token else {}
    try:
        with httpx.Client(base_url=url_of(listener), headers=headers, timeout=30) as client:
            running = Running(url_of(listener), app.state.server, client, stop)
            while ready and client.get("/readyz").status_code != 200:
                time.sleep(0.01)
            yield running
    finally:
        stop()


def png(width: int = 64, height: int = 64, seed: int = 0, kind: str = "PNG") -> bytes:
    """A small picture of noise, as a file."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, kind)
    return file.getvalue()


def data_url(picture: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(picture).decode()
