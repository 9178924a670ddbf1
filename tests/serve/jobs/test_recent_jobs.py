"""A client finds its jobs again: after a reload of the page, and after a restart of the server."""

from __future__ import annotations

from pathlib import Path

from tests.serve.engine import Knobs, fake_served
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
