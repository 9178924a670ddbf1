# ruff: noqa: T201
"""How a front door scales over the replicas of a Ray cluster, measured without a cluster.

    python bench/studies/scale_serve.py sdxl --replicas 1 2 4 8 16 32 --output RESULTS
    python bench/studies/scale_serve.py sd15 --output RESULTS
    python bench/studies/scale_serve.py none --replicas 8 --engines 4 --output RESULTS
    python bench/studies/scale_serve.py --output RESULTS --figure docs/pictures/scale-serve.png

RESULTS is bench/results/scale-serve.json.

Replicas are whole, but their engines sleep as long as a GPU works: a job of `sdxl` is 30 steps in
1.47 s, one of `sd15` 20 in 0.19 s (1024x1024 and 512x512 on an H100), one of `none` has a step of
no time. Pictures and previews are made once, of the sizes that real ones have; making them is the
replicas' work, and theirs are other machines. Each client follows its job over a WebSocket, fetches
the picture, and begins the next: two a replica and one more. Front door, clients and each replica
are processes of their own on this one machine, so CPU seconds of each stand beside throughput:
they tell what a front door takes where the others are elsewhere.

`--engines` puts so many sleeping ones into each process, where memory is short. What `--output` has
already stays, but for the same case, replicas and `--events-a-second`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import httpx
import numpy as np
import psutil
from msgspec import to_builtins
from websockets.asyncio.client import connect as open_socket

from overpaint.bench.machine import this_machine
from overpaint.bundle.errors import CancelledError
from overpaint.runtime.result import StepTime, Timings
from overpaint.scale.cluster import connect
from overpaint.serve.app import create_app
from overpaint.serve.config import Config
from overpaint.serve.jobs.cluster import ray_serve
from overpaint.serve.jobs.engines.bundles import Opening, served_bundle
from overpaint.serve.jobs.engines.models import Served
from overpaint.serve.jobs.protocol import Cancelled, Event, Health, Order, Painted, Provider, Step
from overpaint.serve.jobs.providers import local
from overpaint.serve.jobs.replicas import replica
from overpaint.serve.jobs.replicas.deploy import Scale, deployed
from overpaint.serve.jobs.resources import Resources
from overpaint.serve.server import run
from overpaint.serve.telemetry.metrics import Metrics

PREVIEW_SECONDS: Final = 0.1
PREVIEW_BYTES: Final = 6_000


@dataclass(frozen=True)
class Case:
    """A job: so many steps in so many seconds, and a picture of so many bytes."""

    steps: int
    seconds: float
    picture_bytes: int


CASES: Final = {
    "sdxl": Case(30, 1.47, 1_500_000),
    "sd15": Case(20, 0.19, 450_000),
    "none": Case(1, 0.0, 1_000),
}


def sleep(
    case: Case, pipeline: object, order: Order, stop: threading.Event, tell: Callable[[Step], None]
) -> Any:
    """In the place of `repaint`: the same steps and previews, at moments that do not drift."""
    began, shown, preview = time.monotonic(), 0.0, os.urandom(PREVIEW_BYTES)
    for index in range(1, case.steps + 1):
        time.sleep(max(0.0, began + case.seconds * index / case.steps - time.monotonic()))
        if stop.is_set():
            raise CancelledError("cancelled")
        if time.monotonic() - shown >= PREVIEW_SECONDS:
            shown, preview = time.monotonic(), bytes(preview)
        tell(Step(index, case.steps, preview))
    took = time.monotonic() - began
    steps = (StepTime(engine=took / case.steps, host=0.0),) * case.steps
    return SimpleNamespace(
        timings=Timings(total=took, load=0, read=0, text=0, encode=0, decode=0, steps=steps),
        device="asleep",
        images=[SimpleNamespace(width=64, height=64)],
    )


def painted(picture: bytes, result: Any) -> Painted:
    """In the place of `as_files`."""
    return Painted(
        images=(picture,),
        seeds=(0,),
        steps_run=len(result.timings.steps),
        timings={"total": result.timings.total},
        device="asleep",
        settings={},
    )


def asleep(case: Case, engines: int, events_a_second: float) -> Provider:
    """What a replica runs: the provider that it always runs, over engines that sleep."""
    picture = os.urandom(case.picture_bytes)
    vars(local).update(repaint=partial(sleep, case), as_files=partial(painted, picture))
    replica.EVENT_SECONDS = 1 / events_a_second  # type: ignore[misc]
    real = served_bundle(None, Opening())
    opened = SimpleNamespace(close=lambda: None)
    fields = {name: getattr(real, name) for name in Served.__slots__}
    served = Served(**{**fields, "open": lambda: opened, "measure": lambda pipeline: None})
    return Several([local.LocalProvider(_resources(served)) for _ in range(engines)])


def _resources(served: Served) -> Resources:
    return Resources(
        served=(served,),
        memory_budget=None,
        queue=64,
        job_seconds=60,
        max_steps=150,
        max_images=4,
        token=None,
        metrics=Metrics(),
    )


class Several(Provider):
    """Engines of one process; a job goes to the one with the fewest."""

    name, passes_on = "several", False

    def __init__(self, inside: list[local.LocalProvider]) -> None:
        self._inside = inside
        self._at: dict[str, int] = {}

    async def start(self) -> None:
        for one in self._inside:
            await one.start()

    async def capabilities(self) -> Any:
        return await self._inside[0].capabilities()

    async def submit(self, order: Order) -> str:
        counts = [list(self._at.values()).count(index) for index in range(len(self._inside))]
        index = counts.index(min(counts))
        ticket = await self._inside[index].submit(order)
        self._at[ticket] = index
        return ticket

    async def progress(self, ticket: str) -> AsyncIterator[Event]:
        try:
            async for event in self._inside[self._at[ticket]].progress(ticket):
                yield event
        finally:
            del self._at[ticket]

    async def cancel(self, ticket: str, why: Cancelled) -> None:
        if ticket in self._at:
            await self._inside[self._at[ticket]].cancel(ticket, why)

    async def health(self) -> Health:
        return await self._inside[0].health()


def front_door(address: str, port: int, queue: int, folder: str) -> None:
    """A process of its own, as `overpaint serve --provider ray://…` is one."""
    logging.basicConfig(level=logging.WARNING)
    config = Config(port=port, provider=f"ray://{address}", queue=queue, folder=Path(folder))
    sys.exit(run(create_app(config, ()), config))


@dataclass
class Seen:
    """By the clients, from `since` on: moments at which jobs were done, seconds of each, events."""

    since: float = float("inf")
    done: list[float] = None  # type: ignore[assignment]
    seconds: list[float] = None  # type: ignore[assignment]
    events: int = 0
    refused: int = 0

    def __post_init__(self) -> None:
        self.done, self.seconds = [], []


async def client(url: str, http: httpx.AsyncClient, seen: Seen, until: float) -> None:
    """One after the other: a job, its progress, its picture."""
    while time.monotonic() < until:
        began = time.monotonic()
        answer = await http.post("/v1/jobs", json={"prompt": "a lighthouse", "size": "64x64"})
        if answer.status_code == 429:
            seen.refused += 1
            await asyncio.sleep(0.2)
            continue
        job = answer.raise_for_status().json()["id"]
        async with open_socket(
            f"{url.replace('http', 'ws')}/v1/jobs/{job}/events", compression=None, proxy=None
        ) as socket:
            async for message in socket:
                seen.events += 1
                last = cast(str, message)
        media = json.loads(last)["media"][0]
        (await http.get(f"/v1/media/{media}.png")).raise_for_status()
        now = time.monotonic()
        seen.done.append(now)
        seen.seconds.append(now - began)


def clients(url: str, count: int, warm: float, seconds: float, answers: Any) -> None:
    """A process of `count` clients, which is asked for its figures over a queue."""

    async def all_of_them() -> Seen:
        seen, began = Seen(), time.monotonic()
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as http:
            until = began + warm + seconds
            work = [asyncio.create_task(client(url, http, seen, until)) for _ in range(count)]
            await asyncio.sleep(warm)
            answers.put("warm")
            before = len(seen.done), seen.events
            since = time.monotonic()
            await asyncio.sleep(seconds)
            took = time.monotonic() - since
            done, events = len(seen.done) - before[0], seen.events - before[1]
            answers.put(
                {
                    "jobs_a_second": done / took,
                    "events_a_second": events / took,
                    "job_seconds": sorted(seen.seconds[before[0] :]),
                    "refused": seen.refused,
                }
            )
            await asyncio.gather(*work)
        return seen

    asyncio.run(all_of_them())


def cpu_of(processes: list[psutil.Process]) -> float:
    """Seconds of a core that they have taken so far."""
    total = 0.0
    for one in processes:
        times = one.cpu_times()
        total += times.user + times.system
    return total


def measure(
    address: str, case: str, count: int, engines: int, events: float, seconds: float
) -> dict[str, Any]:
    what = CASES[case]
    if what.seconds:  # whole jobs: engines that began together end together
        seconds = what.seconds * max(1, round(seconds / what.seconds))
    processes = max(1, count // engines)
    engines = count // processes
    make = partial(asleep, what, engines, events)
    scale = Scale(least=processes, most=processes, cpus=0.01)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, deployed(address, make, 2 * engines, scale):
        port = _free_port()
        door = context.Process(target=front_door, args=(address, port, 2 * count + 64, folder))
        door.start()
        url = f"http://127.0.0.1:{port}"
        _wait_for(url, processes)
        answers = context.Queue()
        users = context.Process(
            target=clients, args=(url, 2 * count + 1, 3 + 4 * what.seconds, seconds, answers)
        )
        users.start()
        assert answers.get(timeout=300) == "warm"
        own = [
            one
            for one in psutil.Process().children(recursive=True)
            if one.name().startswith("ray::ServeReplica")
        ]
        parts = {
            "front_door": [psutil.Process(door.pid)],
            "clients": [psutil.Process(users.pid)],
            "replicas": own,
        }
        before = {name: cpu_of(part) for name, part in parts.items()}
        began = time.monotonic()
        seen = answers.get(timeout=seconds + 300)
        took = time.monotonic() - began
        cores = {name: (cpu_of(part) - before[name]) / took for name, part in parts.items()}
        memory = sum(one.memory_full_info().uss for one in own) / len(own)
        users.join(120)
        door.terminate()
        door.join(60)
    times = seen.pop("job_seconds")
    return {
        "case": case,
        "replicas": count,
        "processes": processes,
        "events_limit": events,
        **{name: round(value, 3) for name, value in seen.items()},
        "ideal_jobs_a_second": round(count / what.seconds, 3) if what.seconds else None,
        "p50_s": round(statistics.median(times), 3),
        "p99_s": round(times[int(len(times) * 0.99)], 3),
        "cores": {name: round(value, 3) for name, value in cores.items()},
        "front_door_cpu_ms_a_job": round(1000 * cores["front_door"] / seen["jobs_a_second"], 2),
        "replica_mb": round(memory / 1e6),
    }


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def _wait_for(url: str, processes: int) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        try:
            text = httpx.get(f"{url}/metrics").text
            if f'overpaint_replicas{{state="running"}} {processes}.0' in text:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise TimeoutError(f"{processes} replicas did not come up")


def figure(records: list[dict[str, Any]], path: Path) -> None:
    from overpaint.bench.plot import import_matplotlib

    drawn = import_matplotlib()(figsize=(10, 4), layout="constrained")
    axes = drawn.subplots(1, 2)
    for one, (case, title) in zip(
        axes, (("sdxl", "1.47 s a job"), ("sd15", "0.19 s a job")), strict=True
    ):
        mine = sorted((r for r in records if r["case"] == case), key=lambda r: r["replicas"])
        count = np.array([r["replicas"] for r in mine])
        one.plot(count, count / CASES[case].seconds, "--", color="grey", label="linear")
        one.plot(count, [r["jobs_a_second"] for r in mine], "o-", label="measured")
        one.set(xlabel="replicas", ylabel="jobs a second", title=title, xscale="log", yscale="log")
        one.set_xticks(count, [str(n) for n in count])
        one.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("case", choices=CASES, nargs="?")
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--engines", type=int, default=1, help="sleeping ones a process")
    parser.add_argument("--events-a-second", type=float, default=1 / replica.EVENT_SECONDS)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--figure", type=Path)
    chosen = parser.parse_args()
    kept = json.loads(chosen.output.read_text()) if chosen.output and chosen.output.exists() else {}
    records: list[dict[str, Any]] = kept.get("records", [])
    if chosen.case:
        connect()
        import ray

        address = ray.get_runtime_context().gcs_address
        for count in chosen.replicas:
            record = measure(
                address,
                chosen.case,
                count,
                chosen.engines,
                chosen.events_a_second,
                chosen.seconds,
            )
            print(json.dumps(record))
            same = ("case", "replicas", "events_limit")
            records = [r for r in records if any(r[k] != record[k] for k in same)] + [record]
            if chosen.output:
                machine = to_builtins(this_machine())
                written = {"machine": machine, "records": records}
                chosen.output.write_text(json.dumps(written, indent=1) + "\n")
        ray_serve().shutdown()
    if chosen.figure:
        figure(records, chosen.figure)


if __name__ == "__main__":
    main()
