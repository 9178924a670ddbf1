"""Jobs on the replicas of a Ray cluster: what clients see is what they see of one process."""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray
from tests.serve.engine import fake_served
from tests.serve.on_ray import SMALL, busy, figure, replicas, send, wait_until
from tests.serve.running import Running, data_url, png, serving
from websockets.sync.client import connect

from overpaint.bundle.errors import MissingExtraError, UsageError
from overpaint.serve import command
from overpaint.serve.config import Config
from overpaint.serve.jobs.replicas.deploy import Scale

STEP_SECONDS = 0.12  # more than a tenth: each is told


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("replicas")


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Running]:
    """Two replicas whose steps take an eighth of a second."""
    try:
        with replicas(place, address="local", step_seconds=STEP_SECONDS) as running:
            yield running
    finally:
        ray.shutdown()


def test_a_replica_paints_what_this_process_would(server: Running, folder: Path) -> None:
    body = {"prompt": "red", "image": data_url(png()), "strength": 0.7, "steps": 4, "seed": 5}
    answer = server.client.post("/v1/jobs", json=body)
    assert answer.headers["x-overpaint-provider"] == "ray://local"
    there = server.ended(answer.json()["id"])["result"]
    with serving(Config(port=0), [fake_served(folder)]) as alone:
        here = alone.ended(alone.submit(**body)["id"])["result"]
        assert np.array_equal(server.pixels(there["media"][0]), alone.pixels(here["media"][0]))
        assert {**there["settings"], "seed": 5} == {**here["settings"], "seed": 5}
        models = [one.client.get("/v1/capabilities").json()["models"] for one in (server, alone)]
    for model in (*models[0], *models[1]):
        model["pace"] = None
    assert models[0] == models[1]


def test_every_step_and_its_preview_are_told(server: Running) -> None:
    job = server.submit(**SMALL, steps=10)["id"]
    with connect(f"{server.url.replace('http', 'ws')}/v1/jobs/{job}/events") as socket:
        events = [json.loads(message) for message in socket]
    steps = [event for event in events if event["type"] == "step"]
    assert len(steps) >= 6  # what is newer takes the place of what was not read yet
    assert steps[-1]["index"] == 10
    assert base64.b64decode(steps[-1]["preview"].partition(",")[2])[:2] == b"\xff\xd8"
    assert events[-1]["type"] == "complete"


def test_both_work_at_once_and_the_figures_say_so(server: Running) -> None:
    jobs = [server.submit(**SMALL, steps=30)["id"] for _ in range(6)]  # more than both take
    wait_until(lambda: len(busy(server)) == 2)
    assert server.client.get("/readyz").json()["providers"][0]["capacity"] == 16 + 2 * 2
    wait_until(lambda: 0 in [server.job(job)["queue_position"] for job in jobs])
    assert all(server.ended(job)["status"] == "completed" for job in jobs)
    assert figure(server, "overpaint_replica_jobs_total", outcome="completed") >= 3
    assert figure(server, "overpaint_replicas", state="running") == 2


def test_a_cancelled_job_lets_its_engine_go_within_a_step(server: Running) -> None:
    jobs = [server.submit(**SMALL, steps=150)["id"] for _ in range(4)]  # as many as both take
    wait_until(lambda: len(busy(server)) == 2)
    began = time.monotonic()
    for job in jobs:
        assert server.client.delete(f"/v1/jobs/{job}").json()["status"] == "cancelled"
    after = server.submit(**SMALL, steps=1)["id"]
    server.until(after, "completed")
    assert time.monotonic() - began < 9.0  # not the 18 s that either would have taken
    wait_until(lambda: not busy(server))


def test_a_job_whose_replica_is_killed_ends_on_the_other(server: Running, place: Path) -> None:
    wait_until(lambda: not busy(server))
    job = server.submit(**SMALL, steps=20, seed=3)["id"]
    wait_until(lambda: bool(server.job(job)["progress"]))
    (replica,) = busy(server)
    send(place, replica)
    ended = server.ended(job, seconds=30)
    assert (ended["status"], ended["result"]["steps_run"]) == ("completed", 20)
    assert len(ended["result"]["media"]) == 1
    assert figure(server, "overpaint_replica_losses_total") == 1
    assert figure(server, "overpaint_replica_jobs_total", replica=replica, outcome="failed") == 1


@pytest.mark.parametrize("replicas", ["0", "3-2", "x", "2-", "-1"])
def test_a_number_of_replicas_that_cannot_be_is_refused(replicas: str) -> None:
    with pytest.raises(UsageError, match="--replicas"):
        Scale.of(replicas, 1, 0, 30)


def test_a_range_of_replicas_grows_with_the_jobs() -> None:
    options = Scale.of("2-16", 0, 1, 30).options
    assert options["autoscaling_config"]["max_replicas"] == 16
    assert options["ray_actor_options"] == {"num_cpus": 0, "num_gpus": 1}
    assert "num_replicas" not in options


def test_without_ray_the_line_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[ray\]"):
        command.serve(ray="auto", port=0)


def test_two_who_have_every_job_first_are_refused() -> None:
    with pytest.raises(UsageError, match="both say who has every job first"):
        command.serve(ray="auto", provider="http://127.0.0.1:9")
