"""The wheel, in an environment of its own: it repaints a photo where no torch can be imported."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from PIL import Image

HOUSE = Path(__file__).parents[1]
ABSENT = ("torch", "diffusers", "transformers", "onnx", "scipy", "safetensors")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with nothing in it but the built wheel and its `cpu` extra."""
    folder = tmp_path_factory.mktemp("host")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, HOUSE]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("overpaint-*.whl")
    venv.create(folder / "env", with_pip=True)
    pip = [folder / "env/bin/pip", "install", "--quiet", f"{wheel}[cpu]"]
    subprocess.run(pip, check=True, capture_output=True)
    return folder / "env/bin"


def test_no_reference_library_comes_with_the_wheel(host: Path) -> None:
    program = f"import importlib.util as u; print([n for n in {ABSENT!r} if u.find_spec(n)])"
    found = subprocess.run([host / "python", "-c", program], capture_output=True, text=True)
    assert found.stdout.strip() == "[]"


def test_the_wheel_carries_every_file_of_the_page(host: Path) -> None:
    page = Path("overpaint/serve/page")
    (site,) = (host.parent / "lib").glob("python*/site-packages")
    there, here = (
        {file.relative_to(folder) for file in folder.rglob("*.*") if file.suffix != ".pyc"}
        for folder in (site / page, HOUSE / "serve" / page)
    )
    assert Path("parts/easel.js") in there
    assert there == here


def test_the_light_install_repaints_a_photo(host: Path, tmp_path: Path) -> None:
    photo = HOUSE / "examples/summer.png"
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


def test_the_light_install_knows_the_architectures_that_import_fills(
    host: Path, tmp_path: Path
) -> None:
    """Refused for what it holds, and not for want of graphs: the wheel carries them."""
    empty = tmp_path / "empty.safetensors"
    empty.write_bytes((2).to_bytes(8, "little") + b"{}")
    command = [host / "overpaint", "import", empty, "--output", tmp_path / "bundle"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert "holds no model that is known here; sd1.5, sd2.1, " in done.stderr


def test_the_installed_environment_stays_small(host: Path) -> None:
    """The bar is 280 MB on disk, the embedded model included, pip and setuptools not."""
    site = next((host.parent / "lib").glob("python*/site-packages"))
    size = sum(
        path.lstat().st_size
        for path in site.rglob("*")
        if path.is_file() and not path.relative_to(site).parts[0].startswith(("pip", "setuptools"))
    )
    assert size <= 280e6, f"{size / 1e6:.0f} MB"
