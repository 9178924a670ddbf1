"""Several bundles: opened on demand, within a memory budget, by name."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.serve.engine import Knobs, fake_served
from tests.serve.running import serving

from overpaint.bundle.errors import UsageError
from overpaint.serve.config import Config
from overpaint.serve.jobs.engines.models import Models

NAMES = ("a", "b", "c")


def test_a_bundle_is_opened_when_a_job_first_wants_it(folder: Path) -> None:
    knobs = {name: Knobs() for name in NAMES}
    served = [fake_served(folder, name, knobs[name]) for name in NAMES]
    with serving(Config(port=0), served) as server:
        assert [knobs[name].opened for name in NAMES] == [1, 0, 0]
        server.ended(server.submit(size="64x64", model="b", steps=1)["id"])
        assert [knobs[name].opened for name in NAMES] == [1, 1, 0]
        models = server.client.get("/v1/capabilities").json()["models"]
        assert [model["open"] for model in models] == [True, True, False]


def test_the_least_recently_used_is_closed_where_memory_is_short(folder: Path) -> None:
    knobs = {name: Knobs() for name in NAMES}
    served = [fake_served(folder, name, knobs[name], megabytes=400) for name in NAMES]
    with serving(Config(port=0, memory_budget=1000 * 10**6), served) as server:
        for name in ("b", "a", "c"):
            server.ended(server.submit(size="64x64", model=name, steps=1)["id"])
        assert [knobs[name].open_now for name in NAMES] == [1, 0, 1]
        ended = server.ended(server.submit(size="64x64", model="b", steps=1)["id"])
        assert ended["status"] == "completed"
        assert [knobs[name].open_now for name in NAMES] == [0, 1, 1]


def test_a_running_model_is_never_closed_and_nobody_starves(folder: Path) -> None:
    """Two bundles of which one fits: their jobs, handed in at once, all end."""
    knobs = {name: Knobs(step_seconds=0.01) for name in ("a", "b")}
    served = [fake_served(folder, name, knobs[name], megabytes=600) for name in knobs]
    with serving(Config(port=0, queue=32, memory_budget=1000 * 10**6), served) as server:
        jobs = [server.submit(size="64x64", model="ab"[i % 2], steps=3)["id"] for i in range(12)]
        assert {server.ended(job)["status"] for job in jobs} == {"completed"}
        assert knobs["a"].open_now + knobs["b"].open_now == 1


def test_a_bundle_that_cannot_be_opened_fails_its_jobs_and_no_others(folder: Path) -> None:
    knobs = Knobs(broken_open=RuntimeError("no such device"))
    served = [fake_served(folder, "good"), fake_served(folder, "bad", knobs)]
    with serving(Config(port=0), served) as server:
        bad = server.ended(server.submit(size="64x64", model="bad")["id"])
        assert (bad["status"], bad["error"]["code"]) == ("failed", "engine_failed")
        assert (
            server.ended(server.submit(size="64x64", model="good")["id"])["status"] == "completed"
        )


def test_a_budget_that_no_bundle_fits_is_said_at_once(folder: Path) -> None:
    with pytest.raises(UsageError, match="--memory-budget"):
        Models((fake_served(folder, "large", megabytes=500),), 100 * 10**6)


def test_two_bundles_of_one_name_are_said_at_once(folder: Path) -> None:
    with pytest.raises(UsageError, match="different names"):
        Models((fake_served(folder / "x", "same"), fake_served(folder / "y", "same")), None)


def test_no_more_is_ever_open_than_the_budget_holds(folder: Path) -> None:
    knobs = {name: Knobs() for name in "abcd"}
    served = tuple(fake_served(folder, name, knobs[name], megabytes=300) for name in knobs)
    models = Models(served, 700 * 10**6)
    most = 0

    async def work(name: str) -> None:
        nonlocal most
        for _ in range(10):
            async with models.use(name):
                most = max(most, sum(one.open_now for one in knobs.values()))
                await asyncio.sleep(0.001)

    async def all_of_them() -> None:
        await asyncio.gather(*(work(name) for name in knobs))
        await models.close()

    asyncio.run(asyncio.wait_for(all_of_them(), 30))
    assert most <= 2
    assert sum(one.open_now for one in knobs.values()) == 0
