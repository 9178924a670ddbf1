"""Folders both ways with the real optimum, which lives in an environment of its own.

`pytest -m interop` runs this; OVERPAINT_OPTIMUM_PYTHON names that environment's interpreter, and
without it `make_environment.sh` makes one. What was shown, in figures: docs/interop.md.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.conftest import BuildOnce, Export
from tests.parity import LIMIT, difference, photograph
from typer.testing import CliRunner

from overpaint.bundle.format.open import open_bundle
from overpaint.cli.app import app
from overpaint.runtime import Img2Img

HERE = Path(__file__).parent
PROMPT, NEGATIVE, SEED = "a lighthouse in a storm, oil on canvas", "blurry", 11
STEPS, GUIDANCE, STRENGTH = 6, 4.0, 0.7
PIPELINES = {
    "tiny_sd1": "ORTStableDiffusion{}Pipeline",
    "tiny_sd2": "ORTStableDiffusion{}Pipeline",
    "tiny_sdxl": "ORTStableDiffusionXL{}Pipeline",
    "tiny_refiner": "ORTStableDiffusionXL{}Pipeline",
    "tiny_sd3": "ORTStableDiffusion3{}Pipeline",
}
CELLS = [
    (family, task)
    for family in PIPELINES
    for task in ("image to image", "text to image")
    if (family, task) != ("tiny_refiner", "text to image")  # it knows image to image alone
]
# A UNet of optimum's takes latents that halve evenly on every level; ours take any.
SIZES = {"ours": (96, 64), "optimum's": (128, 64)}

pytestmark = pytest.mark.interop


@dataclass(frozen=True, slots=True)
class Family:
    """One checkpoint as both made it, and what optimum painted with either."""

    folders: dict[str, Path]
    paintings: Path

    def painting(self, whose: str, task: str) -> Path:
        return self.paintings / f"{whose}, {task}.png"


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


@pytest.fixture
def family(
    name: str,
    optimum_python: str,
    build_once: BuildOnce,
    exported: Export,
    request: pytest.FixtureRequest,
) -> Family:
    """The checkpoint of a family, saved by the libraries that optimum wants, as ONNX by both."""
    checkpoint: Path = request.getfixturevalue(name)
    published = build_once(
        f"{name}.published", lambda to: in_optimum(optimum_python, "publish", checkpoint, to)
    )
    folders = {
        "ours": exported(f"{name}.published.bundle", published),
        "optimum's": build_once(
            f"{name}.optimum", lambda to: in_optimum(optimum_python, "export", published, to)
        ),
    }

    def paint(to: Path) -> None:
        to.mkdir()
        jobs = json.dumps([*_jobs(name, folders, to)])
        in_optimum(optimum_python, "paint", jobs)

    return Family(folders, build_once(f"{name}.paintings", paint))


def _jobs(name: str, folders: dict[str, Path], to: Path) -> Iterator[dict[str, Any]]:
    options = {
        "prompt": PROMPT,
        "negative_prompt": NEGATIVE,
        "num_inference_steps": STEPS,
        "guidance_scale": GUIDANCE,
    }
    for whose, folder in folders.items():
        width, height = SIZES[whose]
        photograph((width, height)).save(to / f"{whose}.png")
        for task in (task for one, task in CELLS if one == name):
            image = task == "image to image"
            sized = not image or name == "tiny_sd3"  # which would paint 1024x1024 of its own accord
            yield {
                "folder": str(folder),
                "pipeline": PIPELINES[name].format("Img2Img" if image else ""),
                "image": str(to / f"{whose}.png") if image else None,
                "output": str(to / f"{whose}, {task}.png"),
                "seed": SEED,
                "options": options
                | ({"strength": STRENGTH} if image else {})
                | ({"width": width, "height": height} if sized else {}),
            }


def painted_by_us(folder: Path, size: tuple[int, int], task: str) -> np.ndarray:
    common: dict[str, Any] = {
        "negative_prompt": NEGATIVE,
        "steps": STEPS,
        "guidance_scale": GUIDANCE,
        "seed": SEED,
    }
    with Img2Img.open(folder, device="cpu") as pipe:
        if task == "text to image":
            result = pipe.text_to_image(PROMPT, size=size, **common)
        else:
            result = pipe(photograph(size), PROMPT, strength=STRENGTH, **common)
    return np.asarray(result.images[0])


@pytest.mark.parametrize("whose", SIZES)
@pytest.mark.parametrize(("name", "task"), CELLS)
def test_a_folder_paints_the_same_picture_in_optimum_and_here(
    name: str, task: str, whose: str, family: Family
) -> None:
    """A bundle of ours opens in optimum, and a folder that optimum exported opens here."""
    assert (family.folders[whose] / "overpaint.json").exists() == (whose == "ours")
    with Image.open(family.painting(whose, task)) as image:
        theirs = np.asarray(image.convert("RGB"))
    assert theirs.std() > 10, "a picture, not a grey field"
    apart = difference(theirs, painted_by_us(family.folders[whose], SIZES[whose], task))
    print(f"{name}, {whose} folder, {task}: {apart}/255 at most")
    assert apart <= LIMIT


@pytest.mark.parametrize("name", PIPELINES)
def test_a_folder_of_optimums_is_described_with_what_was_inferred(
    name: str, family: Family
) -> None:
    folder = family.folders["optimum's"]
    told = CliRunner().invoke(app, ["info", str(folder)]).output
    for said in (
        "no overpaint.json: nothing vouches for these files",
        f"family {open_bundle(folder).manifest.family}, from its components",
        "built from vocab.json and merges.txt",
        "no limits declared",
        "runs on      cpu",
    ):
        assert said in told
    assert "it samples inside the graph" not in told, "this optimum writes the posterior's moments"
