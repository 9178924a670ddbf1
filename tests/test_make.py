"""`make demo` and `make test`: one command each, from a fresh checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tests.checkout import copy_checkout
from tests.programs import needed

Process = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("fresh") / "overpaint")


def make(checkout: Path, *arguments: str, **environment: str) -> Process:
    return subprocess.run(
        [needed("make"), *arguments, f"PYTHON={sys.executable}"],
        cwd=checkout,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


def test_make_demo_repaints_the_example_without_torch(checkout: Path) -> None:
    done = make(checkout, "demo")
    assert done.returncode == 0, done.stderr
    painted = checkout / "build/demo.png"
    assert f"{painted}  seed 7, " in done.stdout
    with Image.open(checkout / "examples/summer.png") as before, Image.open(painted) as after:
        assert after.size == before.size
        assert after.convert("RGB").tobytes() != before.convert("RGB").tobytes()
    installed = [path.name for path in checkout.glob(".venv-demo/lib/python*/site-packages/*")]
    assert "numpy" in installed
    assert "torch" not in installed


def test_make_test_installs_what_the_tests_need_once(checkout: Path) -> None:
    """torch first and by its exact version, so that no CUDA comes with it; then all the rest."""
    steps = make(checkout, "--dry-run", "test", "PIP_FLAGS=--index-url INDEX").stdout
    install = f"{checkout}/.venv/bin/pip install --quiet --index-url INDEX "
    [torch, dev, clip] = [line for line in steps.splitlines() if line.startswith(install)]
    assert torch.removeprefix(install) == "torch==2.13.0"
    assert dev.removeprefix(install) == "--editable '.[dev]'"
    assert clip.removeprefix(install).startswith("--no-deps ")
    assert steps.index(clip) < steps.index("-m pytest")

    (checkout / ".venv").mkdir()
    (checkout / ".venv/installed").touch()
    again = make(checkout, "--dry-run", "test").stdout
    assert "pip install" not in again
    assert "-m pytest" in again

    now = (checkout / ".venv/installed").stat().st_mtime
    os.utime(checkout / "pyproject.toml", (now + 1, now + 1))
    assert "pip install" in make(checkout, "--dry-run", "test").stdout


def test_a_python_that_is_too_old_is_refused_before_anything_is_installed(
    checkout: Path, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.version_info = (3, 10, 1)\n")
    done = make(checkout, "test", PYTHONPATH=str(tmp_path))
    assert done.returncode != 0
    assert f"needs Python 3.11 or later, and {sys.executable} is 3.10. Name another" in done.stderr
    assert not (checkout / ".venv/bin").exists()
