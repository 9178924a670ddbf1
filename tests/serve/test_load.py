"""Five hundred mixed requests from 32 clients: nothing lost, nothing twice, memory flat."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import psutil
from tests.serve.process import Process, started, wait_until
from tests.serve.running import png
from websockets.sync.client import connect

CLIENTS = 32
QUEUE = 20
ENDS = ("completed", "failed", "cancelled")


class Client(threading.Thread):
    """One of many: uploads, submits, watches, polls, cancels, leaves in the middle."""

    def __init__(self, url: str, number: int, requests: int) -> None:
        super().__init__(name=f"client {number}")
        self.url, self.number, self.requests = url, number, requests
        self.random = random.Random(number)
        self.outcomes: Counter[str] = Counter()
        self.turned_away = 0
        self.accepted: list[str] = []
        self.seconds: list[float] = []
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            with httpx.Client(base_url=self.url, timeout=60) as self.client:
                for _ in range(self.requests):
                    began = time.monotonic()
                    self.outcomes[self.one()] += 1
                    self.seconds.append(time.monotonic() - began)
        except Exception as error:
            self.error = error

    def one(self) -> str:
        body = {"prompt": "red", "steps": self.random.randint(1, 6), "seed": self.number}
        if self.random.random() < 0.5:
            body["image"] = self.upload()
        else:
            body["size"] = "64x64"
        pause = 0.1
        while (answer := self.client.post("/v1/jobs", json=body)).status_code in (410, 429):
            if answer.status_code == 410:  # newer uploads took its place while this one waited
                body["image"] = self.upload()
                continue
            assert int(answer.headers["retry-after"]) >= 1
            self.turned_away += 1
            time.sleep(pause * (0.5 + self.random.random()))
            pause = min(1.0, 2 * pause)
        assert answer.status_code == 202, answer.text
        job = answer.json()["id"]
        self.accepted.append(job)
        way = self.random.choice(["poll", "watch", "cancel", "leave", "forget"])
        return getattr(self, way)(job)

    def upload(self) -> str:
        picture = png(64, 64, seed=self.number)
        answer = self.client.post("/v1/uploads", files={"file": ("a.png", picture)})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def poll(self, job: str) -> str:
        while (view := self.client.get(f"/v1/jobs/{job}").json())["status"] not in ENDS:
            time.sleep(0.02)
        media = view["result"]["media"][0]
        assert self.client.get(f"/v1/media/{media}.png").status_code == 200
        return "completed"

    def watch(self, job: str) -> str:
        url = f"{self.url.replace('http', 'ws')}/v1/jobs/{job}/events"
        with connect(url, proxy=None) as connection:
            seen = [json.loads(message) for message in connection]
        assert [event["type"] in ("complete", "error") for event in seen].count(True) == 1
        assert seen[-1]["type"] == "complete"
        return "completed"

    def cancel(self, job: str) -> str:
        time.sleep(self.random.random() * 0.05)
        answer = self.client.delete(f"/v1/jobs/{job}")
        assert answer.json()["status"] in ("cancelled", "completed")
        return "cancelled"

    def leave(self, job: str) -> str:
        """Break off in the middle of the events, and of a request."""
        url = f"{self.url.replace('http', 'ws')}/v1/jobs/{job}/events"
        with contextlib.suppress(Exception), connect(url, proxy=None) as connection:
            connection.recv()
            connection.socket.close()
        return "left"

    def forget(self, job: str) -> str:
        return "forgotten"


def storm(server: Process, requests: int) -> tuple[list[Client], float]:
    """All clients at once; what they saw, and the deepest that the queue was seen."""
    clients = [Client(server.url, number, requests // CLIENTS) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    deepest = 0.0
    while any(client.is_alive() for client in clients):
        deepest = max(deepest, figure(server, "overpaint_queue_depth"))
        time.sleep(0.05)
    for client in clients:
        if client.error is not None:
            raise client.error
    return clients, deepest


def figure(server: Process, name: str) -> float:
    """One of the server's own figures."""
    lines = server.client.get("/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith(name + " ")).split()[1])


def view(server: Process, job: str) -> dict[str, Any]:
    """The job, once it has ended."""
    wait_until(lambda: server.status(job) in ENDS)
    return dict(server.client.get(f"/v1/jobs/{job}").json())


def test_five_hundred_mixed_requests_from_32_clients(folder: Path) -> None:
    limits = {"queue": QUEUE, "result_bytes": 2_000_000, "upload_bytes": 1_000_000}
    with started(folder, step_seconds=0.001, **limits) as server:
        memory = psutil.Process(server.process.pid).memory_info
        storm(server, 160)  # warm: imports, pools, buffers
        before = memory().rss
        clients, deepest = storm(server, 512)
        jobs = [job for client in clients for job in client.accepted]
        assert len(jobs) == len(set(jobs)) == 512
        views = {job: view(server, job) for job in jobs}
        growth = memory().rss - before

        statuses = Counter(view["status"] for view in views.values())
        assert statuses["failed"] == 0
        assert statuses["completed"] + statuses["cancelled"] == len(jobs)
        results = [view["result"] for view in views.values() if view["result"]]
        media = [one for result in results for one in result["media"]]
        assert len(media) == len(set(media))  # no job's picture is another's
        assert deepest <= QUEUE
        assert figure(server, "overpaint_queue_depth") == 0
        assert figure(server, "overpaint_jobs_running") == 0
        assert growth < 8_000_000, f"{growth / 1e6:.1f} MB more"
        kept = sum(path.stat().st_size for path in (folder / "results" / "media").iterdir())
        assert kept <= limits["result_bytes"]

        seconds = sorted(one for client in clients for one in client.seconds)
        outcomes = sum((client.outcomes for client in clients), Counter())
        tail = {share: round(seconds[int(len(seconds) * share)], 3) for share in (0.5, 0.95, 0.99)}
        print(f"{len(seconds)} requests: {dict(outcomes)}; slowest of that share: {tail} s")
        print(f"{sum(client.turned_away for client in clients)} answers were 429")
        print(f"memory {growth / 1e6:+.1f} MB, the queue at most {deepest:.0f} deep")
