# ruff: noqa: T201
"""Does Open WebUI's image edit work against this server, set up as its users do?

    python bench/studies/open_webui.py [--environment FOLDER] [--seconds 300]

Open WebUI gets an environment of its own, once, of what its server imports without its models
(USE_SLIM_DOCKER): 0.8 GB, not several. Then the embedded model is served, Open WebUI is started
with its own settings for image edits, engine OpenAI, a user is signed up, and the route behind its
chat's "edit" is called: for one picture, for two of a size, and with a file that was uploaded
there. What comes back must be ours: a PNG that says so, and whose pixels are those of our native
API for the seed that it tells.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import io
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
from PIL import Image

VERSION: Final = "0.12.4"
EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "summer.png"
PROMPT: Final = "winter mountains at night"
HEAVY: Final = {
    "accelerate",
    "chromadb",
    "einops",
    "faster-whisper",
    "onnxruntime",
    "opencv-python-headless",
    "opensearch-py",
    "pandas",
    "pyarrow",
    "rapidocr",
    "sentence-transformers",
    "sentencepiece",
    "soundfile",
    "transformers",
}
"""Its models, and what they stand on: nothing of an image edit."""


def python_of(folder: Path) -> Path:
    """The interpreter of the environment in `folder`, which is made where it is not there."""
    python, ready = folder / "bin" / "python", folder / f"open-webui-{VERSION}"
    if not ready.exists():
        print(f"making {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--no-warn-conflicts"]
        subprocess.run([*pip, "--no-deps", f"open-webui=={VERSION}"], check=True)
        subprocess.run([*pip, *_light(python)], check=True)
        ready.touch()
    return python


def _light(python: Path) -> list[str]:
    """What Open WebUI requires, without its models."""
    ask = "import importlib.metadata as m; print(*m.requires('open-webui'), sep='\\n')"
    said = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout
    wanted = [line for line in said.splitlines() if ";" not in line]
    light = [one for one in wanted if re.split(r"[^\w.-]", one)[0].lower() not in HEAVY]
    return [*light, "typer"]  # which it has of one of the heavy ones


@contextmanager
def overpaint() -> Iterator[str]:
    """The embedded model, served; its URL."""
    with tempfile.TemporaryDirectory() as results:
        command = [str(Path(sys.executable).with_name("overpaint")), "serve", "--port", "0"]
        process = subprocess.Popen(
            [*command, "--results", results], stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        try:
            yield next(
                found[1]
                for line in process.stderr
                if (found := re.search(r"listening on (http://\S+)", line))
            )
        finally:
            process.terminate()
            process.wait()


@contextmanager
def open_webui(python: Path, server: str, seconds: float) -> Iterator[httpx.Client]:
    """Open WebUI, pointed at `server`; a client of it for a user who has just signed up."""
    port = _free_port()
    with tempfile.TemporaryDirectory() as data:
        settings = {
            "ENABLE_IMAGE_EDIT": "true",
            "IMAGE_EDIT_ENGINE": "openai",
            "IMAGES_EDIT_OPENAI_API_BASE_URL": f"{server}/v1",
            "IMAGES_EDIT_OPENAI_API_KEY": "none needed",
            "USE_SLIM_DOCKER": "true",
            "DATA_DIR": data,
            "WEBUI_SECRET_KEY": secrets.token_hex(16),
            "ENABLE_OLLAMA_API": "false",
            "ENABLE_OPENAI_API": "false",
            "OFFLINE_MODE": "true",
        }
        command = [str(python.with_name("open-webui")), "serve", "--host", "127.0.0.1"]
        command += ["--port", str(port)]
        log = Path(data) / "log"
        with log.open("w") as file:
            process = subprocess.Popen(
                command, cwd=data, env=os.environ | settings, stdout=file, stderr=file
            )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=seconds) as client:
                _wait(client, process, log, seconds)
                user = {"name": "Ada", "email": "ada@example.com", "password": "ada's own 1"}
                answer = client.post("/api/v1/auths/signup", json=user)
                token = answer.raise_for_status().json()["token"]
                client.headers["Authorization"] = f"Bearer {token}"
                yield client
        finally:
            process.terminate()
            process.wait()


def _wait(client: httpx.Client, process: subprocess.Popen[bytes], log: Path, most: float) -> None:
    deadline = time.monotonic() + most
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if client.get("/health").status_code == 200:
                return
        time.sleep(1.0)
    sys.exit(f"Open WebUI did not start:\n{log.read_text()[-4000:]}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def edited(webui: httpx.Client, **body: Any) -> list[bytes]:
    """The pictures that Open WebUI keeps of an edit."""
    answer = webui.post("/api/v1/images/edit", json={"prompt": PROMPT, **body})
    if answer.status_code != 200:
        sys.exit(f"Open WebUI answered {answer.status_code}: {answer.text[:500]}")
    return [webui.get(one["url"]).raise_for_status().content for one in answer.json()]


def expect_ours(server: httpx.Client, pictures: list[bytes], photo: str) -> None:
    """Each says what it was made with, and the native API makes the same of that."""
    for number, picture in enumerate(pictures):
        image = Image.open(io.BytesIO(picture))
        said = json.loads(image.info["overpaint"])
        asked = {name: said[name] for name in ("prompt", "seed", "strength", "steps")}
        body = asked | {"image": photo, "size": "x".join(map(str, said["size"]))}
        job = server.post("/v1/jobs", json=body).raise_for_status().json()
        while job["status"] in ("queued", "running"):
            time.sleep(0.1)
            job = server.get(f"/v1/jobs/{job['id']}").json()
        again = server.get(f"/v1/media/{job['result']['media'][0]}.png").content
        same = np.array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(again))))
        size = f"{image.width}x{image.height}"
        print(f"  picture {number + 1}: {image.format} {size}, seed {said['seed']}", end=", ")
        print("the native API's pixels" if same else "OTHER PIXELS THAN THE NATIVE API'S")
        if not same or said["prompt"] != PROMPT:
            sys.exit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    home = Path.home() / ".cache" / "overpaint" / "open-webui"
    parser.add_argument("--environment", type=Path, default=home)
    parser.add_argument("--seconds", type=float, default=300.0, help="patience")
    chosen = parser.parse_args()
    python = python_of(chosen.environment)
    file = EXAMPLE.read_bytes()
    photo = "data:image/png;base64," + base64.b64encode(file).decode()
    with (
        overpaint() as url,
        httpx.Client(base_url=url, timeout=60) as server,
        open_webui(python, url, chosen.seconds) as webui,
    ):
        print("one picture, as a data URL")
        expect_ours(server, edited(webui, image=photo), photo)
        print("two of 64x64")
        expect_ours(server, edited(webui, image=[photo], n=2, size="64x64"), photo)
        print("a file that was uploaded to Open WebUI")
        upload = {"file": ("summer.png", file, "image/png")}
        kept = webui.post("/api/v1/files/?process=false", files=upload).raise_for_status().json()
        expect_ours(server, edited(webui, image=kept["id"]), photo)


if __name__ == "__main__":
    main()
