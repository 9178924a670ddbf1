"""How jobs end: cancelled, out of time, failed by an engine, refused by a queue."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.serve.engine import Knobs, fake_served
from tests.serve.running import data_url, png, serving

from overpaint.bundle.errors import SessionError
from overpaint.serve.config import Config
from overpaint.serve.jobs.engines import lane


def test_a_running_job_is_cancelled_within_one_step_and_decodes_nothing(folder: Path) -> None:
    knobs = Knobs(step_seconds=0.05)
    with serving(Config(port=0), [fake_served(folder, knobs=knobs)]) as server:
        job = server.submit(size="64x64", steps=100)["id"]
        server.until(job, "running")
        while not knobs.count("unet"):
            time.sleep(0.005)
        answer = server.client.delete(f"/v1/jobs/{job}")
        ran = knobs.count("unet")
        assert answer.json()["status"] == "cancelled"
        after = server.submit(size="64x64", steps=1)["id"]
        assert server.ended(after)["status"] == "completed"
        assert knobs.count("unet") <= ran + 1 + 1  # the step under way, and the next job's
        assert knobs.count("vae_decoder") == 1  # the next job's
        assert server.job(job)["status"] == "cancelled"
        assert server.job(job)["result"] is None


def test_a_queued_job_is_cancelled_and_those_behind_it_move_up(folder: Path) -> None:
    knobs = Knobs()
    with serving(Config(port=0), [fake_served(folder, knobs=knobs)]) as server:
        knobs.gate.clear()
        first, second, third = (server.submit(size="64x64", steps=1)["id"] for _ in range(3))
        server.until(first, "running")
        assert server.client.delete(f"/v1/jobs/{second}").json()["status"] == "cancelled"
        assert server.job(third)["queue_position"] == 0
        knobs.gate.set()
        assert server.ended(first)["status"] == server.ended(third)["status"] == "completed"
        assert knobs.count("unet") == 2


def test_a_job_that_has_ended_cannot_be_cancelled_any_more(folder: Path) -> None:
    with serving(Config(port=0), [fake_served(folder)]) as server:
        job = server.submit(size="64x64", steps=1)["id"]
        server.ended(job)
        assert server.client.delete(f"/v1/jobs/{job}").json()["status"] == "completed"


def test_a_job_that_runs_too_long_fails_and_the_next_one_runs(folder: Path) -> None:
    knobs = Knobs(step_seconds=0.1)
    config = Config(port=0, job_seconds=0.3)
    with serving(config, [fake_served(folder, knobs=knobs)]) as server:
        ended = server.ended(server.submit(size="64x64", steps=100)["id"])
        assert ended["status"] == "failed"
        assert ended["error"]["code"] == "timeout"
        while server.client.get("/readyz").status_code != 200:  # until its step has returned
            time.sleep(0.01)
        assert server.ended(server.submit(size="64x64", steps=1)["id"])["status"] == "completed"


def test_an_engine_that_hangs_is_told_by_readyz(folder: Path) -> None:
    knobs = Knobs()
    config = Config(port=0, job_seconds=0.1)
    with serving(config, [fake_served(folder, knobs=knobs)]) as server:
        knobs.gate.clear()
        ended = server.ended(server.submit(size="64x64", steps=1)["id"])
        assert ended["error"]["code"] == "timeout"
        ready = server.client.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["state"] == "unhealthy"
        answer = server.client.post("/v1/jobs", json={"prompt": "a", "size": "64x64"})
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        knobs.gate.set()


def test_an_engine_that_raises_fails_that_job_alone(folder: Path) -> None:
    knobs = Knobs()
    with serving(Config(port=0), [fake_served(folder, knobs=knobs)]) as server:
        knobs.gate.clear()
        jobs = [server.submit(size="64x64", steps=2)["id"] for _ in range(3)]
        knobs.failures.append(SessionError("out of memory"))
        knobs.gate.set()
        failed = server.ended(jobs[0])
        assert failed["status"] == "failed"
        assert failed["error"]["code"] == "engine_failed"
        assert failed["error"]["id"]
        assert "Traceback" not in failed["error"]["message"]
        assert [server.ended(job)["status"] for job in jobs[1:]] == ["completed", "completed"]


def test_after_three_failures_the_engine_rests_and_is_opened_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "REST_SECONDS", 0.5)
    knobs = Knobs()
    with serving(Config(port=0), [fake_served(folder, knobs=knobs)]) as server:
        knobs.failures += [SessionError("device lost") for _ in range(lane.FAILURES)]
        for _ in range(lane.FAILURES):
            assert server.ended(server.submit(size="64x64")["id"])["status"] == "failed"
        answer = server.client.post("/v1/jobs", json={"prompt": "a", "size": "64x64"})
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "unhealthy"
        time.sleep(0.6)
        assert server.ended(server.submit(size="64x64")["id"])["status"] == "completed"
        assert knobs.opened == 2


def test_a_job_whose_request_was_at_fault_does_not_count_against_the_engine(folder: Path) -> None:
    with serving(Config(port=0), [fake_served(folder)]) as server:
        for _ in range(lane.FAILURES + 1):
            # Known only once the schedule is made: LCM was distilled at 50 steps.
            job = server.submit(image=data_url(png()), sampler="lcm", steps=120)
            ended = server.ended(job["id"])
            assert ended["status"] == "failed"
            assert ended["error"]["code"] == "invalid_request"
            assert "50 timesteps" in ended["error"]["message"]
        assert server.client.get("/readyz").status_code == 200


def test_a_full_queue_answers_429_with_a_measured_wait(folder: Path) -> None:
    knobs = Knobs(step_seconds=0.3)
    with serving(Config(port=0, queue=3), [fake_served(folder, knobs=knobs)]) as server:
        server.ended(server.submit(size="64x64", steps=5)["id"])  # 1.5 s: measured
        knobs.gate.clear()
        first = server.submit(size="64x64", steps=1)["id"]
        server.until(first, "running")
        waiting = [server.submit(size="64x64", steps=1)["id"] for _ in range(3)]
        answer = server.client.post("/v1/jobs", json={"prompt": "a", "size": "64x64"})
        assert answer.status_code == 429
        assert answer.json()["error"]["code"] == "full"
        assert 6 <= int(answer.headers["retry-after"]) <= 10  # four jobs of 1.5 s
        assert (
            'overpaint_jobs_refused_total{reason="full"} 1.0' in server.client.get("/metrics").text
        )
        for job in waiting:
            server.client.delete(f"/v1/jobs/{job}")
        knobs.gate.set()
        assert server.ended(server.submit(size="64x64", steps=1)["id"])["status"] == "completed"


def test_while_the_engine_loads_the_process_is_healthy_and_refuses_jobs(folder: Path) -> None:
    knobs = Knobs()
    knobs.open_gate.clear()
    with serving(Config(port=0), [fake_served(folder, knobs=knobs)], ready=False) as server:
        assert server.client.get("/healthz").status_code == 200
        ready = server.client.get("/readyz")
        assert (ready.status_code, ready.json()["state"]) == (503, "loading")
        answer = server.client.post("/v1/jobs", json={"prompt": "a", "size": "64x64"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "loading")
        assert int(answer.headers["retry-after"]) >= 1
        knobs.open_gate.set()
        while server.client.get("/readyz").status_code != 200:
            time.sleep(0.01)
        assert server.ended(server.submit(size="64x64", steps=1)["id"])["status"] == "completed"


def test_results_are_kept_for_their_time_and_then_gone(folder: Path) -> None:
    with serving(Config(port=0, result_seconds=1.0), [fake_served(folder)]) as server:
        job = server.ended(server.submit(size="64x64", steps=1)["id"])
        media = f"/v1/media/{job['result']['media'][0]}.png"
        assert server.client.get(media).status_code == 200
        assert job["expires_at"] - job["finished_at"] == pytest.approx(1.0, abs=0.2)
        time.sleep(1.2)
        assert server.client.get(media).status_code == 410
        assert server.client.get(f"/v1/jobs/{job['id']}").status_code == 410
