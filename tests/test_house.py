"""The house: one namespace over eight roots, imports one way, a deploy side free of torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
ROOMS = ("export", "bundle", "engines", "runtime", "scale", "serve", "bench", "cli")


@pytest.mark.parametrize("room", ROOMS)
def test_no_root_closes_the_namespace(room: str) -> None:
    """An `overpaint/__init__.py` in a single root would hide the others."""
    assert (HOUSE / room / "overpaint" / room / "__init__.py").is_file()
    assert not (HOUSE / room / "overpaint" / "__init__.py").exists()


def test_imports_point_one_way() -> None:
    contracts = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=HOUSE, capture_output=True, text=True
    )
    assert contracts.returncode == 0, contracts.stdout


def test_the_deploy_side_imports_with_torch_forbidden() -> None:
    """Every module of bundle, engines, runtime and the command line, where torch cannot load."""
    names = [
        ".".join(path.relative_to(HOUSE / room).with_suffix("").parts).removesuffix(".__init__")
        for room in ("bundle", "engines", "runtime", "scale", "cli")
        for path in sorted((HOUSE / room / "overpaint").rglob("*.py"))
    ]
    program = (
        "import importlib, sys\n"
        "for absent in ('torch', 'diffusers', 'transformers', 'onnx', 'safetensors'):\n"
        "    sys.modules[absent] = None\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=os.environ)
