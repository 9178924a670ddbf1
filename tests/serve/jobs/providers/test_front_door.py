"""A server without an engine, in front of one that has them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
import webuiapi
from PIL import Image
from tests.serve.engine import Knobs, fake_served
from tests.serve.running import Running, data_url, png, serving

from overpaint.bundle.errors import UsageError
from overpaint.serve import command
from overpaint.serve.config import Config
from overpaint.serve.jobs.protocol import HOP

NOWHERE = "http://127.0.0.1:9"


@contextmanager
def front_door(folder: Path, knobs: Knobs | None = None) -> Iterator[tuple[Running, Running]]:
    """A front door, and the server of two bundles behind it."""
    with ExitStack() as stack:
        served = [fake_served(folder, name, knobs) for name in ("one", "two")]
        behind = stack.enter_context(serving(Config(port=0), served))
        yield stack.enter_context(serving(Config(port=0, provider=behind.url), [])), behind


def test_jobs_run_behind_it_and_nothing_is_called_a_fallback(folder: Path) -> None:
    body = {"prompt": "red", "image": data_url(png()), "strength": 0.7, "steps": 6, "seed": 5}
    with front_door(folder) as (door, behind):
        answer = door.client.post("/v1/jobs", json=body)
        assert answer.headers["x-overpaint-provider"] == behind.url
        assert "x-overpaint-fallback" not in answer.headers
        job = door.ended(answer.json()["id"])
        assert (job["status"], job["model"], job["tried"]) == ("completed", "one", [])
        direct = behind.ended(behind.client.post("/v1/jobs", json=body).json()["id"])
        assert np.array_equal(
            door.pixels(job["result"]["media"][0]), behind.pixels(direct["result"]["media"][0])
        )


def test_it_can_what_the_server_behind_it_can(folder: Path) -> None:
    with front_door(folder) as (door, behind):
        here, there = (one.client.get("/v1/capabilities").json() for one in (door, behind))
        for model in there["models"]:
            model["device"] = model["device"] and f"{model['device']} at {behind.url}"
        assert there["limits"].pop("live_sessions") > 0
        assert here["limits"].pop("live_sessions") == 0  # live is where the engines are
        assert here == there
        assert door.client.get("/v1/models").json() == behind.client.get("/v1/models").json()
        for path in ("sd-models", "samplers", "options"):
            path = f"/sdapi/v1/{path}"
            assert door.client.get(path).json() == behind.client.get(path).json()
        ready = door.client.get("/readyz").json()
        assert (ready["state"], ready["providers"][0]["provider"]) == ("ready", behind.url)


def test_it_refuses_what_the_server_behind_it_would(folder: Path) -> None:
    with front_door(folder) as (door, _):
        for wrong in ({"size": "65x64"}, {"size": "64x64", "sampler": "flow-euler"}):
            answer = door.client.post("/v1/jobs", json={"prompt": "red", **wrong})
            assert answer.status_code == 422
            assert answer.json()["error"]["field"] in wrong
        answer = door.client.post("/v1/jobs", json={"prompt": "red", "model": "three"})
        assert answer.status_code == 404
        assert "one, two" in answer.json()["error"]["message"]


def test_other_peoples_clients_work_through_it(folder: Path) -> None:
    with front_door(folder) as (door, _):
        client = openai.OpenAI(base_url=f"{door.url}/v1", api_key="none")
        assert client.models.retrieve("two").id == "two"
        edit = client.images.edit(image=png(), prompt="red", model="two")
        assert (edit.data or [])[0].b64_json
        script = webuiapi.WebUIApi(port=door.port)
        script.util_set_model("two")
        result = script.txt2img(prompt="red", width=64, height=64, steps=2)
        assert isinstance(result.image, Image.Image)
        assert script.get_options()["sd_model_checkpoint"] == "two"


def test_a_job_is_cancelled_behind_it(folder: Path) -> None:
    knobs = Knobs(step_seconds=0.05)
    with front_door(folder, knobs) as (door, behind):
        job = door.submit(size="64x64", steps=150)["id"]
        door.until(job, "running")
        assert door.client.delete(f"/v1/jobs/{job}").json()["status"] == "cancelled"
        behind.until(behind.submit(size="64x64", steps=1)["id"], "completed")
        assert knobs.count("unet") < 100


def test_while_nobody_is_behind_it_it_says_so() -> None:
    with serving(Config(port=0, provider=NOWHERE), [], ready=False) as door:
        assert door.client.get("/readyz").json()["state"] == "unhealthy"
        for answer in (
            door.client.post("/v1/jobs", json={"prompt": "red", "size": "64x64"}),
            door.client.get("/v1/capabilities"),
        ):
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "unreachable"
            assert NOWHERE in answer.json()["error"]["message"]
            assert answer.headers["retry-after"]
        assert door.client.get("/v1/models").json()["error"]["type"] == "server_error"


def test_what_was_passed_on_once_is_not_passed_on_again(folder: Path) -> None:
    with front_door(folder) as (door, _):
        headers = {HOP: "1"}
        body = {"prompt": "red", "size": "64x64"}
        for answer in (
            httpx.post(f"{door.url}/v1/jobs", json=body, headers=headers),
            httpx.get(f"{door.url}/v1/capabilities", headers=headers),
        ):
            assert answer.status_code == 503
            assert "no engines of its own" in answer.json()["error"]["message"]
        ready = httpx.get(f"{door.url}/readyz", headers=headers)
        assert (ready.status_code, ready.json()["state"]) == (503, "unhealthy")


def test_this_process_may_be_the_fallback(folder: Path) -> None:
    config = Config(port=0, provider=NOWHERE, fallbacks=("local",))
    with serving(config, [fake_served(folder)]) as server:
        job = server.ended(server.submit(size="64x64")["id"])
        assert (job["status"], job["provider"], job["fallback"]) == (
            "completed",
            "local",
            "unreachable",
        )


def test_bundles_that_nobody_would_run_are_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="--fallback local"):
        command.serve([folder], port=0, provider=NOWHERE)
