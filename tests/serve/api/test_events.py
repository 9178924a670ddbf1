"""The events of a job over a WebSocket."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.serve.engine import Knobs, fake_served
from tests.serve.running import Running, serving
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect

from overpaint.serve.config import Config
from overpaint.serve.jobs.engines import worker


def events(server: Running, job: str, after: int = 0, **options: Any) -> list[dict[str, Any]]:
    """Every event until the server closes."""
    url = f"{server.url.replace('http', 'ws')}/v1/jobs/{job}/events?after={after}"
    with connect(url, proxy=None, **options) as connection:
        seen = []
        with contextlib.suppress(ConnectionClosedError):  # a code of our own ends the last case
            for message in connection:
                seen.append(json.loads(message))
        return seen


def test_a_job_tells_its_place_its_steps_and_its_end(folder: Path) -> None:
    knobs = Knobs(step_seconds=0.02)
    with serving(Config(port=0), [fake_served(folder, knobs=knobs)]) as server:
        knobs.gate.clear()
        server.submit(size="64x64", steps=1)
        job = server.submit(size="64x64", steps=6, seed=4)["id"]
        knobs.gate.set()
        seen = events(server, job)
        assert seen[0] == {"seq": seen[0]["seq"], "type": "queued", "position": 0}
        steps = [event for event in seen if event["type"] == "step"]
        assert [step["index"] for step in steps] == sorted(step["index"] for step in steps)
        assert {step["total"] for step in steps} == {6}
        assert seen[-1]["type"] == "complete"
        assert seen[-1]["seeds"] == [4]
        assert server.pixels(seen[-1]["media"][0]).shape == (64, 64, 3)
        numbers = [event["seq"] for event in seen]
        assert numbers == sorted(set(numbers))


def test_previews_are_small_jpegs(folder: Path) -> None:
    knobs = Knobs(step_seconds=0.12)
    with serving(Config(port=0), [fake_served(folder, knobs=knobs)]) as server:
        seen = events(server, server.submit(size="128x64", steps=5)["id"])
        previews = [event["preview"] for event in seen if event.get("preview")]
        assert len(previews) >= 3
        head, _, body = previews[0].partition(",")
        assert head == "data:image/jpeg;base64"
        image = Image.open(io.BytesIO(base64.b64decode(body)))
        assert (image.format, image.size) == ("JPEG", (256, 128))
        assert len(body) < 40_000


def test_a_reconnect_goes_on_from_where_it_was(folder: Path) -> None:
    knobs = Knobs(step_seconds=0.05)
    with serving(Config(port=0), [fake_served(folder, knobs=knobs)]) as server:
        job = server.submit(size="64x64", steps=20)["id"]
        url = f"{server.url.replace('http', 'ws')}/v1/jobs/{job}/events"
        with connect(url, proxy=None) as connection:
            last = [json.loads(connection.recv()) for _ in range(5)][-1]
        rest = events(server, job, after=last["seq"])
        assert rest[0]["seq"] > last["seq"]
        assert rest[-1]["type"] == "complete"


def test_a_reconnect_after_the_end_is_told_the_end(server: Running) -> None:
    job = server.submit(size="64x64", steps=2)["id"]
    server.ended(job)
    for after in (0, 10_000):
        (only,) = events(server, job, after=after)
        assert only["type"] == "complete"


def test_a_failed_and_a_cancelled_job_end_in_an_error(folder: Path) -> None:
    knobs = Knobs()
    with serving(Config(port=0), [fake_served(folder, knobs=knobs)]) as server:
        knobs.failures.append(RuntimeError("boom"))
        failed = events(server, server.submit(size="64x64", steps=2)["id"])[-1]
        assert (failed["type"], failed["code"]) == ("error", "engine_failed")
        assert failed["id"]
        knobs.gate.clear()
        job = server.submit(size="64x64", steps=2)["id"]
        server.client.delete(f"/v1/jobs/{job}")
        knobs.gate.set()
        cancelled = events(server, job)[-1]
        assert (cancelled["type"], cancelled["code"]) == ("error", "cancelled")


def test_the_events_of_no_job_are_an_error_and_a_close(server: Running) -> None:
    (only,) = events(server, "a" * 22)
    assert (only["type"], only["code"]) == ("error", "not_found")


def test_a_slow_client_misses_steps_but_never_the_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its socket is not read while megabytes of previews are made."""
    monkeypatch.setattr(worker, "PREVIEW_SECONDS", 0.0)
    monkeypatch.setattr(worker, "PREVIEW_SIDE", 1500)
    knobs = Knobs()
    with serving(Config(port=0), [fake_served(folder, knobs=knobs)]) as server:
        knobs.gate.clear()
        job = server.submit(size="256x256", steps=60)["id"]
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect(("127.0.0.1", server.port))
        url = f"ws://127.0.0.1:{server.port}/v1/jobs/{job}/events"
        with connect(url, sock=raw, max_queue=1) as connection:
            connection.recv()
            knobs.gate.set()
            server.ended(job, seconds=60)
            seen = [json.loads(message) for message in connection]
        assert seen[-1]["type"] == "complete"
        assert 1 < len(seen) < 50


def test_many_clients_watch_one_job(folder: Path) -> None:
    knobs = Knobs(step_seconds=0.01)
    with serving(Config(port=0), [fake_served(folder, knobs=knobs)]) as server:
        knobs.gate.clear()
        job = server.submit(size="64x64", steps=5)["id"]
        with ThreadPoolExecutor(8) as watchers:
            watched = [watchers.submit(events, server, job) for _ in range(8)]
            knobs.gate.set()
            ends = [one.result()[-1]["type"] for one in watched]
        assert ends == ["complete"] * 8


def test_what_a_client_says_is_not_listened_to(folder: Path) -> None:
    knobs = Knobs()
    with serving(Config(port=0), [fake_served(folder, knobs=knobs)]) as server:
        knobs.gate.clear()
        job = server.submit(size="64x64", steps=2)["id"]
        url = f"{server.url.replace('http', 'ws')}/v1/jobs/{job}/events"
        with connect(url, proxy=None) as connection:
            for _ in range(20):
                connection.send("x" * 1000)
            knobs.gate.set()
            assert json.loads(list(connection)[-1])["type"] == "complete"


def test_pages_of_other_sites_cannot_listen(server: Running) -> None:
    job = server.submit(size="64x64", steps=1)["id"]
    for origin in ("https://evil.example", "null", f"https://127.0.0.1:{server.port + 1}"):
        with pytest.raises(InvalidStatus) as refused:
            events(server, job, origin=origin)
        assert refused.value.response.status_code == 403
    assert events(server, job, origin=server.url)[-1]["type"] == "complete"


def test_the_token_guards_events_too(folder: Path) -> None:
    token = "0123456789abcdef-secret"
    with serving(Config(port=0, token=token), [fake_served(folder)]) as server:
        job = server.submit(size="64x64", steps=1)["id"]
        with pytest.raises(InvalidStatus):
            events(server, job)
        assert events(server, job, additional_headers={"Authorization": f"Bearer {token}"})
        encoded = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
        protocols: Any = ["overpaint.v1", f"bearer.{encoded}"]
        assert events(server, job, subprotocols=protocols)[-1]["type"] == "complete"
        with pytest.raises(InvalidStatus):
            events(server, job, subprotocols=["overpaint.v1", "bearer.AAAA"])


def test_a_client_that_leaves_costs_nothing(folder: Path) -> None:
    knobs = Knobs()
    with serving(Config(port=0), [fake_served(folder, knobs=knobs)]) as server:
        knobs.gate.clear()
        job = server.submit(size="64x64", steps=2)["id"]
        url = f"{server.url.replace('http', 'ws')}/v1/jobs/{job}/events"
        for _ in range(5):
            with connect(url, proxy=None):
                pass
        knobs.gate.set()
        assert server.ended(job)["status"] == "completed"  # leaving does not cancel
