"""Every worker finds a node that has room for it."""

from __future__ import annotations

import pytest

from overpaint.bundle.errors import UsageError
from overpaint.scale.workers import workers_of

ray = pytest.importorskip("ray")


def cluster(monkeypatch: pytest.MonkeyPatch, *nodes: dict[str, float]) -> None:
    alive = [{"Alive": True, "Resources": node} for node in nodes]
    gone = {"Alive": False, "Resources": {"CPU": 64.0}}
    monkeypatch.setattr(ray, "nodes", lambda: [*alive, gone])


@pytest.mark.parametrize(
    ("cpus", "count", "each"),
    [
        ((4, 4), None, (2, 4)),  # a worker a node
        ((4, 4), 2, (2, 4)),
        ((4, 4), 3, (3, 2)),
        ((2, 2, 2), 2, (2, 2)),  # never more than a node has
        ((8, 1), None, (2, 4)),
        ((3, 3), 5, (5, 1)),
    ],
)
def test_processors_are_shared_so_that_all_workers_fit(
    monkeypatch: pytest.MonkeyPatch, cpus: tuple[int, ...], count: int | None, each: tuple[int, int]
) -> None:
    cluster(monkeypatch, *({"CPU": float(n)} for n in cpus))
    workers = workers_of(count, gpu=None, patience=1)
    assert (workers.count, workers.cpus, workers.gpus) == (*each, 0)


def test_a_cluster_with_gpus_has_a_worker_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster(monkeypatch, {"CPU": 8.0, "GPU": 4.0}, {"CPU": 4.0})
    assert workers_of(None, gpu=None, patience=1).count == 4
    assert workers_of(None, gpu=False, patience=1).gpus == 0


@pytest.mark.parametrize(("count", "gpu"), [(5, False), (None, True), (1, True)])
def test_more_than_there_is_is_refused(
    monkeypatch: pytest.MonkeyPatch, count: int | None, gpu: bool
) -> None:
    cluster(monkeypatch, {"CPU": 4.0})
    with pytest.raises(UsageError, match="--workers: the Ray cluster has"):
        workers_of(count, gpu=gpu, patience=1)
