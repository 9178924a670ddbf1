"""What every room's tests stand on: tiny checkpoints and their bundles, built once a run."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@pytest.fixture(scope="session")
def build_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Build a folder once per test run, whichever worker comes first; the others wait for it."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder = root / "built"
    folder.mkdir(exist_ok=True)

    def build(name: str, make: Callable[[Path], object]) -> Path:
        path = folder / name
        with (folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                beside = folder / f"{name}.part"
                make(beside)
                beside.rename(path)
        return path

    return build


@pytest.fixture(scope="session")
def tiny_sd1(build_once: Callable[..., Path]) -> Path:
    """A Stable Diffusion 1 checkpoint: a diffusers folder."""
    from tests.checkpoints import tiny_checkpoint

    return build_once("sd1", lambda folder: tiny_checkpoint("sd1", folder))


@pytest.fixture(scope="session")
def tiny_sdxl(build_once: Callable[..., Path]) -> Path:
    """An SDXL checkpoint: two text encoders, a VAE that wants float32."""
    from tests.checkpoints import tiny_checkpoint

    return build_once("sdxl", lambda folder: tiny_checkpoint("sdxl", folder))
