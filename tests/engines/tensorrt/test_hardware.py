"""The real thing: plans built by TensorRT, run on a GPU, against the processor's pictures.

Has never run: there was no GPU where it was written. Where there is none, the reason is reported.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.doubles.tensorrt_here import built, pocket

from overpaint.bundle.errors import OverpaintError
from overpaint.engines.tensorrt.edition import FULL
from overpaint.engines.tensorrt.gpu import find_gpu
from overpaint.engines.tensorrt.libraries import import_cudart, library
from overpaint.runtime import Img2Img

PICTURE = Path(__file__).parents[3] / "examples/summer.png"


def missing() -> str:
    """What this machine lacks to build a plan; empty if it lacks nothing."""
    try:
        library(FULL)
        find_gpu(import_cudart())
    except OverpaintError as error:
        return str(error)
    return ""


pytestmark = pytest.mark.skipif(bool(missing()), reason=f"no TensorRT here: {missing()}")


@pytest.mark.parametrize("exact_version", [False, True], ids=["compatible", "exact"])
def test_the_picture_of_a_gpu_is_that_of_the_processor(tmp_path: Path, exact_version: bool) -> None:
    bundle = pocket(tmp_path / "pocket")
    built(bundle, ["1x128x128"], exact_version=exact_version)
    pictures = []
    for device in ("tensorrt", "cpu"):
        with Img2Img.open(bundle.folder, device=device) as pipe:
            for scale in (4.0, 1.0, 4.0):
                result = pipe(
                    PICTURE, "winter", strength=0.5, guidance_scale=scale, seed=1, size=(128, 128)
                )
                pictures.append(np.asarray(result.images[0], np.int16))
    for ours, theirs in zip(pictures[:3], pictures[3:], strict=True):
        assert np.abs(ours - theirs).max() <= 2
