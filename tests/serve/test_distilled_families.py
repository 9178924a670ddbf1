"""FLUX.1 schnell and Z-Image-Turbo behind the server, and measured beside diffusers."""

from __future__ import annotations

import base64
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from tests.parity import LIMIT, PROMPT, SEED, difference, photograph
from tests.serve.running import serving

from overpaint.bench.records import Report
from overpaint.runtime import Img2Img
from overpaint.serve.config import Config
from overpaint.serve.jobs.engines.bundles import Opening, served_bundle

SIZE = (64, 64)
FAMILIES = {"tiny_schnell": 4, "tiny_z_image": 8, "tiny_klein": 4}
"""Each with the steps that it was distilled for."""


@pytest.mark.parametrize("name", FAMILIES)
def test_a_served_mode_leaves_steps_and_guidance_to_the_checkpoint(
    name: str, request: pytest.FixtureRequest
) -> None:
    """And the picture is the Python API's."""
    bundle: Path = request.getfixturevalue(f"{name}_bundle")
    file = io.BytesIO()
    photograph(SIZE).save(file, "PNG")
    url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    body: dict[str, Any] = {"prompt": PROMPT, "image": url, "mode": "modify", "seed": SEED}
    with serving(Config(port=0), [served_bundle(bundle, Opening(device="cpu"))]) as running:
        placed = httpx.post(f"{running.url}/v1/jobs", json=body, timeout=60)
        assert placed.status_code == 202, placed.text
        ended = running.ended(placed.json()["id"], 120)
        served = running.pixels(ended["result"]["media"][0])
    told = ended["result"]["settings"]
    assert (told["steps"], told["guidance_scale"], told["strength"]) == (FAMILIES[name], 1.0, 0.5)
    with Img2Img.open(bundle, device="cpu") as pipe:  # the mode adds words of its own
        result = pipe(photograph(SIZE), told["prompt"], mode="modify", seed=SEED)
    assert difference(np.asarray(result.images[0]), served) == 0


@pytest.mark.parametrize(
    "name",
    [
        *("tiny_z_image", "tiny_klein"),
        pytest.param("tiny_schnell", marks=pytest.mark.parity),
    ],
)
def test_what_is_measured_beside_diffusers_is_the_same_work(
    name: str, request: pytest.FixtureRequest
) -> None:
    bundle: Path = request.getfixturevalue(f"{name}_bundle")
    program = "from overpaint.cli.main import main; main()"
    asked = "--size 64x64 --steps 2 --strength 1 --repeats 2 --warmup 0 --cold 1 --json"
    command = [sys.executable, "-c", program, "bench", os.fspath(bundle)]
    command += [*asked.split(), "--guidance-scale", "3", "--against", "diffusers"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = msgspec.json.decode(done.stdout, type=Report)
    [peer] = [run for run in report.runs if run.peer == "diffusers"]
    assert peer.ratio is not None, peer.why  # as it would be of other work
    assert peer.work is not None
    assert (peer.work.denoiser_calls, peer.work.guidance) == (2, True)
    assert peer.max_difference is not None
    assert peer.max_difference <= LIMIT
