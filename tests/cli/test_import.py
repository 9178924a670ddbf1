"""`overpaint import`, and `overpaint run` on a checkpoint that nobody has imported yet."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.bundle.single_files import tiny_library, write_single_file
from tests.checkpoints import clip_vocabulary
from typer.testing import CliRunner, Result

from overpaint.bundle.format.manifest_file import read_manifest
from overpaint.bundle.importing.library import Library
from overpaint.cli.app import app


@pytest.fixture(scope="module")
def library(
    checkpoints: dict[str, Path], bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Library:
    merges = "".join(f"{left} {right}\n" for left, right in clip_vocabulary()[1])
    models = {"sd1": (checkpoints["sd1"], bundles["sd1"])}
    return tiny_library(tmp_path_factory.mktemp("library") / "tiny", models, merges)


@pytest.fixture(autouse=True)
def of_tiny_models(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line with a library of tiny architectures, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for module in ("import_checkpoint", "cache"):
        __import__(name := f"overpaint.bundle.importing.{module}")
        monkeypatch.setattr(sys.modules[name], "open_library", lambda: library)


@pytest.fixture
def checkpoint(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    return write_single_file(checkpoints["sd1"], tmp_path / "some-finetune.safetensors")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    coarse = np.random.default_rng(5).integers(0, 255, (8, 12, 3), np.uint8)
    Image.fromarray(coarse).resize((96, 64)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def overpaint(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def painted(photo: Path, bundle: Path, output: Path) -> bytes:
    told = ("--bundle", bundle, "-o", output, "--steps", 2, "--seed", 7, "--device", "cpu")
    done = overpaint("run", photo, "a watercolour", *told)
    assert done.exit_code == 0, done.output
    with Image.open(output) as image:
        return image.convert("RGB").tobytes()


def test_import_says_what_the_checkpoint_is_and_how_its_weights_came(
    checkpoint: Path, tmp_path: Path
) -> None:
    done = overpaint("import", checkpoint, "-o", tmp_path / "bundle", "--copy")
    assert done.exit_code == 0, done.output
    assert "some-finetune, sd1, its weights copied" in done.output.replace("\n", "")
    assert f"overpaint info {tmp_path / 'bundle'}" in done.output.replace("\n", "")
    assert read_manifest(tmp_path / "bundle").name == "some-finetune"


def test_run_imports_a_single_file_at_the_first_use_and_finds_it_at_the_second(
    checkpoint: Path, bundles: dict[str, Path], photo: Path, tmp_path: Path
) -> None:
    first = painted(photo, checkpoint, tmp_path / "first.png")
    [bundle] = (tmp_path / "cache" / "overpaint" / "bundles").iterdir()
    made = bundle.stat().st_mtime_ns
    second = painted(photo, checkpoint, tmp_path / "second.png")
    assert (bundle.stat().st_mtime_ns, second) == (made, first)
    assert first == painted(photo, bundles["sd1"], tmp_path / "exported.png")
