"""SIGTERM and Ctrl+C, to a process of its own and under load."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

HOUSE = Path(__file__).parents[2]


@dataclass
class Process:
    process: subprocess.Popen[bytes]
    client: httpx.Client

    def submit(self, steps: int) -> str:
        body = {"prompt": "red", "size": "64x64", "steps": steps}
        answer = self.client.post("/v1/jobs", json=body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def status(self, job: str) -> str:
        return str(self.client.get(f"/v1/jobs/{job}").json()["status"])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


@contextmanager
def started(folder: Path, *, step_seconds: float, drain: float) -> Iterator[Process]:
    shutil.rmtree(folder / "bundles", ignore_errors=True)
    port = free_port()
    arguments = [str(port), str(folder), str(step_seconds), str(drain)]
    process = subprocess.Popen([sys.executable, "-m", "tests.serve.process", *arguments], cwd=HOUSE)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            deadline = time.monotonic() + 30
            while True:
                try:
                    if client.get("/readyz").status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield Process(process, client)
    finally:
        process.kill()
        process.wait()


def test_sigterm_under_load_refuses_what_is_new_and_finishes_what_is_here(folder: Path) -> None:
    with started(folder, step_seconds=0.02, drain=20) as server:
        jobs = [server.submit(steps=5) for _ in range(8)]
        ends: dict[str, str] = {}
        pictures: dict[str, int] = {}

        def watch(job: str) -> None:
            """A client that asks now and then, and fetches what it asked for."""
            with httpx.Client(base_url=server.client.base_url, timeout=10) as client:
                while ends.get(job) not in ("completed", "failed", "cancelled"):
                    view = client.get(f"/v1/jobs/{job}").json()
                    ends[job] = view["status"]
                    time.sleep(0.05)
                media = view["result"]["media"][0]
                pictures[job] = client.get(f"/v1/media/{media}.png").status_code

        clients = [threading.Thread(target=watch, args=(job,)) for job in jobs]
        for client in clients:
            client.start()
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        ready = server.client.get("/readyz")
        assert (ready.status_code, ready.json()["state"]) == (503, "draining")
        new = server.client.post("/v1/jobs", json={"prompt": "red", "size": "64x64"})
        assert (new.status_code, new.json()["error"]["code"]) == (503, "draining")
        assert new.headers["retry-after"]
        for client in clients:
            client.join(20)
        assert ends == dict.fromkeys(jobs, "completed")
        assert pictures == dict.fromkeys(jobs, 200)
        assert server.process.wait(10) == 0


def test_at_the_deadline_what_is_left_is_cancelled(folder: Path) -> None:
    with started(folder, step_seconds=0.05, drain=0.5) as server:
        jobs = [server.submit(steps=150) for _ in range(3)]
        while server.status(jobs[0]) != "running":
            time.sleep(0.01)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.8)
        for job in jobs:
            view = server.client.get(f"/v1/jobs/{job}").json()
            assert view["status"] == "cancelled"
            assert "shut down" in view["error"]["message"]
        assert server.process.wait(10) == 0
        assert time.monotonic() - began < 6


def test_a_second_signal_ends_at_once(folder: Path) -> None:
    with started(folder, step_seconds=0.1, drain=60) as server:
        server.submit(steps=150)
        server.process.send_signal(signal.SIGINT)
        while server.client.get("/readyz").json()["state"] != "draining":
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(2) == 128 + signal.SIGTERM


def test_pulling_the_plug_loses_no_finished_work(folder: Path) -> None:
    with started(folder, step_seconds=0.01, drain=1) as server:
        done = server.submit(steps=3)
        while server.status(done) != "completed":
            time.sleep(0.01)
        media = server.client.get(f"/v1/jobs/{done}").json()["result"]["media"][0]
        before = server.client.get(f"/v1/media/{media}.png").content
        server.submit(steps=150)
        server.process.kill()
        server.process.wait()
    with started(folder, step_seconds=0.01, drain=1) as server:
        assert server.status(done) == "completed"
        assert server.client.get(f"/v1/media/{media}.png").content == before


def test_an_engine_that_hangs_does_not_keep_the_process(folder: Path) -> None:
    with started(folder, step_seconds=1000, drain=0.2) as server:
        job = server.submit(steps=2)
        while server.status(job) != "running":
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(15) == 1


def test_an_idle_server_ends_quickly(folder: Path) -> None:
    with started(folder, step_seconds=0, drain=60) as server:
        began = time.monotonic()
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(5) == 0
        assert time.monotonic() - began < 3
