"""SIGTERM and Ctrl+C, to a process of its own and under load."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpx
import pytest
import uvicorn
from tests.serve.process import started, wait_until

from overpaint.serve.server import Server
from overpaint.serve.state import State


def test_sigterm_under_load_refuses_what_is_new_and_finishes_what_is_here(folder: Path) -> None:
    with started(folder, step_seconds=0.1, drain=60) as server, ThreadPoolExecutor(8) as pool:
        jobs = [server.submit(steps=6) for _ in range(8)]
        connected = threading.Barrier(len(jobs) + 1)

        def watch(job: str) -> tuple[str, int]:
            """A client that asks now and then, and fetches what it asked for."""
            with httpx.Client(base_url=server.url, timeout=20) as client:
                view = client.get(f"/v1/jobs/{job}").json()
                connected.wait(30)
                while view["status"] in ("queued", "running"):
                    time.sleep(0.05)
                    view = client.get(f"/v1/jobs/{job}").json()
                media = view["result"]["media"][0]
                return view["status"], client.get(f"/v1/media/{media}.png").status_code

        watched = [pool.submit(watch, job) for job in jobs]
        connected.wait(30)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: server.state() == "draining")
        new = server.client.post("/v1/jobs", json={"prompt": "red", "size": "64x64"})
        assert (new.status_code, new.json()["error"]["code"]) == (503, "draining")
        assert new.headers["retry-after"]
        assert [one.result(60) for one in watched] == [("completed", 200)] * len(jobs)
        assert server.process.wait(20) == 0


def test_at_the_deadline_what_is_left_is_cancelled(folder: Path) -> None:
    with started(folder, step_seconds=0.05, drain=0.5) as server:
        jobs = [server.submit(steps=150) for _ in range(3)]
        wait_until(lambda: server.status(jobs[0]) == "running")
        server.process.send_signal(signal.SIGTERM)
        for job in jobs:
            wait_until(lambda job=job: server.status(job) == "cancelled")
        view = server.client.get(f"/v1/jobs/{jobs[0]}").json()
        assert "shut down" in view["error"]["message"]
        assert server.process.wait(20) == 0


def test_a_signal_writes_nothing_where_it_interrupts(caplog: pytest.LogCaptureFixture) -> None:
    """It may interrupt a line of the log being written, into which no other can be."""
    caplog.set_level(logging.INFO, logger="overpaint.serve")

    async def drained() -> bool:
        return False

    async def interrupted() -> None:
        state = SimpleNamespace(draining=False, drain=drained)
        server = Server(uvicorn.Config(app="none"), cast(State, state))
        server._loop = asyncio.get_running_loop()
        server.handle_exit(signal.SIGTERM, None)
        assert state.draining
        assert not caplog.records
        while not server.should_exit:
            await asyncio.sleep(0)

    asyncio.run(interrupted())
    assert "SIGTERM: draining" in caplog.text


@pytest.mark.usefixtures("hearing_signals")
def test_a_second_signal_ends_at_once(folder: Path) -> None:
    with started(folder, step_seconds=0.1, drain=60) as server:
        server.submit(steps=150)
        server.process.send_signal(signal.SIGINT)
        wait_until(lambda: server.state() == "draining")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(5) == 128 + signal.SIGTERM


def test_pulling_the_plug_loses_no_finished_work(folder: Path) -> None:
    with started(folder, step_seconds=0.01, drain=1) as server:
        done = server.submit(steps=3)
        wait_until(lambda: server.status(done) == "completed")
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
        wait_until(lambda: server.status(job) == "running")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 1


@pytest.mark.usefixtures("hearing_signals")
def test_an_idle_server_ends_quickly(folder: Path) -> None:
    with started(folder, step_seconds=0, drain=60) as server:
        began = time.monotonic()
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(20) == 0
        assert time.monotonic() - began < 20
