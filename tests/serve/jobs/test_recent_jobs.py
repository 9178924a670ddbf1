"""A client finds its jobs again: after a reload of the page, and after a restart of the server."""

from __future__ import annotations

import resource
from pathlib import Path

import httpx
from tests.serve.engine import Knobs, fake_served
from tests.serve.process import started, wait_until
from tests.serve.running import serving

from overpaint.serve.config import Config

BODY = {"prompt": "red", "size": "64x64", "steps": 1}


def test_a_client_finds_its_jobs_the_newest_first_and_nobody_elses(folder: Path) -> None:
    knobs = Knobs()
    config = Config(port=0, folder=folder / "results")
    with serving(config, [fake_served(folder, knobs=knobs)]) as server:
        mine = {"X-Overpaint-Client": "page-1"}
        ids = []
        for _ in range(2):
            job = server.client.post("/v1/jobs", json=BODY, headers=mine).json()
            ids.insert(0, job["id"])
            server.ended(job["id"])
        other = server.submit(**BODY)["id"]
        server.ended(other)
        knobs.gate.clear()
        ids.insert(0, server.client.post("/v1/jobs", json=BODY, headers=mine).json()["id"])
        listed = server.client.get("/v1/jobs", headers=mine).json()
        assert [one["id"] for one in listed] == ids
        assert [one["status"] for one in listed[1:]] == ["completed"] * 2
        assert "client" not in listed[0]
        assert [one["id"] for one in server.client.get("/v1/jobs").json()] == [other]
        knobs.gate.set()
        server.ended(ids[0])
    with serving(config, [fake_served(folder, "again")]) as server:
        listed = server.client.get("/v1/jobs", headers=mine).json()
        assert [one["id"] for one in listed] == ids


def test_jobs_that_a_restart_ended_say_so(folder: Path) -> None:
    with started(folder, step_seconds=0.2) as server:
        done = server.submit(steps=1)
        wait_until(lambda: server.status(done) == "completed")
        jobs = [server.submit(steps=100) for _ in range(3)]
        wait_until(lambda: server.status(jobs[0]) == "running")
        server.process.kill()
        server.process.wait()
    with started(folder) as server:
        assert server.status(done) == "completed"
        for job in jobs:
            view = server.client.get(f"/v1/jobs/{job}").json()
            assert view["status"] == "failed"
            assert view["error"]["code"] == "restarted"
            assert view["queue_position"] is None
        listed = httpx.get(f"{server.url}/v1/jobs").json()
        assert {one["id"] for one in listed} == {done, *jobs}
    with started(folder) as server:
        assert server.status(jobs[0]) == "failed"


def test_a_result_that_only_memory_holds_is_told_of_after_a_restart(folder: Path) -> None:
    """The disk was full when the job ended: its record went with the process, and that is said."""
    with started(folder, step_seconds=0.3) as server:
        job = server.submit(steps=3)
        limit = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (100, limit[1]))
        wait_until(lambda: server.status(job) == "completed")
        server.process.kill()
        server.process.wait()
    with started(folder) as server:
        assert server.client.get(f"/v1/jobs/{job}").json()["error"]["code"] == "restarted"
