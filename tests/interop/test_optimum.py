"""Our bundles in the real optimum, which lives in an environment of its own.

`pytest -m interop` runs this; OVERPAINT_OPTIMUM_PYTHON names that environment's interpreter, and
without it `make_environment.sh` makes one.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.parity import difference, photograph

from overpaint.runtime import Img2Img

HERE = Path(__file__).parent
SIZE = (96, 64)
PROMPT, NEGATIVE, SEED = "a lighthouse in a storm, oil on canvas", "blurry", 11
PIPELINES = {
    "tiny_sd1": "ORTStableDiffusionImg2ImgPipeline",
}

pytestmark = pytest.mark.interop


@pytest.fixture(scope="session")
def optimum_python() -> str:
    """The interpreter that has optimum."""
    named = os.environ.get("OVERPAINT_OPTIMUM_PYTHON")
    if named:
        return named
    made = subprocess.run([HERE / "make_environment.sh"], stdout=subprocess.PIPE, text=True)
    assert made.returncode == 0, "make_environment.sh failed; what it said is above"
    return made.stdout.split()[-1]


def in_optimum(python: str, *arguments: object) -> None:
    command = [python, str(HERE / "in_optimum.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]


def painted_by_optimum(python: str, folder: Path, pipeline: str, to: Path) -> np.ndarray:
    photograph(SIZE).save(to / "in.png")
    options = {
        "prompt": PROMPT,
        "negative_prompt": NEGATIVE,
        "strength": 0.7,
        "num_inference_steps": 6,
        "guidance_scale": 4.0,
        "seed": SEED,
    }
    in_optimum(
        python, "paint", folder, pipeline, to / "in.png", to / "out.png", json.dumps(options)
    )
    with Image.open(to / "out.png") as image:
        return np.asarray(image.convert("RGB"))


def painted_by_us(folder: Path) -> np.ndarray:
    with Img2Img.open(folder, device="cpu") as pipe:
        result = pipe(
            photograph(SIZE),
            PROMPT,
            negative_prompt=NEGATIVE,
            strength=0.7,
            steps=6,
            guidance_scale=4.0,
            seed=SEED,
        )
    return np.asarray(result.images[0])


@pytest.mark.parametrize("family", PIPELINES)
def test_a_bundle_of_ours_paints_the_same_picture_in_optimum(
    family: str, optimum_python: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    bundle: Path = request.getfixturevalue(f"{family}_bundle")
    theirs = painted_by_optimum(optimum_python, bundle, PIPELINES[family], tmp_path)
    assert difference(theirs, painted_by_us(bundle)) <= 1
