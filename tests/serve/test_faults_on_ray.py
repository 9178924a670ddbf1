"""What clients notice of a cluster whose processes end, hang or are replaced: that it took longer.

On a real Ray of one head and two nodes, each with a processor and so with one replica.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import pytest
import ray
from ray.cluster_utils import Cluster
from tests.serve import process
from tests.serve.on_ray import SMALL, busy, figure, provider, replicas, send, wait_until
from tests.serve.running import Running

from overpaint.serve.jobs.cluster import APPLICATION, ray_serve
from overpaint.serve.jobs.providers import ray as front_door
from overpaint.serve.jobs.replicas import deploy

pytestmark = pytest.mark.ray

STORE_BYTES = 80_000_000


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    head = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        made.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    ray.init(made.address, log_to_driver=False)
    try:
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve asks replicas for their health ten times as often, and the front door asks Serve."""
    monkeypatch.setattr(front_door, "LOOK_SECONDS", 0.5)
    monkeypatch.setattr(deploy, "HEALTH_SECONDS", 0.5)
    monkeypatch.setattr(deploy, "ANSWER_SECONDS", 1.0)


def submit(server: Running, count: int, steps: int = 20) -> list[str]:
    return [server.submit(**SMALL, steps=steps, seed=one)["id"] for one in range(count)]


def expect_all_completed_once(server: Running, jobs: list[str], steps: int = 20) -> None:
    for seed, job in enumerate(jobs):
        ended = server.ended(job, seconds=90)
        assert (ended["status"], ended["result"]["seeds"]) == ("completed", [seed]), ended
        assert ended["result"]["steps_run"] == steps
    outcomes = figure(server, "overpaint_replica_jobs_total", outcome="completed")
    assert outcomes == len(jobs)  # none was painted twice


def test_replicas_that_are_killed_in_a_step_lose_nothing(cluster: Cluster, folder: Path) -> None:
    with replicas(folder, address=cluster.address, cpus=1, step_seconds=0.1) as server:
        jobs = submit(server, 6)
        wait_until(lambda: len(busy(server)) == 2)
        for replica in busy(server):
            send(folder, replica)
        expect_all_completed_once(server, jobs)
        assert figure(server, "overpaint_replica_losses_total") >= 2
        wait_until(lambda: figure(server, "overpaint_replicas", state="running") == 2)


def test_a_node_that_is_killed_loses_nothing(cluster: Cluster, folder: Path) -> None:
    extra = cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    with replicas(folder, address=cluster.address, cpus=1, count=3, step_seconds=0.1) as server:
        jobs = submit(server, 6)
        wait_until(lambda: len(busy(server)) == 3)
        cluster.remove_node(extra, allow_graceful=False)
        expect_all_completed_once(server, jobs)
        assert server.client.get("/readyz").status_code == 200


def test_without_serves_controller_jobs_run_on(cluster: Cluster, folder: Path) -> None:
    with replicas(folder, address=cluster.address, cpus=1, step_seconds=0.1) as server:
        jobs = submit(server, 2)
        wait_until(lambda: len(busy(server)) == 2)
        controller = ray.get_actor("SERVE_CONTROLLER_ACTOR", namespace="serve")
        ray.kill(controller, no_restart=False)
        jobs += [server.submit(**SMALL, steps=20, seed=seed)["id"] for seed in (2, 3)]
        expect_all_completed_once(server, jobs)
        assert figure(server, "overpaint_replica_losses_total") == 0
        wait_until(lambda: ray_serve().status().applications[APPLICATION].status == "RUNNING")


def test_a_replica_that_hangs_is_replaced(cluster: Cluster, folder: Path) -> None:
    with replicas(folder, address=cluster.address, cpus=1, step_seconds=0.1) as server:
        jobs = submit(server, 2)
        wait_until(lambda: len(busy(server)) == 2)
        hanging = busy(server)[0]
        send(folder, hanging, signal.SIGSTOP)
        expect_all_completed_once(server, jobs)
        wait_until(lambda: figure(server, "overpaint_replicas", state="running") == 2)


def test_an_engine_whose_step_does_not_return_is_replaced(cluster: Cluster, folder: Path) -> None:
    with replicas(
        folder, address=cluster.address, cpus=1, count=1, job_seconds=1.0, step_seconds=60.0
    ) as server:
        (job,) = submit(server, 1)
        wait_until(lambda: bool(busy(server)))
        (stuck,) = busy(server)
        ended = server.ended(job, seconds=30)
        assert (ended["status"], ended["error"]["code"]) == ("failed", "timeout")
        wait_until(lambda: not alive(folder, stuck))
        wait_until(lambda: figure(server, "overpaint_replicas", state="running") == 1)


def test_what_brings_replicas_down_does_so_twice(cluster: Cluster, folder: Path) -> None:
    with replicas(
        folder, address=cluster.address, cpus=1, step_seconds=0.05, deadly_step=5
    ) as server:
        (job,) = submit(server, 1)
        ended = server.ended(job, seconds=60)
        assert (ended["status"], ended["error"]["code"]) == ("failed", "engine_failed")
        assert figure(server, "overpaint_replica_jobs_total", outcome="failed") == 2


def test_a_full_object_store_keeps_no_job(cluster: Cluster, folder: Path) -> None:
    with replicas(folder, address=cluster.address, cpus=1, step_seconds=0.01) as server:
        held = [ray.put(bytes(STORE_BYTES // 8)) for _ in range(12)]  # one and a half times of it
        jobs = [server.submit(size="512x512", n=4, steps=4, seed=seed)["id"] for seed in (0, 1, 2)]
        for job in jobs:
            result = server.ended(job, seconds=60)["result"]
            assert [server.pixels(media).shape for media in result["media"]] == [(512, 512, 3)] * 4
        del held


def test_an_update_while_jobs_run_ends_none(cluster: Cluster, folder: Path) -> None:
    with replicas(folder, address=cluster.address, cpus=1, step_seconds=0.1) as server:
        jobs = submit(server, 4)
        wait_until(lambda: len(busy(server)) == 2)
        before = set(busy(server))
        make = partial(provider, folder, 60.0, {"step_seconds": 0.01})
        deploy.start(cluster.address, make, 2, deploy.Scale(least=2, most=2, cpus=1))
        expect_all_completed_once(server, jobs)
        wait_until(lambda: not any(alive(folder, replica) for replica in before))
        assert figure(server, "overpaint_replica_losses_total") == 0


def test_a_front_door_that_is_killed_goes_on_with_its_jobs(cluster: Cluster, folder: Path) -> None:
    make = partial(provider, folder, 60.0, {"step_seconds": 0.1})
    scale = deploy.Scale(least=2, most=2, cpus=1, drain_seconds=5.0)
    url = f"ray://{cluster.address}"
    with deploy.deployed(cluster.address, make, 2, scale):
        with process.started(folder, provider=url) as first:
            jobs = [first.submit(20, seed=seed) for seed in range(3)]
            wait_until(lambda: first.status(jobs[0]) == "running")
            first.kill()
        with process.started(folder, provider=url) as second:
            views = [second.view(job) for job in jobs]
    assert [view["status"] for view in views] == ["completed"] * 3
    assert [view["result"]["seeds"] for view in views] == [[0], [1], [2]]
    assert [view["restarts"] for view in views] == [1, 1, 1]


def test_three_times_the_load_is_refused_in_time_and_what_is_taken_ends(
    cluster: Cluster, folder: Path
) -> None:
    """Jobs of half a second on two replicas: four a second. Twelve a second are asked for."""
    with (
        replicas(folder, address=cluster.address, cpus=1, queue=8, step_seconds=0.05) as server,
        ThreadPoolExecutor(64) as clients,
    ):
        taken: list[Future[float]] = []
        refused, began = 0, time.monotonic()
        for number in range(96):
            time.sleep(max(0.0, began + number / 12 - time.monotonic()))
            answer = server.client.post("/v1/jobs", json={"prompt": "red", **SMALL, "steps": 10})
            if answer.status_code == 429:
                refused += 1
                assert 1 <= float(answer.headers["Retry-After"]) <= 30
            else:
                assert answer.status_code == 202, answer.text
                taken.append(clients.submit(seconds_of, server.url, answer.json()["id"]))
        seconds = sorted(one.result() for one in taken)
    p50, p99 = seconds[len(seconds) // 2], seconds[int(len(seconds) * 0.99)]
    print(f"96 asked, {len(taken)} taken, {refused} refused; p50 {p50:.1f} s, p99 {p99:.1f} s")
    assert refused >= 30
    assert p99 < 12  # twelve are here at most, of half a second on two replicas: 3 s, and noise


def seconds_of(url: str, job: str) -> float:
    """How long it takes from now until the job is completed."""
    began = time.monotonic()
    with httpx.Client(base_url=url, timeout=60) as client:
        while (status := client.get(f"/v1/jobs/{job}").json()["status"]) in ("queued", "running"):
            time.sleep(0.1)
    assert status == "completed"
    return time.monotonic() - began


def alive(folder: Path, replica: str) -> bool:
    try:
        os.kill(int((folder / replica).read_text()), 0)
    except ProcessLookupError:
        return False
    return True
