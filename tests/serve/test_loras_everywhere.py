"""A LoRA's weight, asked for over each API: one picture, that of Python, on one set of engines."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import webuiapi
from PIL import Image
from tests.random_lora import random_lora
from tests.serve.api.test_live import live, pixels
from tests.serve.running import Running, data_url, png, serving

from overpaint.bundle.checkpoint.safetensors import of_array, write_safetensors
from overpaint.runtime import Img2Img
from overpaint.serve.config import Config
from overpaint.serve.jobs.engines.bundles import Opening, served_bundle
from overpaint.serve.jobs.protocol import Order
from overpaint.serve.jobs.providers.remote import as_json

Pixels = np.ndarray[Any, Any]
SIZE, PROMPT, WEIGHTS = (64, 64), "winter mountains", {"ink": 0.8, "wash": -0.5}
TAGS = "<lora:ink:0.8> <lora:wash:-0.5>"
SETTINGS: dict[str, Any] = {
    "steps": 4,
    "strength": 0.9,
    "guidance_scale": 3.0,
    "seed": 7,
    "sampler": "ddim",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two LoRAs that fit the embedded model, and one that does not."""
    folder = tmp_path_factory.mktemp("loras")
    random_lora(folder / "ink.safetensors", seed=1)
    random_lora(folder / "wash.safetensors", seed=2)
    module = "lora_unet_down_blocks_9_attentions_0_proj_in"
    factors = {"down": (4, 8), "up": (8, 4)}
    tensors = {
        f"{module}.lora_{part}.weight": of_array(np.zeros(shape, np.float32))
        for part, shape in factors.items()
    }
    write_safetensors(folder / "other.safetensors", tensors)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield tmp_path_factory.getbasetemp()


@pytest.fixture(scope="module")
def server(folder: Path, cache: Path) -> Iterator[Running]:
    served = served_bundle(None, Opening(device="cpu", lora_folder=folder))
    with serving(Config(port=0), [served]) as running:
        yield running


@pytest.fixture(scope="module")
def expected(folder: Path, cache: Path) -> Pixels:
    with Img2Img.open(device="cpu", lora_folder=folder) as pipe:
        image = Image.open(io.BytesIO(png(*SIZE)))
        result = pipe(image, PROMPT, lora=WEIGHTS, **SETTINGS)
    return np.asarray(result.images[0])


def test_capabilities_name_those_that_fit(server: Running) -> None:
    [model] = server.client.get("/v1/capabilities").json()["models"]
    assert {"ink", "wash"} <= set(model["loras"])
    assert "other" not in model["loras"]


def test_the_native_api_turns_them(server: Running, expected: Pixels) -> None:
    job = server.submit(
        image=data_url(png(*SIZE)), prompt=PROMPT, lora=WEIGHTS, styles={}, **SETTINGS
    )
    ended = server.ended(job["id"], seconds=120)
    assert np.array_equal(server.pixels(ended["result"]["media"][0]), expected)
    told = {one["name"]: one["weight"] for one in ended["result"]["settings"]["loras"]}
    assert told == WEIGHTS


def test_automatic1111s_clients_list_them_and_name_them_in_prompts(
    server: Running, expected: Pixels
) -> None:
    client = webuiapi.WebUIApi(host="127.0.0.1", port=server.port)
    assert {"ink", "wash"} <= {one["name"] for one in client.get_loras()}
    result = client.img2img(
        images=[Image.open(io.BytesIO(png(*SIZE)))],
        prompt=f"{PROMPT} {TAGS}",
        negative_prompt="",
        steps=4,
        denoising_strength=0.9,
        cfg_scale=3.0,
        seed=7,
        sampler_name="DDIM",
        width=SIZE[0],
        height=SIZE[1],
    )
    # Its negative prompt is the empty one, and not absent: to this family they are the same.
    assert np.array_equal(np.asarray(result.image), expected)
    assert f"{PROMPT} {TAGS}" in result.info["infotexts"][0]


def test_openais_clients_give_them_as_an_extra_field(server: Running, expected: Pixels) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        answer = client.images.edit(
            image=("photo.png", png(*SIZE)),
            prompt=PROMPT,
            extra_body={
                "strength": 0.9,
                "num_inference_steps": 4,
                "guidance_scale": 3.0,
                "seed": 7,
                "scheduler": "ddim",
                "lora": json.dumps(WEIGHTS),
            },
        )
    [data] = answer.data or []
    picture = Image.open(io.BytesIO(base64.b64decode(data.b64_json or "")))
    assert np.array_equal(np.asarray(picture), expected)


def test_a_live_session_turns_them_from_frame_to_frame(
    server: Running, folder: Path, cache: Path
) -> None:
    few: dict[str, Any] = {"steps": 2, "strength": 0.9, "seed": 7, "size": SIZE}
    frame = png(*SIZE)
    with (
        Img2Img.open(device="cpu", lora_folder=folder) as pipe,
        pipe.live(PROMPT, lora=WEIGHTS, **few) as run,
    ):
        turned = np.asarray(run(frame))
        run.lora = {}
        plain = np.asarray(run(frame))
    assert not np.array_equal(turned, plain)
    with live(server) as client:
        asked = {**few, "size": "{}x{}".format(*SIZE)}
        client.say(prompt=PROMPT, format="png", lora=WEIGHTS, **asked)
        assert client.line()["type"] == "ready"
        assert np.array_equal(pixels(client.repaint(frame)), turned)
        client.say(lora={"pencil": 1})
        assert "has no 'pencil'; it has" in client.hear()["message"]
        assert np.array_equal(pixels(client.repaint(frame)), turned)
        client.say(lora={})
        assert np.array_equal(pixels(client.repaint(frame)), plain)


def test_another_weight_is_another_picture_of_the_same_engines(
    server: Running, expected: Pixels
) -> None:
    def painted(**lora: float) -> Pixels:
        job = server.submit(
            image=data_url(png(*SIZE)), prompt=PROMPT, lora=lora, styles={}, **SETTINGS
        )
        return server.pixels(server.ended(job["id"], seconds=120)["result"]["media"][0])

    pictures = [painted(ink=0.8, wash=weight) for weight in (-0.5, 0.5, -0.5)]
    assert np.array_equal(pictures[0], expected)
    assert np.array_equal(pictures[0], pictures[2])
    assert not np.array_equal(pictures[0], pictures[1])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"lora": {"oil": 1.0}}, "has no 'oil'; it has "),
        ({"lora": {"ink": 2.5}}, "less than or equal to 2"),
        ({"lora": {"ink": 1.5}, "prompt": "a <lora:ink:1>", "prompt_weights": True}, "got 2.5"),
        ({"prompt": "a <lora:ink:x>", "prompt_weights": True}, "expected <lora:NAME>"),
    ],
)
def test_what_cannot_be_turned_is_refused_before_it_waits(
    body: dict[str, Any], says: str, server: Running
) -> None:
    asked = {"prompt": "red", "image": data_url(png(*SIZE)), **body}
    answer: httpx.Response = server.client.post("/v1/jobs", json=asked)
    assert answer.status_code == 422
    assert says in answer.json()["error"]["message"]


def test_an_order_is_passed_on_with_its_weights_and_without_any_as_before() -> None:
    assert as_json(Order(model="m", prompt="p", lora=WEIGHTS))["lora"] == WEIGHTS
    assert "lora" not in as_json(Order(model="m", prompt="p"))
