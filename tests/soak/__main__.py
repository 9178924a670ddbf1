"""Does a server stay well under all that clients and machines do to it, for as long as you like?

    python -m tests.soak --minutes 60 --out soak.json

64 clients on all three faces submit, watch, cancel and drop their sockets. In the first half the
server is killed and begun anew, and its disk fills up for a while, now and then; in the second half
one process goes through it all, and what it holds is measured. What was accepted is run again after
a kill. The engines are NumPy: it is the server that is soaked. Prints its figures, writes them as
JSON, and exits with 1 where something was lost, came twice, answered with a 500, or grew.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import random
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from tests.serve.process import HOUSE, free_port, is_ready, wait_until
from tests.serve.running import data_url, png

CLIENTS = 64
ENDS = ("completed", "failed", "cancelled")
TURNED_AWAY = (409, 410, 429, 503)
PICTURE = png()
GROWTH = 1.25  # of memory, threads, descriptors, from the second half's begin to its end


class Machine:
    """The server's process and its disk."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.kills = 0
        self.full = False
        self.full_times: list[tuple[float, float]] = []
        self.start()

    def start(self) -> None:
        options = [
            "--step-seconds=0.002",
            "--queue=48",
            "--result-bytes=50000000",
            "--result-seconds=86400",
        ]
        bundles = self.folder / f"life-{self.kills}"
        bundles.mkdir()
        (bundles / "results").symlink_to(self.folder / "results")
        command = [sys.executable, "-m", "tests.serve.process", str(self.port), str(bundles)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([*command, *options], cwd=HOUSE, stderr=log)
        with httpx.Client(base_url=self.url, timeout=20) as client:
            wait_until(lambda: is_ready(client))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.kills += 1

    def fill_disk(self, full: bool) -> None:
        """No file may grow beyond 100 bytes, as on a disk that is full."""
        now = time.time()
        if full:
            self.full_times.append((now, float("inf")))
        elif self.full:
            self.full_times[-1] = (self.full_times[-1][0], now)
        self.full = full
        _, hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)
        soft = 100 if full else hard
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (soft, hard))

    def was_full(self, when: float) -> bool:
        return any(begin - 1 <= when <= end + 1 for begin, end in self.full_times)

    def held(self) -> dict[str, float]:
        """Of the server and of the processes that read pictures for it."""
        server = psutil.Process(self.process.pid)
        family = [server, *server.children()]
        return {
            "rss_mb": round(sum(one.memory_info().rss for one in family) / 1e6, 1),
            "threads": server.num_threads(),
            "descriptors": server.num_fds(),
        }


@dataclass
class Tally:
    """What the clients saw. `volatile` jobs were accepted or cancelled while the disk was full, so
    a kill may take them along; `done` are the pictures of those that a client saw ended."""

    counts: Counter[str] = field(default_factory=Counter)
    jobs: list[str] = field(default_factory=list)
    volatile: set[str] = field(default_factory=set)
    done: dict[str, tuple[str, ...]] = field(default_factory=dict)
    trouble: list[str] = field(default_factory=list)


class Client(threading.Thread):
    def __init__(self, machine: Machine, tally: Tally, number: int, until: float) -> None:
        super().__init__(name=f"client {number}")
        self.machine, self.tally, self.until = machine, tally, until
        self.random = random.Random(number)
        self.ways = (self.native, self.native, self.cancelled, self.openai, self.img2img, self.drop)

    def run(self) -> None:
        while time.monotonic() < self.until:
            try:
                with httpx.Client(base_url=self.machine.url, timeout=60) as self.client:
                    for _ in range(10):
                        self.random.choice(self.ways)()
            except httpx.TransportError:  # it was killed
                self.tally.counts["connection lost"] += 1
                time.sleep(0.5)
            except Exception as error:
                self.tally.trouble.append(f"{type(error).__name__}: {error}")

    def seen(self, answer: httpx.Response, *, may_be_gone: bool = False) -> bool:
        """Whether it was taken; a 500 is trouble. `may_be_gone`: a 404 is none, once a server was
        killed that had in memory what is asked for."""
        self.tally.counts[f"{answer.request.url.path.split('/')[1:3]} {answer.status_code}"] += 1
        if answer.status_code in TURNED_AWAY:
            time.sleep(0.2 + self.random.random())
            return False
        if may_be_gone and answer.status_code == 404 and self.machine.kills:
            return False
        if answer.status_code >= 400:
            self.tally.trouble.append(f"{answer.status_code}: {answer.text[:200]}")
        return answer.status_code < 400

    def submit(self) -> str | None:
        body: dict[str, Any] = {"prompt": "red", "steps": self.random.randint(1, 12)}
        match self.random.randrange(3):
            case 0:
                body["size"] = "64x64"
            case 1:
                body["image"] = data_url(PICTURE)
            case _:
                upload = self.client.post("/v1/uploads", files={"file": PICTURE})
                if not self.seen(upload):
                    return None
                body["image"] = upload.json()["id"]
        full = self.machine.full
        answer = self.client.post("/v1/jobs", json=body)
        if not self.seen(answer, may_be_gone=True):  # the upload was in that server's memory
            return None
        job = str(answer.json()["id"])
        self.tally.jobs.append(job)
        if full or self.machine.full:
            self.tally.volatile.add(job)
        return job

    def native(self) -> None:
        if (job := self.submit()) is None:
            return
        while (answer := self.client.get(f"/v1/jobs/{job}")).status_code == 200:
            if answer.json()["status"] in ENDS:
                if not self.machine.was_full(answer.json()["finished_at"]):
                    self.tally.done[job] = media_of(answer.json())
                return  # what memory alone holds is painted again after a kill
            time.sleep(0.05)

    def cancelled(self) -> None:
        if (job := self.submit()) is not None:
            time.sleep(self.random.random() * 0.2)
            full = self.machine.full
            self.client.delete(f"/v1/jobs/{job}")
            if full or self.machine.full:
                self.tally.volatile.add(job)

    def openai(self) -> None:
        form = {"prompt": "red", "num_inference_steps": "4", "response_format": "url"}
        answer = self.client.post("/v1/images/edits", data=form, files={"image": PICTURE})
        if self.seen(answer):
            self.client.get(answer.json()["data"][0]["url"])

    def img2img(self) -> None:
        body = {"init_images": [base64.b64encode(PICTURE).decode()], "steps": 4, "width": 64}
        self.seen(self.client.post("/sdapi/v1/img2img", json=body | {"height": 64}))

    def drop(self) -> None:
        """Leave in the middle: of a head, of a body, or of waiting for the answer."""
        body = json.dumps({"prompt": "x", "width": 64, "height": 64, "steps": 50}).encode()
        head = (
            f"POST /sdapi/v1/txt2img HTTP/1.1\r\nHost: 127.0.0.1:{self.machine.port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        whole = head.encode() + body
        sent = self.random.choice([20, len(head) + 10, len(whole)])
        address = ("127.0.0.1", self.machine.port)
        with contextlib.suppress(OSError), socket.create_connection(address, timeout=5) as one:
            one.sendall(whole[:sent])
            time.sleep(0.05)
        self.tally.counts["dropped"] += 1


def media_of(view: dict[str, Any]) -> tuple[str, ...]:
    return tuple((view["result"] or {}).get("media", ()))


def soak(minutes: float, folder: Path) -> dict[str, Any]:
    """Figures of a soak that lasts so long; `folder` is empty."""
    (folder / "results").mkdir()
    machine, tally = Machine(folder), Tally()
    began = time.monotonic()
    half, until = began + minutes * 30, began + minutes * 60
    clients = [Client(machine, tally, number, until) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        pause = max(4.0, min(60.0, minutes * 60 / 12))
        while time.monotonic() + 2 * pause < half:
            time.sleep(pause)
            machine.fill_disk(True)
            time.sleep(pause / 4)
            machine.fill_disk(False)
            time.sleep(pause / 2)
            machine.kill()
            machine.start()
        time.sleep(max(0.0, half - time.monotonic()))
        samples = []
        while time.monotonic() < until:
            samples.append(machine.held())
            time.sleep(min(5.0, minutes * 60 / 40))
        for client in clients:
            client.join(90)
        time.sleep(1.0)
        figures = _figures(machine, tally, samples)
    finally:
        machine.process.kill()
        machine.process.wait()
    return {"minutes": minutes, "clients": CLIENTS, **figures}


def _figures(machine: Machine, tally: Tally, samples: list[dict[str, float]]) -> dict[str, Any]:
    ends: Counter[str] = Counter()
    media: Counter[str] = Counter()
    rerun = again = 0
    with httpx.Client(base_url=machine.url, timeout=60) as client:
        for job in tally.jobs:
            answer = client.get(f"/v1/jobs/{job}")
            if answer.status_code == 410 and answer.json()["error"]["code"] == "restarted":
                ends["not run a third time"] += 1
                continue
            if answer.status_code != 200:
                volatile = machine.kills and job in tally.volatile
                ends["lost with a full disk" if volatile else f"lost ({answer.status_code})"] += 1
                continue
            view = answer.json()
            rerun += view["restarts"] > 0
            if job not in tally.volatile:  # those may have been painted again, and are said to be
                again += media_of(view) != tally.done.get(job, media_of(view))
            code = f": {view['error']['code']}" if view["status"] == "failed" else ""
            ends[view["status"] + code] += 1
            media.update(media_of(view))
        idle = client.get("/readyz").json()
    quarter = max(1, len(samples) // 4)
    grew = {
        name: [_middle(samples[:quarter], name), _middle(samples[-quarter:], name)]
        for name in ("rss_mb", "threads", "descriptors")
    }
    lost = sum(count for end, count in ends.items() if end.startswith("lost ("))
    unended = sum(count for end, count in ends.items() if end in ("queued", "running"))
    doubled = sum(count - 1 for count in media.values()) + len(tally.jobs) - len({*tally.jobs})
    flat = all(last <= GROWTH * first for first, last in grew.values())
    return {
        "kills": machine.kills,
        "accepted": len(tally.jobs),
        "ends": dict(ends),
        "lost": lost,
        "unended": unended,
        "doubled": doubled,
        "rerun": rerun,
        "painted_again_though_done": again,
        "requests": dict(sorted(tally.counts.items())),
        "trouble": sorted({*tally.trouble})[:20],
        "first_and_last_quarter_of_the_last_life": grew,
        "state": idle["state"],
        "well": not (lost or unended or doubled or again or tally.trouble) and flat,
    }


def _middle(samples: list[dict[str, float]], name: str) -> float:
    values = sorted(one[name] for one in samples)
    return values[len(values) // 2]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--out", type=Path, default=None, help="where to write the figures as JSON")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = soak(chosen.minutes, Path(folder))
    text = json.dumps(figures, indent=2)
    print(text)
    if chosen.out is not None:
        chosen.out.write_text(text + "\n")
    return 0 if figures["well"] else 1


if __name__ == "__main__":
    sys.exit(main())
