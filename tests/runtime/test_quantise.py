"""8 bits on processors: built once, of the bundle's own runs, and only where pictures survive."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from overpaint.bundle.errors import MissingExtraError, SessionError, UsageError
from overpaint.bundle.format.open import open_bundle
from overpaint.cli.app import app
from overpaint.engines.openvino.int8 import read_record
from overpaint.runtime import Img2Img, quantise
from overpaint.runtime.default_bundle import EMBEDDED
from overpaint.runtime.image.compare import psnr
from overpaint.runtime.precision_gate import landscape


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model, with its denoiser in 8 bits."""
    folder = tmp_path_factory.mktemp("int8") / "pocket"
    shutil.copytree(EMBEDDED, folder)
    command = ["build", str(folder), "--engine", "openvino", "--precision", "int8", "--json"]
    told = CliRunner().invoke(app, command)
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["psnr_db"] >= 30
    return folder


def painted(folder: Path, precision: str) -> np.ndarray:
    with Img2Img.open(folder, device="openvino", precision=precision) as pipe:
        result = pipe(landscape(128), "winter", seed=3)
    assert result.parameters.precision == {"f32": "float32"}.get(precision, precision)
    return np.asarray(result.images[0])


def test_the_embedded_model_keeps_its_picture_in_8_bits(built: Path) -> None:
    difference = psnr(painted(built, "int8"), painted(built, "f32"))
    assert 30 <= difference < 60


def test_what_was_built_is_kept_in_a_quarter_of_the_bytes_and_told(built: Path) -> None:
    bundle = open_bundle(built)
    [weights] = [file for path, file in bundle.manifest.files.items() if "int8/unet.w" in path]
    assert weights.size < 0.35 * 9_900_000 * 2  # of 9.9 million numbers in float16
    record = read_record(bundle)
    assert record is not None
    with Img2Img.open(built, device="openvino", precision="int8") as pipe:
        assert pipe.decision is not None
        assert pipe.decision.psnr_db == record.psnr_db
    said = CliRunner().invoke(app, ["info", str(built)]).stdout
    assert f"int8: {record.psnr_db:.1f} dB" in said


def test_pictures_of_other_sizes_are_painted_too(built: Path) -> None:
    with Img2Img.open(built, device="openvino", precision="int8") as pipe:
        for size in ((72, 136), (64, 64)):
            assert pipe(landscape(64), "winter", size=size, steps=4).images[0].size == size


def test_without_a_build_the_line_to_type_is_told() -> None:
    mend = r"overpaint build .* --engine openvino --precision int8"
    with pytest.raises(SessionError, match=mend):
        Img2Img.open(EMBEDDED, device="openvino", precision="int8")


def test_pictures_that_do_not_survive_are_refused_and_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pocket"
    shutil.copytree(EMBEDDED, folder)
    monkeypatch.setattr(quantise, "BAR_DB", 90.0)
    monkeypatch.setattr(quantise, "SIDE", 64)
    with pytest.raises(SessionError, match="90 is the least; nothing was"):
        quantise.build_int8(open_bundle(folder))
    assert not (folder / "plans").exists()


def test_nncf_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    folder = tmp_path / "pocket"
    shutil.copytree(EMBEDDED, folder)
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(MissingExtraError, match="quantise"):
        quantise.build_int8(open_bundle(folder))


def test_other_precisions_are_not_built() -> None:
    command = ["build", str(EMBEDDED), "--engine", "openvino", "--precision", "bf16"]
    outcome = CliRunner().invoke(app, command)
    assert isinstance(outcome.exception, UsageError)
