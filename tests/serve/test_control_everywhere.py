"""One control network, the same settings: two APIs, command line and Python give one picture."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import webuiapi
from PIL import Image
from tests.conftest import Tiny
from tests.parity import Pixels, photograph
from tests.serve.running import Running, serving

from overpaint.runtime import Control, Img2Img
from overpaint.serve.config import Config
from overpaint.serve.jobs.engines.bundles import Opening, served_bundle

OVERPAINT = Path(sys.executable).with_name("overpaint")
SIZE, PROMPT = (64, 64), "winter mountains at night"
RUN = {"steps": 4, "strength": 0.9, "guidance_scale": 3.0, "seed": 7, "sampler": "ddim"}
SCALE, START, END = 0.8, 0.2, 0.9


@pytest.fixture(scope="module")
def network(controlnet: Callable[..., Tiny]) -> Path:
    return controlnet("sd1", "canny").bundle


@pytest.fixture(scope="module")
def served(tiny_sd1_bundle: Path, network: Path) -> Iterator[Running]:
    opening = Opening(device="cpu", control=(network,))
    with serving(Config(port=0), [served_bundle(tiny_sd1_bundle, opening)]) as running:
        yield running


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a photo, and the map that is shown to the network."""
    folder = tmp_path_factory.mktemp("desk")
    photograph(SIZE).save(folder / "photo.png")
    photograph(SIZE).rotate(90).save(folder / "map.png")
    return folder


@pytest.fixture(scope="module")
def by_python(desk: Path, tiny_sd1_bundle: Path, network: Path) -> Callable[..., Pixels]:
    def paint(picture: str | None, preprocessor: str = "map") -> Pixels:
        shown = Control(picture and desk / picture, SCALE, START, END, preprocessor)
        with Img2Img.open(tiny_sd1_bundle, control=[network], device="cpu") as pipe:
            options: dict[str, Any] = dict(RUN)
            result = pipe(
                desk / "photo.png",
                PROMPT,
                control={"canny": shown},
                negative_prompt="fog",
                size=SIZE,
                prompt_weights=True,
                **options,
            )
        return np.asarray(result.images[0])

    return paint


def by_command_line(desk: Path, bundle: Path, network: str, *more: str) -> Pixels:
    command = f"run photo.png --bundle {bundle} --control {network} --control-scale {SCALE}"
    command += f" --control-start {START} --control-end {END} --size 64x64 --prompt-weights"
    command += " --negative-prompt fog --device cpu -o painted.png --force"
    for name, value in RUN.items():
        command += f" --{name.replace('_', '-')} {value}"
    run = subprocess.run(
        [OVERPAINT, *command.split(), PROMPT, *more], cwd=desk, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return np.asarray(Image.open(desk / "painted.png"))


def by_native_api(desk: Path, server: Running, shown: dict[str, Any]) -> Pixels:
    def url(name: str) -> str:
        return "data:image/png;base64," + base64.b64encode((desk / name).read_bytes()).decode()

    if "picture" in shown:
        shown = shown | {"picture": url(shown["picture"])}
    body = {"prompt": PROMPT, "image": url("photo.png"), "negative_prompt": "fog", **RUN}
    body |= {"size": "64x64", "prompt_weights": True, "control": {"canny": shown}}
    placed = httpx.post(f"{server.url}/v1/jobs", json=body, timeout=60)
    assert placed.status_code == 202, placed.text
    return server.pixels(server.ended(placed.json()["id"], 120)["result"]["media"][0])


def by_webuiapi(desk: Path, server: Running, unit: webuiapi.ControlNetUnit) -> Pixels:
    api = webuiapi.WebUIApi(baseurl=f"{server.url}/sdapi/v1")
    result = api.img2img(
        images=[Image.open(desk / "photo.png")],
        prompt=PROMPT,
        negative_prompt="fog",
        steps=RUN["steps"],
        denoising_strength=RUN["strength"],
        cfg_scale=RUN["guidance_scale"],
        seed=RUN["seed"],
        sampler_name="DDIM",
        width=SIZE[0],
        height=SIZE[1],
        controlnet_units=[unit],
        alwayson_scripts={},  # absent, webuiapi adds them to every later call's
    )
    return np.asarray(result.image)


def test_a_map_means_the_same_everywhere(
    desk: Path,
    served: Running,
    network: Path,
    tiny_sd1_bundle: Path,
    by_python: Callable[..., Pixels],
) -> None:
    wanted = by_python("map.png")
    numbers = {"scale": SCALE, "start": START, "end": END}
    unit = webuiapi.ControlNetUnit(
        image=Image.open(desk / "map.png"),
        model="canny [abcd1234]",
        weight=SCALE,
        guidance_start=START,
        guidance_end=END,
    )
    assert np.array_equal(
        wanted, by_command_line(desk, tiny_sd1_bundle, f"{network}={desk / 'map.png'}")
    )
    assert np.array_equal(wanted, by_native_api(desk, served, numbers | {"picture": "map.png"}))
    assert np.array_equal(wanted, by_webuiapi(desk, served, unit))


def test_edges_are_made_of_the_picture_everywhere(
    desk: Path,
    served: Running,
    network: Path,
    tiny_sd1_bundle: Path,
    by_python: Callable[..., Pixels],
) -> None:
    wanted = by_python(None, "canny")
    unit = webuiapi.ControlNetUnit(
        module="canny", model="canny", weight=SCALE, guidance_start=START, guidance_end=END
    )
    shown = {"scale": SCALE, "start": START, "end": END, "preprocessor": "canny"}
    edges = by_command_line(desk, tiny_sd1_bundle, str(network), "--control-from", "canny")
    assert np.array_equal(wanted, edges)
    assert np.array_equal(wanted, by_native_api(desk, served, shown))
    assert np.array_equal(wanted, by_webuiapi(desk, served, unit))
    assert not np.array_equal(wanted, by_python("map.png")), "the map has a say"


def test_the_lists_name_what_is_there(served: Running) -> None:
    api = webuiapi.WebUIApi(baseurl=f"{served.url}/sdapi/v1")
    assert api.controlnet_model_list() == ["canny"]
    assert api.controlnet_module_list() == ["none", "canny", "tile_resample"]
    [model] = httpx.get(f"{served.url}/v1/capabilities").json()["models"]
    assert model["controls"] == {"canny": None}


@pytest.mark.parametrize(
    ("shown", "message"),
    [
        ({"depth": {}}, "has no control network 'depth' here; it has canny"),
        ({"canny": {}}, "a map is given, as a picture"),
        ({"canny": {"preprocessor": "depth"}}, "depth maps are not made here"),
        ({"canny": {"preprocessor": "canny", "kind": 1}}, "knows one kind of picture"),
        ({"canny": {"preprocessor": "canny", "start": 0.9, "end": 0.1}}, "less than its end"),
    ],
)
def test_what_cannot_be_is_refused_before_it_is_queued(
    desk: Path, served: Running, shown: dict[str, Any], message: str
) -> None:
    photo = base64.b64encode((desk / "photo.png").read_bytes()).decode()
    body = {"prompt": "", "image": f"data:image/png;base64,{photo}", "control": shown}
    answer = httpx.post(f"{served.url}/v1/jobs", json=body)
    assert answer.status_code == 422
    assert message in answer.json()["error"]["message"]
