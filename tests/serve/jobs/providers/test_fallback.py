"""Falling back to another server: when, how it is told, and what a failed job says was tried."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.serve.engine import Knobs, fake_served
from tests.serve.running import Running, data_url, png, serving

from overpaint.bundle.errors import SessionError, UsageError
from overpaint.serve.app import create_app
from overpaint.serve.config import Config
from overpaint.serve.jobs.providers.remote import RemoteProvider

TOKEN = "token-of-the-other-server"


@contextmanager
def pair(
    folder: Path, here: Knobs, there: Knobs, **options: Any
) -> Iterator[tuple[Running, Running]]:
    """A server here that may fall back to one there."""
    with ExitStack() as stack:
        other = stack.enter_context(
            serving(Config(port=0, token=TOKEN), [fake_served(folder / "there", knobs=there)])
        )
        config = Config(port=0, fallbacks=(other.url,), fallback_token=TOKEN, **options)
        yield (
            stack.enter_context(serving(config, [fake_served(folder / "here", knobs=here)])),
            other,
        )


def test_while_the_local_engine_is_well_it_has_every_job(folder: Path) -> None:
    here, there = Knobs(), Knobs()
    with pair(folder, here, there) as (server, _):
        answer = server.client.post("/v1/jobs", json={"prompt": "red", "size": "64x64"})
        assert answer.headers["x-overpaint-provider"] == "local"
        assert "x-overpaint-fallback" not in answer.headers
        job = server.ended(answer.json()["id"])
        assert (job["provider"], job["fallback"], job["tried"]) == ("local", None, [])
        assert there.count("unet") == 0


def test_a_full_queue_overflows_to_the_other_server_and_says_so(folder: Path) -> None:
    here, there = Knobs(), Knobs()
    with pair(folder, here, there, queue=1) as (server, other):
        here.gate.clear()
        first = server.submit(size="64x64", steps=1)["id"]
        server.until(first, "running")
        waiting = server.submit(size="64x64", steps=1)["id"]
        picture = data_url(png())
        body = {"prompt": "green", "image": picture, "strength": 0.7, "steps": 6, "seed": 5}
        answer = server.client.post("/v1/jobs", json=body)
        assert answer.status_code == 202
        assert answer.headers["x-overpaint-provider"] == other.url
        assert answer.headers["x-overpaint-fallback"] == "full"
        job = server.ended(answer.json()["id"])
        assert job["status"] == "completed"
        assert (job["provider"], job["fallback"]) == (other.url, "full")
        assert [one["provider"] for one in job["tried"]] == ["local"]
        assert other.url in job["result"]["device"]
        metrics = server.client.get("/metrics").text
        assert re.search(
            r'overpaint_fallbacks_total\{provider="http.*",reason="full"\} 1.0', metrics
        )
        far = server.pixels(job["result"]["media"][0])
        here.gate.set()
        server.ended(waiting)
        near = server.ended(server.client.post("/v1/jobs", json=body).json()["id"])
        assert near["provider"] == "local"
        assert np.array_equal(server.pixels(near["result"]["media"][0]), far)


def test_an_engine_that_fails_in_the_middle_is_retried_elsewhere(folder: Path) -> None:
    here, there = Knobs(), Knobs()
    with pair(folder, here, there) as (server, other):
        here.failures.append(SessionError("device lost"))
        job = server.ended(server.submit(size="64x64", steps=3)["id"])
        assert job["status"] == "completed"
        assert (job["provider"], job["fallback"]) == (other.url, "engine_failed")


def test_a_request_that_is_at_fault_is_not_tried_elsewhere(folder: Path) -> None:
    here, there = Knobs(), Knobs()
    with pair(folder, here, there) as (server, _):
        job = server.ended(server.submit(image=data_url(png()), sampler="lcm", steps=120)["id"])
        assert job["error"]["code"] == "invalid_request"
        assert job["tried"] == []


def test_a_failed_job_says_what_was_tried(folder: Path) -> None:
    here, there = Knobs(), Knobs()
    with pair(folder, here, there) as (server, other):
        here.failures.append(SessionError("device lost"))
        there.failures.append(SessionError("device lost there too"))
        job = server.ended(server.submit(size="64x64", steps=3)["id"])
        assert job["status"] == "failed"
        assert [(one["provider"], one["reason"]) for one in job["tried"]] == [
            ("local", "engine_failed"),
        ]
        assert job["provider"] == other.url
        assert other.url in job["error"]["message"]


def test_a_bundle_that_cannot_be_opened_here_is_served_from_there(folder: Path) -> None:
    here, there = Knobs(broken_open=RuntimeError("no device")), Knobs()
    with pair(folder, here, there) as (server, other):
        ready = server.client.get("/readyz").json()
        assert ready["state"] == "ready"
        assert [one["state"] for one in ready["providers"]] == ["unhealthy", "ready"]
        job = server.ended(server.submit(size="64x64")["id"])
        assert (job["status"], job["provider"], job["fallback"]) == (
            "completed",
            other.url,
            "unhealthy",
        )


def test_progress_and_previews_come_from_there(folder: Path) -> None:
    here, there = Knobs(broken_open=RuntimeError("no device")), Knobs(step_seconds=0.12)
    with pair(folder, here, there) as (server, _):
        job = server.submit(size="64x64", steps=6)["id"]
        seen, deadline = set(), time.monotonic() + 20
        while (view := server.job(job))["status"] != "completed" and time.monotonic() < deadline:
            if view["progress"]:
                seen.add(view["progress"]["step"])
                assert view["progress"]["total"] == 6
            time.sleep(0.01)
        assert len(seen) >= 3


def test_cancelling_here_cancels_there(folder: Path) -> None:
    here, there = Knobs(broken_open=RuntimeError("no device")), Knobs(step_seconds=0.05)
    with pair(folder, here, there) as (server, _):
        job = server.submit(size="64x64", steps=150)["id"]
        server.until(job, "running")
        assert server.client.delete(f"/v1/jobs/{job}").json()["status"] == "cancelled"
        time.sleep(0.15)
        ran = there.count("unet")
        time.sleep(0.2)
        assert there.count("unet") == ran
        assert there.count("vae_decoder") == 0


def test_where_nobody_takes_a_job_the_answer_says_what_each_said(folder: Path) -> None:
    knobs = Knobs(broken_open=RuntimeError("no device"))
    config = Config(port=0, fallbacks=("http://127.0.0.1:9",))
    with serving(config, [fake_served(folder, knobs=knobs)], ready=False) as server:
        deadline = time.monotonic() + 5
        while server.client.get("/readyz").json()["state"] != "unhealthy":
            assert time.monotonic() < deadline
        answer = server.client.post("/v1/jobs", json={"prompt": "red", "size": "64x64"})
        assert answer.status_code == 503
        message = answer.json()["error"]["message"]
        assert "local" in message
        assert "http://127.0.0.1:9" in message


def test_a_server_that_goes_away_in_the_middle_is_told(folder: Path) -> None:
    here, there = Knobs(broken_open=RuntimeError("no device")), Knobs(step_seconds=0.05)
    with ExitStack() as stack:
        other = stack.enter_context(
            serving(Config(port=0, drain_seconds=0.1), [fake_served(folder / "t", knobs=there)])
        )
        config = Config(port=0, fallbacks=(other.url,))
        served = [fake_served(folder / "h", knobs=here)]
        server = stack.enter_context(serving(config, served))
        job = server.submit(size="64x64", steps=150)["id"]
        server.until(job, "running")
        other.stop()
        ended = server.ended(job)
        assert ended["status"] in ("failed", "cancelled")
        assert other.url in ended["error"]["message"]


def test_two_servers_that_fall_back_to_each_other_do_not_play_ball(folder: Path) -> None:
    broken = RuntimeError("no device")
    with ExitStack() as stack:
        a = stack.enter_context(
            serving(
                Config(port=0, fallbacks=("http://127.0.0.1:9",)),
                [fake_served(folder / "a", knobs=Knobs(broken_open=broken))],
                ready=False,
            )
        )
        b = stack.enter_context(
            serving(
                Config(port=0, fallbacks=(a.url,)),
                [fake_served(folder / "b", knobs=Knobs(broken_open=broken))],
                ready=False,
            )
        )
        a.state.jobs.providers = (a.state.jobs.providers[0], RemoteProvider(b.url))
        for server in (a, b):
            deadline = time.monotonic() + 5
            while server.client.get("/readyz").json()["state"] != "unhealthy":
                assert time.monotonic() < deadline
        answer = a.client.post("/v1/jobs", json={"prompt": "red", "size": "64x64"})
        assert answer.status_code == 503


@pytest.mark.parametrize("url", ["ftp://x", "other.example:8000"])
def test_a_fallback_is_a_url_that_somebody_knows(url: str) -> None:
    with pytest.raises(UsageError, match="--fallback: .* http, https.*, got " + url):
        Config(fallbacks=(url,))
    with pytest.raises(UsageError, match="--provider"):
        Config(provider=url)


@pytest.mark.parametrize(
    ("fallbacks", "message"),
    [
        (("local",), "once"),
        (("http://a", "http://a/"), "once"),
        (("http://",), "http://host:port"),
        (("local://there",), "one place"),
    ],
)
def test_what_cannot_be_fallen_back_to_is_said(
    folder: Path, fallbacks: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        create_app(Config(fallbacks=fallbacks), [fake_served(folder)])
