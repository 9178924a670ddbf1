"""`overpaint info` says what a bundle is; `overpaint verify` lists everything that is wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.bundle.micro import make_micro

from overpaint.bundle.arrays import NUMPY_DTYPES
from overpaint.bundle.errors import BundleError
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.format.verify import verify_bundle
from overpaint.engines.backends import BACKENDS
from overpaint.engines.choose import open_session
from overpaint.engines.describe import describe


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_micro(tmp_path / "micro")


def test_a_description_says_what_it_is_and_what_runs_it(folder: Path) -> None:
    told = describe(open_bundle(folder))
    assert (told.name, told.family, told.prediction) == ("micro", "sd1", "epsilon")
    assert told.runs_on == "cpu"
    unet = next(one for one in told.components if one.name == "unet")
    assert unet.inputs[:2] == ("sample float32 (batch, 4, height, width)", "timestep float32 (1,)")
    assert unet.weight_bytes == (folder / "unet/weights.safetensors").stat().st_size
    assert unet.error == pytest.approx(5e-7)
    assert [one.device for one in told.devices] == list(BACKENDS)


def test_a_file_that_two_folders_share_is_counted_once(folder: Path) -> None:
    told = describe(open_bundle(folder))
    listed = sum(file.size for file in open_bundle(folder).manifest.files.values())
    assert listed - told.total_bytes == (folder / "vae_encoder/vae.safetensors").stat().st_size


def test_a_description_is_json(folder: Path) -> None:
    told = json.loads(msgspec.json.encode(describe(open_bundle(folder))))
    assert told["components"][0]["name"] == "text_encoder"
    assert told["defaults"]["strength"] == 0.8
    cpu = list(BACKENDS).index("cpu")
    assert told["devices"][cpu] == {
        "device": "cpu",
        "available": True,
        "why": describe(open_bundle(folder)).devices[cpu].why,
        "on_request": False,
    }


def test_a_whole_bundle_verifies(folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = verify_bundle(folder, progress=lambda done, total: seen.append((done, total)))
    assert report.whole
    assert report.problems == report.notes == ()
    assert report.files == 11
    assert seen[-1][0] == seen[-1][1]


def test_every_problem_is_listed_each_on_a_line(folder: Path) -> None:
    manifest = json.loads((folder / "overpaint.json").read_text())
    manifest["defaults"]["steps"] = 0
    manifest["latents"]["scaling"] = -1
    (folder / "overpaint.json").write_text(json.dumps(manifest))
    (folder / "model_index.json").unlink()
    (folder / "tokenizer/tokenizer.json").write_text('{"version":"2.0"}')
    os.truncate(folder / "unet/weights.safetensors", 5)
    (folder / "vae_decoder/model.onnx").rename(folder / "moved")
    (folder / "vae_decoder/model.onnx").symlink_to(folder / "moved")
    report = verify_bundle(folder)
    assert not report.whole
    for said in (
        "defaults.steps: expected 1 to 1000, got 0",
        "latents.scaling: expected a positive number",
        "model_index.json: missing",
        "tokenizer/tokenizer.json: expected 18 bytes, got 17",
        "unet/weights.safetensors: expected",
        "vae_decoder/model.onnx: is a symbolic link",
    ):
        assert sum(said in problem for problem in report.problems) == 1
    assert len(report.problems) == 6
    assert report.notes == ("moved: not in the manifest; it is neither read nor checked",)


def test_a_broken_manifest_is_the_one_problem(folder: Path) -> None:
    (folder / "overpaint.json").write_text("{")
    report = verify_bundle(folder)
    assert len(report.problems) == 1
    assert "overpaint.json: expected JSON" in report.problems[0]


def test_what_is_no_bundle_cannot_be_verified(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not a bundle"):
        verify_bundle(tmp_path)


def test_an_exported_bundle_is_whole_and_its_unet_runs(tiny_sd1_bundle: Path) -> None:
    report = verify_bundle(tiny_sd1_bundle)
    assert report.problems == ()
    bundle = open_bundle(tiny_sd1_bundle)
    told = describe(bundle)
    assert all(one.error is not None and one.error < 1e-4 for one in told.components)
    with open_session(bundle, "unet") as unet:
        sizes = {"batch": 2, "latent_height": 8, "latent_width": 6, "tokens": 77}
        feed = {
            name: np.full(
                [sizes[size] if isinstance(size, str) else size for size in tensor.shape],
                0.5,
                NUMPY_DTYPES[tensor.dtype],
            )
            for name, tensor in unet.inputs.items()
        }
        assert unet.run(feed)["out_sample"].shape == (2, 4, 8, 6)
