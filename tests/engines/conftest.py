"""The tiny checkpoints and their exported bundles, by family."""

from __future__ import annotations

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
def checkpoints(request: pytest.FixtureRequest) -> dict[str, Path]:
    return {family: request.getfixturevalue(name) for family, name in FAMILIES.items()}


@pytest.fixture(scope="session")
def bundles(request: pytest.FixtureRequest) -> dict[str, Path]:
    names = {family: f"{name}_bundle" for family, name in FAMILIES.items()}
    return {family: request.getfixturevalue(name) for family, name in names.items()}
