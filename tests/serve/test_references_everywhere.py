"""The same reference pictures by Python, the command line and two APIs: one picture."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openai
import pytest
from PIL import Image
from tests.conftest import Adapters, BuildOnce, Seeing
from tests.parity import photograph
from tests.serve.running import Running, data_url, serving

from overpaint.bundle.errors import UsageError
from overpaint.runtime import Img2Img
from overpaint.runtime.settings import Settings
from overpaint.serve.command import opening_of, serve
from overpaint.serve.config import Config
from overpaint.serve.jobs.engines.bundles import Opening, served_bundle
from overpaint.serve.jobs.ledger import Accepted, Ledger
from overpaint.serve.jobs.protocol import Order
from overpaint.serve.jobs.providers.remote import as_json

OVERPAINT = Path(sys.executable).with_name("overpaint")
PROMPT, STEPS, STRENGTH, GUIDANCE, SEED = "a harbour", 3, 0.9, 3.0, 7
Pixels = npt.NDArray[np.uint8]


def as_png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


PHOTO, ONE, OTHER = (photograph(size) for size in ((64, 64), (90, 64), (64, 72)))


@pytest.fixture(scope="module")
def tiny(adapters: Adapters) -> Seeing:
    return adapters("sd1", "base")


@pytest.fixture(scope="module", autouse=True)
def cache(build_once: BuildOnce) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(build_once("adapter-cache", Path.mkdir)))
        yield


@pytest.fixture(scope="module")
def server(tiny: Seeing) -> Iterator[Running]:
    opening = Opening(device="cpu", ip_adapters=(tiny.adapter,))
    with serving(Config(port=0), [served_bundle(tiny.bundle, opening)]) as running:
        yield running


@pytest.fixture(scope="module")
def wanted(tiny: Seeing) -> Pixels:
    """By Python."""
    with Img2Img.open(tiny.bundle, ip_adapter=tiny.adapter, device="cpu") as pipe:
        result = pipe(
            PHOTO,
            PROMPT,
            steps=STEPS,
            strength=STRENGTH,
            guidance_scale=GUIDANCE,
            seed=SEED,
            ip_adapter_image=[ONE, OTHER],
        )
    return np.asarray(result.images[0])


def test_the_command_line_paints_it(tiny: Seeing, wanted: Pixels, tmp_path: Path) -> None:
    for name, image in (("photo", PHOTO), ("one", ONE), ("other", OTHER)):
        image.save(tmp_path / f"{name}.png")
    typed = f"run photo.png --bundle {tiny.bundle} --ip-adapter {tiny.adapter} --device cpu"
    typed += " --ip-adapter-image one.png --ip-adapter-image other.png --ip-adapter-scale 1"
    typed += f" --steps {STEPS} --strength {STRENGTH} --guidance-scale {GUIDANCE} --seed {SEED}"
    command = [OVERPAINT, *typed.split(), "-o", "out.png", PROMPT]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png")), wanted)


def test_the_native_api_paints_it(server: Running, wanted: Pixels) -> None:
    [model] = server.client.get("/v1/capabilities").json()["models"]
    assert model["references"] is True
    seen = [server.upload(as_png(ONE)), data_url(as_png(OTHER))]
    ended = server.ended(_asked(server, ip_adapter_image=seen, ip_adapter_scale=1)["id"], 60)
    assert ended["status"] == "completed", ended["error"]
    assert np.array_equal(server.pixels(ended["result"]["media"][0]), wanted)
    assert ended["result"]["settings"]["ip_adapter"] == "ip-adapter_tiny"


def test_each_picture_may_have_a_scale_and_a_mask(server: Running, wanted: Pixels) -> None:
    seen = [data_url(as_png(ONE)), data_url(as_png(OTHER))]
    masks = [data_url(as_png(Image.new("L", (64, 64), grey))) for grey in (255, 0)]
    asked = _asked(server, ip_adapter_image=seen, ip_adapter_mask=masks, ip_adapter_scale=[0.6, 1])
    ended = server.ended(asked["id"], 60)
    assert ended["status"] == "completed", ended["error"]
    assert not np.array_equal(server.pixels(ended["result"]["media"][0]), wanted)


def test_openais_first_image_is_repainted_and_the_others_are_references(
    server: Running, wanted: Pixels
) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
    answer = client.images.edit(
        image=[as_png(PHOTO), as_png(ONE), as_png(OTHER)],
        prompt=PROMPT,
        extra_body={
            "num_inference_steps": STEPS,
            "strength": STRENGTH,
            "guidance_scale": GUIDANCE,
            "seed": SEED,
        },
    )
    assert answer.data
    painted = Image.open(io.BytesIO(base64.b64decode(answer.data[0].b64_json or "")))
    assert np.array_equal(np.asarray(painted), wanted)


def test_what_contradicts_itself_is_refused_before_an_engine_runs(server: Running) -> None:
    body = {"prompt": PROMPT, "image": data_url(as_png(PHOTO)), "steps": STEPS}
    picture = data_url(as_png(ONE))
    for more, field in (
        ({"ip_adapter_image": [picture], "reference_strength": 0.3}, "reference_strength"),
        ({"ip_adapter_scale": 0.5}, "ip_adapter_scale"),
        ({"ip_adapter_image": [picture], "ip_adapter_scale": [0.5, 0.5]}, "ip_adapter_scale"),
    ):
        answer = server.client.post("/v1/jobs", json=body | more)
        assert (answer.status_code, answer.json()["error"]["field"]) == (422, field)


def test_a_model_without_an_adapter_says_so(tiny: Seeing) -> None:
    with serving(Config(port=0), [served_bundle(tiny.bundle, Opening(device="cpu"))]) as server:
        [model] = server.client.get("/v1/capabilities").json()["models"]
        assert model["references"] is False
        picture = data_url(as_png(ONE))
        body = {"prompt": PROMPT, "image": picture, "ip_adapter_image": [picture]}
        answer = server.client.post("/v1/jobs", json=body)
        assert answer.status_code == 422
        assert answer.json()["error"]["field"] == "ip_adapter_image"
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
        with pytest.raises(openai.BadRequestError, match="no adapter"):
            client.images.edit(image=[as_png(PHOTO), as_png(ONE)], prompt=PROMPT)


def test_an_adapter_that_fits_no_bundle_is_an_error_at_the_start(
    tiny: Seeing, adapters: Adapters
) -> None:
    adapter = adapters("sdxl", "base").adapter
    with pytest.raises(UsageError, match="none of the bundles"):
        serve([tiny.bundle], opening=opening_of(device="cpu", ip_adapter=[adapter]))


def test_a_job_outlives_its_server_and_travels_with_its_references(tmp_path: Path) -> None:
    order = Order(
        model="sd15",
        prompt=PROMPT,
        image=b"photo",
        ip_adapter_image=(b"one", b"other"),
        ip_adapter_mask=(b"", b"mask"),
        settings=Settings(ip_adapter_scale=(0.6, 0.2)),
    )
    job = Accepted(id="a" * 22, order=order, bundle="", provider="local", ticket="t")
    refused: list[str] = []
    Ledger(tmp_path, 10**6, refused.append).put(job)
    assert not refused
    [(_, found)] = Ledger(tmp_path, 10**6, refused.append).take_up()
    assert found is not None
    assert found.order == order
    body = as_json(order)
    assert [url.split(",")[1] for url in body["ip_adapter_image"]] == ["b25l", "b3RoZXI="]
    assert body["ip_adapter_scale"] == (0.6, 0.2)


def _asked(server: Running, **more: Any) -> dict[str, Any]:
    return server.submit(
        **{
            "prompt": PROMPT,
            "image": data_url(as_png(PHOTO)),
            "steps": STEPS,
            "strength": STRENGTH,
            "guidance_scale": GUIDANCE,
            "seed": SEED,
            "styles": {},
            **more,
        }
    )
