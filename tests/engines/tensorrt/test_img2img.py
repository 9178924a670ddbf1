"""Image to image on the embedded model through all of our TensorRT code: the picture of the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.doubles.tensorrt_here import VERSION, Here, built, forget, pocket
from tests.doubles.tensorrt_here import here as here

from overpaint.bundle.errors import FeedError
from overpaint.runtime import Img2Img

PICTURE = Path(__file__).parents[3] / "examples/summer.png"
RUN: dict[str, Any] = {"strength": 0.5, "steps": 4, "seed": 3, "size": (32, 32)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The embedded bundle with plans for 32x32 and 32x48, built once."""
    with pytest.MonkeyPatch.context() as patch:
        machine = next(_machine(patch))
        bundle = pocket(tmp_path_factory.mktemp("plans") / "pocket")
        built(bundle, ["1x32x32", "1x32x48"])
        assert machine.trt.builds == len(bundle.manifest.components)
        yield bundle.folder
    forget()


def _machine(patch: pytest.MonkeyPatch) -> Iterator[Here]:
    from tests.doubles.cudart_double import CudartDouble
    from tests.doubles.tensorrt_double import TensorRTDouble

    cuda = CudartDouble()
    found = Here(patch, cuda, TensorRTDouble(cuda))
    found.install(full=VERSION)
    yield found


@pytest.fixture
def lean(folder: Path, here: Here) -> Here:
    """A host with the lean runtime alone: it cannot build, and runs what was built elsewhere."""
    here.install(lean=VERSION)
    return here


def pictures(folder: Path, device: str, *runs: dict[str, Any]) -> list[np.ndarray[Any, Any]]:
    with Img2Img.open(folder, device=device) as pipe:
        results = [pipe(PICTURE, "winter mountains at night", **{**RUN, **run}) for run in runs]
    assert all(device in name.lower() for name in results[0].devices.values())
    return [np.asarray(image, np.int16) for result in results for image in result.images]


def test_the_same_picture_as_the_processors_with_and_without_guidance_in_turn(
    folder: Path, lean: Here
) -> None:
    runs = (
        {"guidance_scale": 4.0},
        {"guidance_scale": 1.0, "size": (48, 32)},
        {"guidance_scale": 4.0, "sampler": "dpmpp-2m", "size": (48, 32)},
        {"guidance_scale": 4.0, "negative_prompt": "summer", "n": 3},
    )
    on_gpu = pictures(folder, "tensorrt", *runs)
    on_cpu = pictures(folder, "cpu", *runs)
    assert len(on_gpu) == 6
    for ours, theirs in zip(on_gpu, on_cpu, strict=True):
        assert np.abs(ours - theirs).max() <= 1
    assert lean.cuda.in_use("device") == 0
    assert lean.cuda.graphs == 0


def test_text_to_image_runs_on_the_same_sessions(folder: Path, lean: Here) -> None:
    found = []
    for device in ("tensorrt", "cpu"):
        with Img2Img.open(folder, device=device) as pipe:
            pipe(PICTURE, "a lake", **RUN)
            result = pipe.text_to_image("a lake", size=(32, 32), steps=3, seed=1)
            found.append(np.asarray(result.images[0], np.int16))
    assert np.abs(found[0] - found[1]).max() <= 1


def test_with_low_memory_each_engine_is_there_for_its_use_only(folder: Path, lean: Here) -> None:
    with Img2Img.open(folder, device="tensorrt", low_memory=True) as pipe:
        result = pipe(PICTURE, "a lake", **RUN)
        assert lean.cuda.in_use("device") == 0
    [expected] = [np.asarray(image) for image in _cpu(folder, "a lake")]
    assert np.abs(np.asarray(result.images[0], np.int16) - expected).max() <= 1


def test_pipelines_in_several_threads_take_turns(folder: Path, lean: Here) -> None:
    """They share the stream and the memory of activations, and their pictures do not mix."""
    prompts = ("a lake", "winter mountains", "a red tree")

    def paint(prompt: str) -> np.ndarray[Any, Any]:
        with Img2Img.open(folder, device="tensorrt") as pipe:
            return np.asarray(pipe(PICTURE, prompt, **RUN).images[0], np.int16)

    with ThreadPoolExecutor(len(prompts)) as pool:
        painted = list(pool.map(paint, prompts))
    for prompt, ours in zip(prompts, painted, strict=True):
        [expected] = [np.asarray(image) for image in _cpu(folder, prompt)]
        assert np.abs(ours - expected).max() <= 1, prompt


def test_auto_takes_the_plan_and_says_so(folder: Path, lean: Here) -> None:
    with Img2Img.open(folder) as pipe:
        result = pipe(PICTURE, "a lake", **RUN)
    assert set(result.devices.values()) == {"TensorRT 11.4 (lean) on NVIDIA Double"}
    assert result.decision is not None
    assert result.decision.chosen.device == "tensorrt"


def test_a_size_without_a_plan_names_those_that_have_one(folder: Path, lean: Here) -> None:
    with (
        Img2Img.open(folder, device="tensorrt") as pipe,
        pytest.raises(FeedError, match=r"plan is for pictures of 32x32, 48x32, not 128x128\. Ask"),
    ):
        pipe(PICTURE, "a lake", **{**RUN, "size": (128, 128)})


def _cpu(folder: Path, prompt: str) -> tuple[Any, ...]:
    with Img2Img.open(folder, device="cpu") as pipe:
        return pipe(PICTURE, prompt, **RUN).images
