"""How many workers of a cluster hold engines, and what of it each has to itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from overpaint.bundle.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """`count` workers, each with so many processors and GPUs of one node to itself.

    patience: seconds that a worker may take over one item before it is replaced.
    """

    count: int
    cpus: int
    gpus: int = 0
    patience: float

    def resources(self) -> dict[str, int]:
        """As Ray's options are called."""
        return {"num_cpus": self.cpus, "num_gpus": self.gpus}


def workers_of(count: int | None, *, gpu: bool | None, patience: float) -> Workers:
    """The workers of the cluster that this process has joined.

    count: None is one for each GPU, or one for each node's processors where none are used.
    gpu: whether engines run on GPUs; None, where the cluster has any.

    Raises:
        UsageError: the cluster has not so much.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    processors = [cpus for node in nodes if (cpus := int(node.get("CPU", 0)))]
    if gpu or (gpu is None and gpus):
        _refuse(count, gpus, "GPUs")
        return Workers(count=count or gpus, cpus=1, gpus=1, patience=patience)
    _refuse(count, sum(processors), "processors")
    count = count or len(processors)
    return Workers(count=count, cpus=_share(processors, count), patience=patience)


def _refuse(count: int | None, there: int, what: str) -> None:
    if not there or (count or 0) > there:
        asked = "one worker" if count is None else f"{count} workers"
        raise UsageError(f"--workers: the Ray cluster has {there} {what}, too few for {asked}")


def _share(processors: list[int], count: int) -> int:
    """The most processors for each of `count` workers, so that all of them find a node."""
    share = min(max(processors), max(1, sum(processors) // count))
    while share > 1 and sum(cpus // share for cpus in processors) < count:
        share -= 1
    return share


def once(function: Callable[[], T], workers: Workers) -> T:
    """What `function` gives when one worker calls it. It is sent by cloudpickle."""
    import ray

    def called() -> T:
        return function()

    given: T = ray.get(ray.remote(called).options(**workers.resources()).remote())
    return given
