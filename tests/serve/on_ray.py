"""A front door and its replicas on a Ray cluster of this machine, whose processes tests may end.

with replicas(folder, count=2, step_seconds=0.05) as server: ...
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from prometheus_client.parser import text_string_to_metric_families
from tests.serve.engine import Knobs, fake_served
from tests.serve.running import Running, serving

from overpaint.serve.config import Config
from overpaint.serve.jobs.cluster import ray_serve
from overpaint.serve.jobs.providers.local import LocalProvider
from overpaint.serve.jobs.replicas.deploy import Scale, deployed
from overpaint.serve.jobs.resources import Resources
from overpaint.serve.telemetry.metrics import Metrics

SMALL = {"size": "64x64"}


def provider(folder: Path, job_seconds: float, knobs: Mapping[str, Any]) -> LocalProvider:
    """What a replica of the tests runs: the bundle `fake`, of NumPy; it leaves its process' id."""
    name = ray_serve().get_replica_context().replica_id.unique_id
    (folder / name).write_text(str(os.getpid()))
    served = fake_served(folder / uuid4().hex, knobs=Knobs(**knobs))
    return LocalProvider(
        Resources(
            served=(served,),
            memory_budget=None,
            queue=16,
            job_seconds=job_seconds,
            max_steps=1000,
            max_images=10,
            token=None,
            metrics=Metrics(),
        )
    )


@contextmanager
def replicas(
    folder: Path,
    *,
    address: str = "auto",
    count: int = 2,
    cpus: float = 0.01,
    queue: int = 16,
    job_seconds: float = 60.0,
    **knobs: Any,
) -> Iterator[Running]:
    """A front door before `count` replicas on the cluster at `address`, whose engines have these
    `knobs`."""
    make = partial(provider, folder, job_seconds, knobs)
    scale = Scale(least=count, most=count, cpus=cpus, drain_seconds=5.0)
    config = Config(port=0, provider=f"ray://{address}", queue=queue, folder=folder / "results")
    with deployed(address, make, 2, scale), serving(config, []) as server:
        wait_until(lambda: figure(server, "overpaint_replicas", state="running") == count)
        yield server


def figure(server: Running, name: str, **labels: str) -> float:
    """What /metrics says of it, over all series that have these labels."""
    text = server.client.get("/metrics").text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def busy(server: Running) -> list[str]:
    """The replicas whose engines work."""
    text = server.client.get("/metrics").text
    return [
        sample.labels["replica"]
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "overpaint_replica_jobs_running" and sample.value
    ]


def send(folder: Path, replica: str, sent: signal.Signals = signal.SIGKILL) -> None:
    """A signal to the process of a replica."""
    os.kill(int((folder / replica).read_text()), sent)


def wait_until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
