"""A provider of an invented kind: a scheme, a maker, and the promises; nothing else names it."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image
from tests.serve.engine import fake_served
from tests.serve.running import png, serving

from overpaint.bundle.facts import Defaults
from overpaint.runtime.image import Sides
from overpaint.serve.config import Config
from overpaint.serve.jobs import providers
from overpaint.serve.jobs.capabilities import ModelCapabilities
from overpaint.serve.jobs.protocol import (
    Cancelled,
    Event,
    Health,
    Order,
    Painted,
    Provider,
    Started,
    Step,
)
from overpaint.serve.jobs.resources import Resources

MODEL = ModelCapabilities(
    name="crayon",
    family="toy",
    sha256="c" * 64,
    sides=Sides(multiple=4, minimum=4, maximum=128),
    native=(16, 16),
    samplers={"default": ("default",), "euler": ("default",)},
    defaults=Defaults(steps=3, guidance_scale=1.0, strength=0.5),
    rounding="down",
    max_steps=1000,
    max_images=1,
)


class Toy(Provider):
    """Paints everything red, a step each hundredth of a second."""

    passes_on = False

    def __init__(self, url: str) -> None:
        self.name = url
        self.orders: dict[str, Order] = {}
        self.cancelled: dict[str, Cancelled] = {}
        self.closed = False

    async def capabilities(self) -> tuple[ModelCapabilities, ...]:
        return (MODEL,)

    async def submit(self, order: Order) -> str:
        ticket = str(len(self.orders))
        self.orders[ticket] = order
        return ticket

    async def progress(self, ticket: str) -> AsyncIterator[Event]:
        settings = self.orders[ticket].settings
        total = settings.steps or MODEL.defaults.steps
        yield Started()
        for index in range(1, total + 1):
            await asyncio.sleep(0.01)
            if ticket in self.cancelled:
                yield self.cancelled[ticket]
                return
            yield Step(index, total)
        file = io.BytesIO()
        Image.new("RGB", settings.size or MODEL.native, "red").save(file, "PNG")
        yield Painted(
            images=(file.getvalue(),),
            seeds=(settings.seed or 0,),
            steps_run=total,
            timings={"total": total / 100},
            device="a box of crayons",
            settings={},
        )

    async def cancel(self, ticket: str, why: Cancelled) -> None:
        self.cancelled[ticket] = why

    async def health(self) -> Health:
        return Health(provider=self.name, state="ready")

    async def close(self) -> bool:
        self.closed = True
        return True


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> list[Toy]:
    """Those that are made while the scheme `toy` is known."""
    made: list[Toy] = []

    def make(url: str, resources: Resources) -> Provider:
        made.append(Toy(url))
        return made[-1]

    monkeypatch.setitem(providers.REGISTRY, "toy", make)
    return made


def test_the_kinds_that_come_with_the_server() -> None:
    assert set(providers.REGISTRY) == {
        "local",
        "http",
        "https",
        "openai+http",
        "openai+https",
        "ray",
    }


def test_a_toy_to_fall_back_to_runs_what_only_it_has(toys: list[Toy], folder: Path) -> None:
    config = Config(port=0, fallbacks=("toy://x",))
    with serving(config, [fake_served(folder)]) as server:
        models = server.client.get("/v1/capabilities").json()["models"]
        assert [model["name"] for model in models] == ["fake", "crayon"]
        assert models[1]["steps"] == {"maximum": 150, "rounding": "down"}  # the server's own
        assert models[1]["sizes"]["default"] == {"width": 16, "height": 16}
        job = server.ended(server.submit(model="crayon", size="32x16", steps=2, seed=4)["id"])
        assert (job["status"], job["provider"], job["fallback"]) == (
            "completed",
            "toy://x",
            "no_model",
        )
        assert job["result"]["seeds"] == [4]
        pixels = server.pixels(job["result"]["media"][0])
        assert pixels.shape == (16, 32, 3)
        assert (pixels == (255, 0, 0)).all()
        job = server.ended(server.submit(size="32x16", steps=2)["id"])
        assert (job["model"], job["provider"]) == ("fake", "local")
    assert toys[0].closed


def test_a_toys_jobs_are_cancelled(toys: list[Toy]) -> None:
    with serving(Config(port=0, provider="toy://x"), []) as server:
        job = server.submit(size="16x16", steps=150)["id"]
        server.until(job, "running")
        assert server.client.delete(f"/v1/jobs/{job}").json()["status"] == "cancelled"
        assert list(toys[0].cancelled.values()) == [Cancelled()]


def test_what_a_toy_cannot_do_is_refused_before_it_is_asked(toys: list[Toy]) -> None:
    with serving(Config(port=0, provider="toy://x"), []) as server:
        for body, field in (
            ({"size": "18x16"}, "size"),
            ({"size": "16x16", "sampler": "heun"}, "sampler"),
            ({"size": "16x16", "n": 2}, "n"),
        ):
            answer = server.client.post("/v1/jobs", json={"prompt": "red", **body})
            assert (answer.status_code, answer.json()["error"]["field"]) == (422, field)
        answer = server.client.post("/v1/jobs", json={"prompt": "red", "model": "chalk"})
        assert answer.status_code == 404
        assert "crayon" in answer.json()["error"]["message"]
        assert toys[0].orders == {}


def test_every_face_speaks_for_a_toy(toys: list[Toy]) -> None:
    with serving(Config(port=0, provider="toy://x"), []) as server:
        [model] = server.client.get("/v1/models").json()["data"]
        assert model["id"] == "crayon"
        [checkpoint] = server.client.get("/sdapi/v1/sd-models").json()
        assert (checkpoint["title"], checkpoint["sha256"]) == ("crayon", "c" * 64)
        samplers = server.client.get("/sdapi/v1/samplers").json()
        assert [sampler["name"] for sampler in samplers] == ["Euler"]
        form = {"prompt": "red", "size": "16x16"}
        edit = server.client.post("/v1/images/edits", data=form, files={"image": png(16, 16)})
        assert edit.status_code == 200
        assert edit.headers["x-overpaint-provider"] == "toy://x"
