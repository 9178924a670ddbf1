"""Whatever a bundle computes in and stores, every device that can run it paints one picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.conftest import FAMILIES, Export

from overpaint.bundle.format.open import open_bundle
from overpaint.engines.choose import candidates
from overpaint.engines.onnxruntime.cpu import halves
from overpaint.runtime import Img2Img
from overpaint.runtime.default_bundle import EMBEDDED
from overpaint.runtime.image.compare import psnr
from overpaint.runtime.precision_gate import landscape

HELD = [(family, {"dtype": "float16"}) for family in ("sd1", "sdxl")]
GRID = [
    (family, {"dtype": dtype, "store": store})
    for family in FAMILIES
    for dtype in ("float32", "float16")
    for store in ("float32", "float16", "bfloat16")
]


@pytest.fixture
def bundle(
    request: pytest.FixtureRequest, exported: Export, family: str, options: dict[str, str]
) -> Path:
    name = ".".join((family, *options.values(), "bundle"))
    return exported(name, request.getfixturevalue(FAMILIES[family]), **options)


def painted(bundle: Path, device: str) -> np.ndarray:
    with Img2Img.open(bundle, device=device, low_memory=True) as pipe:
        made = pipe(landscape(64), "winter", steps=3, strength=0.7, seed=3, size=(64, 64))
    return np.asarray(made.images[0])


def check(bundle: Path) -> None:
    """On ONNX Runtime tiny weights are all widened; they are left mapped too, as large ones are."""
    able = [one.device for one in candidates(open_bundle(bundle)) if one.available]
    assert {"cpu", "openvino"} <= set(able)
    reference = painted(bundle, "cpu")
    assert reference.std() > 5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(halves, "SMALLEST_MATRIX", 1)
        patch.setattr(halves, "SMALLEST_KERNEL", 1)
        for device in able:
            assert psnr(painted(bundle, device), reference) > 35, device


@pytest.mark.parametrize(("family", "options"), HELD, ids=str)
def test_every_device_paints_halves(bundle: Path) -> None:
    check(bundle)


def test_every_device_paints_what_is_stored_in_halves_and_computed_in_float32() -> None:
    check(EMBEDDED)


@pytest.mark.parity
@pytest.mark.parametrize(("family", "options"), GRID, ids=str)
def test_every_device_paints_every_family_in_every_precision(bundle: Path) -> None:
    check(bundle)
