"""The real thing: plans built by either TensorRT, run on a GPU, against the processor's pictures.

Has never run: there was no GPU where it was written. Where there is none, the reason is reported.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from _pytest.mark.structures import ParameterSet
from tests.doubles.tensorrt_here import built, built_for_rtx, pocket

from overpaint.bundle.errors import OverpaintError
from overpaint.bundle.format.bundle import Bundle
from overpaint.engines.tensorrt.cards import USUAL
from overpaint.engines.tensorrt.edition import EDITIONS
from overpaint.engines.tensorrt.gpu import find_gpu
from overpaint.engines.tensorrt.libraries import import_cudart, library
from overpaint.runtime import Img2Img

PICTURE = Path(__file__).parents[3] / "examples/summer.png"


def missing(device: str) -> str:
    """What this machine lacks to build a plan and run it; empty if it lacks nothing."""
    try:
        library(EDITIONS[device].builder)
        capability = find_gpu(import_cudart()).compute_capability
    except OverpaintError as error:
        return str(error)
    served = device == "tensorrt" or capability in USUAL
    return "" if served else f"TensorRT for RTX does not serve compute capability {capability}"


def needing(device: str, build: Callable[[Bundle], object], name: str) -> ParameterSet:
    why = missing(device)
    return pytest.param(device, build, id=name, marks=pytest.mark.skipif(bool(why), reason=why))


@pytest.mark.parametrize(
    ("device", "build"),
    [
        needing("tensorrt", lambda bundle: built(bundle, ["1x128x128"]), "compatible"),
        needing(
            "tensorrt",
            lambda bundle: built(bundle, ["1x128x128"], exact_version=True),
            "exact",
        ),
        needing("tensorrt-rtx", lambda bundle: built_for_rtx(bundle, "64:128:256"), "rtx"),
    ],
)
def test_the_picture_of_a_gpu_is_that_of_the_processor(
    tmp_path: Path, device: str, build: Callable[[Bundle], object]
) -> None:
    bundle = pocket(tmp_path / "pocket")
    build(bundle)
    pictures = []
    for runner in (device, "cpu"):
        with Img2Img.open(bundle.folder, device=runner) as pipe:
            for scale in (4.0, 1.0, 4.0):
                result = pipe(
                    PICTURE, "winter", strength=0.5, guidance_scale=scale, seed=1, size=(128, 128)
                )
                pictures.append(np.asarray(result.images[0], np.int16))
    for ours, theirs in zip(pictures[:3], pictures[3:], strict=True):
        assert np.abs(ours - theirs).max() <= 2
