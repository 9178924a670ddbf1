"""The wheel, in an environment of its own: it repaints a photo where no torch can be imported."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from tests.checkout import HOUSE
from tests.conftest import BuildOnce

ABSENT = ("torch", "diffusers", "transformers", "onnx", "scipy", "safetensors")
PROJECT = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]
PYTHONS = re.findall(r"Python :: (\d+\.\d+)", "\n".join(PROJECT["classifiers"]))
THIS_PYTHON = ".".join(map(str, sys.version_info[:2]))
MakeHost = Callable[[str], Path]


def interpreter(version: str) -> str | None:
    """A Python of this version on this machine: the one that runs this, on the path, or pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    on_path = shutil.which(f"python{version}")
    for python in (sys.executable, on_path, *map(str, pyenv.glob(f"{version}.*/bin/python"))):
        if python is not None:
            program = "import sys; print('%d.%d' % sys.version_info[:2])"
            asked = subprocess.run([python, "-c", program], capture_output=True, text=True)
            if asked.stdout.strip() == version:
                return python
    return None


@pytest.fixture(scope="session")
def make_host(
    build_once: BuildOnce, dist: Path, tmp_path_factory: pytest.TempPathFactory
) -> MakeHost:
    """Programs of a fresh environment with nothing in it but the wheel and its `cpu` extra."""

    def make(version: str) -> Path:
        python = interpreter(version)
        if python is None:
            pytest.skip(f"there is no Python {version} on this machine")

        def install(to: Path) -> None:
            environment = tmp_path_factory.mktemp("host")
            (wheel,) = dist.glob("*.whl")
            subprocess.run([python, "-m", "venv", "--without-pip", environment], check=True)
            pip = [sys.executable, "-m", "pip", "--python", environment / "bin/python"]
            subprocess.run([*pip, "install", "--quiet", f"{wheel}[cpu]"], check=True)
            to.symlink_to(environment)  # an environment cannot be moved to where it is looked for

        return build_once(f"host-{version}", install).resolve() / "bin"

    return make


@pytest.fixture
def host(make_host: MakeHost) -> Path:
    return make_host(THIS_PYTHON)


@pytest.mark.parametrize("version", PYTHONS, ids=lambda version: f"python{version}")
def test_the_light_install_repaints_a_photo(
    version: str, make_host: MakeHost, tmp_path: Path
) -> None:
    """On every Python that the classifiers name."""
    host, photo = make_host(version), HOUSE / "examples/summer.png"
    command = [host / "overpaint", "run", photo, "winter mountains at night"]
    run = subprocess.run(
        [*command, "--output", tmp_path / "out.png", "--seed", "7", "--json"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)
    with Image.open(photo) as before, Image.open(tmp_path / "out.png") as after:
        assert after.size == before.size
        assert after.convert("RGB").tobytes() != before.convert("RGB").tobytes()


def test_no_reference_library_comes_with_the_wheel(host: Path) -> None:
    program = f"import importlib.util as u; print([n for n in {ABSENT!r} if u.find_spec(n)])"
    found = subprocess.run([host / "python", "-c", program], capture_output=True, text=True)
    assert found.stdout.strip() == "[]"


def test_it_tells_its_version(host: Path) -> None:
    told = subprocess.run([host / "overpaint", "--version"], capture_output=True, text=True)
    assert told.stdout == f"overpaint {PROJECT['version']}\n"


def test_what_is_missing_is_asked_for_where_the_wheel_came_from(host: Path, dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    done = subprocess.run([host / "overpaint", "serve"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.endswith(f"Install it with: pip install '{wheel}[serve]'\n")


def test_the_light_install_knows_the_architectures_that_import_fills(
    host: Path, tmp_path: Path
) -> None:
    """Refused for what it holds, and not for want of graphs: the wheel carries them."""
    empty = tmp_path / "empty.safetensors"
    empty.write_bytes((2).to_bytes(8, "little") + b"{}")
    command = [host / "overpaint", "import", empty, "--output", tmp_path / "bundle"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    known = "flux.1-dev, flux.1-schnell, flux.2-klein-4b, flux.2-klein-base-4b, sd1.5, "
    assert f"holds no model that is known here; {known}" in done.stderr


def test_the_installed_environment_stays_small(host: Path) -> None:
    """The bar is 280 MB on disk, the embedded model included."""
    assert installed_mb(host) <= 280


def test_the_readme_says_how_large_it_is(host: Path, dist: Path) -> None:
    """To a tenth: what others publish grows and shrinks."""
    (wheel,) = dist.glob("*.whl")
    text = " ".join((HOUSE / "README.md").read_text().split())
    [told] = re.findall(
        r"wheel is (\d+) MB; installed with `cpu` and all that it needs, (\d+) MB\.", text
    )
    assert float(told[0]) == pytest.approx(wheel.stat().st_size / 1e6, rel=0.1)
    assert float(told[1]) == pytest.approx(installed_mb(host), rel=0.1)


def installed_mb(host: Path) -> float:
    [site] = (host.parent / "lib").glob("python*/site-packages")
    return sum(path.lstat().st_size for path in site.rglob("*") if path.is_file()) / 1e6
