"""What every room's tests stand on: tiny checkpoints and their bundles, built once a run.

An export takes half a minute of tracing, so exported bundles are also kept between runs, under
a key of everything that an export depends on; `pytest --cache-clear` forgets them.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

ROOT = Path(__file__).parents[1]
BuildOnce: TypeAlias = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def build_once(tmp_path_factory: pytest.TempPathFactory) -> BuildOnce:
    """Build a folder once per test run, whichever worker comes first; the others wait for it."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder = root / "built"
    folder.mkdir(exist_ok=True)
    return lambda name, make: _build(folder / name, make)


@pytest.fixture(scope="session")
def exported(build_once: BuildOnce, pytestconfig: pytest.Config) -> Callable[[str, Path], Path]:
    """Export a checkpoint to a bundle that the test run may change: it is a copy of a kept one."""
    kept = pytestconfig.cache.mkdir("bundles") / _export_key()  # type: ignore[union-attr]
    kept.mkdir(exist_ok=True)

    def export(name: str, checkpoint: Path, **options: str) -> Path:
        from overpaint.export import export_checkpoint

        bundle = _build(kept / name, lambda to: export_checkpoint(checkpoint, to, **options))
        return build_once(name, lambda to: shutil.copytree(bundle, to))

    return export


@pytest.fixture(scope="session")
def tiny_sd1(build_once: BuildOnce) -> Path:
    """A Stable Diffusion 1 checkpoint: a diffusers folder."""
    return _checkpoint(build_once, "sd1")


@pytest.fixture(scope="session")
def tiny_sd1_bundle(tiny_sd1: Path, exported: Callable[[str, Path], Path]) -> Path:
    """Its bundle, in float32."""
    return exported("sd1.bundle", tiny_sd1)


def _checkpoint(build_once: BuildOnce, family: str) -> Path:
    from tests.checkpoints import tiny_checkpoint

    return build_once(family, lambda folder: tiny_checkpoint(family, folder))


def _build(path: Path, make: Callable[[Path], object]) -> Path:
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            beside = path.with_name(path.name + ".part")
            shutil.rmtree(beside, ignore_errors=True)
            make(beside)
            beside.rename(path)
    return path


def _export_key() -> str:
    """A hash of what an exported bundle depends on: our sources, and the exporters' versions."""
    engines = ROOT / "engines/overpaint/engines"
    sources = [
        ROOT / "tests/checkpoints.py",
        *sorted((ROOT / "export").rglob("*.py")),
        *(engines / f"{name}.py" for name in ("clip_tokenizer", "layout", "manifest")),
        *sorted((engines / "importing").glob("graph_*.py")),
        *sorted((engines / "importing").glob("wire_*.py")),
    ]
    packages = ("torch", "diffusers", "transformers", "onnx", "onnxscript", "tokenizers")
    digest = hashlib.sha256(repr([version(package) for package in packages]).encode())
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]
