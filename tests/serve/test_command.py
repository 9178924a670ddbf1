"""`overpaint serve` as it is typed: a process, a bundle, ONNX Runtime, and every face on it."""

from __future__ import annotations

import base64
import io
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
import webuiapi
from PIL import Image
from tests.serve.engine import Knobs, fake_served

from overpaint.bundle.errors import UsageError
from overpaint.runtime import Img2Img
from overpaint.serve import command
from overpaint.serve.app import create_app
from overpaint.serve.config import Config
from overpaint.serve.server import bind, run

OVERPAINT = Path(sys.executable).with_name("overpaint")
PHOTO = Path(__file__).parents[2] / "examples" / "summer.png"


def listening(process: subprocess.Popen[str]) -> str:
    """The URL that the process tells, once it is ready."""
    assert process.stderr is not None
    url = ""
    for line in process.stderr:
        if found := re.search(r"listening on (http://\S+)", line):
            url = found[1]
        if "ready:" in line:
            return url
    raise AssertionError("it ended before it was ready")


@pytest.fixture(scope="module")
def url(tiny_sd1_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    results = tmp_path_factory.mktemp("results")
    command = [OVERPAINT, "serve", tiny_sd1_bundle, "--port", "0", "--results", results]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield listening(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def photo(side: int) -> bytes:
    """The example, at a size that tiny engines take quickly."""
    file = io.BytesIO()
    Image.open(PHOTO).convert("RGB").resize((side, side)).save(file, "PNG")
    return file.getvalue()


def test_every_face_gives_the_pixels_of_the_python_api(url: str, tiny_sd1_bundle: Path) -> None:
    """curl, an OpenAI client, an A1111 script: one picture, the same settings, the same pixels."""
    picture, prompt = photo(64), "winter mountains"
    with Img2Img.open(tiny_sd1_bundle) as pipe:
        alone = pipe(
            picture,
            prompt,
            strength=0.6,
            steps=8,
            guidance_scale=4.0,
            seed=3,
            sampler="dpmpp-2m",
            size=(64, 64),
            negative_prompt="fog",
        ).images[0]
    body = {
        "image": "data:image/png;base64," + base64.b64encode(picture).decode(),
        "prompt": prompt,
        "negative_prompt": "fog",
        "strength": 0.6,
        "steps": 8,
        "guidance_scale": 4.0,
        "seed": 3,
        "sampler": "dpmpp-2m",
        "size": "64x64",
    }
    job = httpx.post(f"{url}/v1/jobs", json=body).json()
    while job["status"] in ("queued", "running"):
        time.sleep(0.05)
        job = httpx.get(f"{url}/v1/jobs/{job['id']}").json()
    native = httpx.get(f"{url}/v1/media/{job['result']['media'][0]}.png").content
    edit = openai.OpenAI(base_url=f"{url}/v1", api_key="none").images.edit(
        image=picture,
        prompt=prompt,
        size="64x64",  # type: ignore[arg-type]
        extra_body={
            "negative_prompt": "fog",
            "strength": 0.6,
            "num_inference_steps": 8,
            "guidance_scale": 4.0,
            "seed": 3,
            "scheduler": "dpmpp-2m",
        },
    )
    script = webuiapi.WebUIApi(port=int(url.rpartition(":")[2])).img2img(
        images=[Image.open(io.BytesIO(picture))],
        prompt=prompt,
        negative_prompt="fog",
        denoising_strength=0.6,
        steps=8,
        cfg_scale=4.0,
        seed=3,
        sampler_name="DPM++ 2M",
        width=64,
        height=64,
    )
    edited = base64.b64decode((edit.data or [])[0].b64_json or "")
    for painted in (Image.open(io.BytesIO(native)), Image.open(io.BytesIO(edited)), script.image):
        difference = np.abs(np.asarray(painted, int) - np.asarray(alone, int)).max()
        assert difference <= 1, f"largest difference {difference} of 255"


def test_the_model_goes_by_its_folders_name(url: str, tiny_sd1_bundle: Path) -> None:
    model = httpx.get(f"{url}/v1/capabilities").json()["models"][0]
    assert model["name"] == tiny_sd1_bundle.name
    assert "ONNX" in model["device"] or "onnx" in model["device"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "--token"),
        (["no/such/bundle"], "no/such/bundle"),
        (["--memory-budget", "much"], "--memory-budget"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(arguments: list[str], message: str) -> None:
    run = subprocess.run(
        [OVERPAINT, "serve", "--port", "0", *arguments], capture_output=True, text=True, timeout=60
    )
    assert run.returncode in (1, 2)
    assert message in run.stderr
    assert "Traceback" not in run.stderr


def test_a_port_that_is_taken_is_said() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(UsageError, match="--port"),
    ):
        bind("127.0.0.1", taken.getsockname()[1])


def test_an_engine_that_cannot_be_opened_ends_the_server(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there is no fallback, that is: it could never take a job."""
    knobs = Knobs(broken_open=RuntimeError("no device"))
    config = Config(port=0)
    assert run(create_app(config, [fake_served(folder, knobs=knobs)]), config) == 1
    assert "overpaint: RuntimeError" in capsys.readouterr().err


def test_results_go_to_the_users_state_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert command.state_folder() == Path("/home/somebody/.local/state/overpaint/results")
    monkeypatch.setenv("XDG_STATE_HOME", "/var/state")
    assert command.state_folder() == Path("/var/state/overpaint/results")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.delenv("HOME")
    assert command.state_folder() is None


def test_the_embedded_model_is_not_told_words_that_it_does_not_know(tmp_path: Path) -> None:
    assert command.styles_of(None, embedded=False).prompt["lighting"] == "soft light"
    assert command.styles_of(None, embedded=True).prompt == {}
    (table := tmp_path / "styles.json").write_text('{"prompt": {"style": "poster"}}')
    assert command.styles_of(table, embedded=True).prompt == {"style": "poster"}


def test_a_command_that_cannot_work_says_so_in_one_line() -> None:
    with pytest.raises(UsageError, match="--token"):
        command.serve(host="0.0.0.0")
    with pytest.raises(UsageError, match="--queue"):
        command.serve(queue=0)
