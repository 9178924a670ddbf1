"""The tiny checkpoints and their exported bundles, by family."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

FAMILIES = {
    "sd1": "tiny_sd1",
    "sd2": "tiny_sd2",
    "sdxl": "tiny_sdxl",
    "sdxl-refiner": "tiny_refiner",
    "sd3": "tiny_sd3",
}


@pytest.fixture(scope="session")
def bundles(request: pytest.FixtureRequest) -> dict[str, Path]:
    names = {family: f"{name}_bundle" for family, name in FAMILIES.items()}
    return {family: request.getfixturevalue(name) for family, name in names.items()}


@pytest.fixture(scope="session")
def checkpoints(
    request: pytest.FixtureRequest,
    bundles: dict[str, Path],
    build_once: Callable[[str, Callable[[Path], object]], Path],
) -> dict[str, Path]:
    """Those that the bundles were exported from, to the bit.

    A bundle may be kept from an earlier run, and a checkpoint that another process calibrated has
    other last digits: the weights are the bundle's own.
    """

    def restore(family: str, name: str, folder: Path) -> None:
        shutil.copytree(request.getfixturevalue(name), folder)
        for file in bundles[family].glob("*/*.safetensors"):
            component = "vae" if file.parent.name.startswith("vae_") else file.parent.name
            shutil.copyfile(file, folder / component / file.name)

    return {
        family: build_once(f"{family}-again", lambda to, f=family, n=name: restore(f, n, to))  # type: ignore[misc]
        for family, name in FAMILIES.items()
    }
