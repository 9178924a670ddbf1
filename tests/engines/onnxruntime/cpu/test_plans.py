"""Plans of ONNX Runtime: the same numbers from a graph that the engine rewrote once, for itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from overpaint.bundle.errors import BundleError, IntegrityError, UsageError
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.format.verify import verify_bundle
from overpaint.engines.choose import choose, open_session
from overpaint.engines.host import cpuinfo
from overpaint.engines.onnxruntime.cpu import plans
from overpaint.engines.onnxruntime.cpu.plans import build_plans, fitting_plan
from overpaint.runtime.default_bundle import EMBEDDED


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("plans") / "pocket"
    shutil.copytree(EMBEDDED, folder)
    build_plans(open_bundle(folder))
    return open_bundle(folder)


@pytest.fixture
def bundle(built: Bundle, tmp_path: Path) -> Bundle:
    """A copy that a test may change."""
    shutil.copytree(built.folder, tmp_path / "pocket")
    return open_bundle(tmp_path / "pocket")


def decoded(bundle: Bundle) -> np.ndarray:
    latents = np.random.default_rng(0).standard_normal((1, 4, 32, 32), np.float32)
    with open_session(bundle, "vae_decoder", "cpu") as session:
        return session.run({"latent_sample": latents})["sample"]


def test_every_component_has_a_plan_that_gives_the_same_numbers(built: Bundle) -> None:
    assert all(fitting_plan(built, name) for name in built.manifest.components)
    plain = decoded(open_bundle(EMBEDDED))
    np.testing.assert_allclose(decoded(built), plain, atol=1e-4 * np.abs(plain).max())


def test_a_fitting_plan_is_what_is_opened(bundle: Bundle) -> None:
    """The exported graph is not even looked at once its plan fits."""
    assert fitting_plan(bundle, "vae_decoder") is not None
    (bundle.folder / "vae_decoder/model.onnx").unlink()
    assert decoded(bundle).shape == (1, 3, 128, 128)


def test_the_bundle_is_whole_and_lists_its_plans(built: Bundle) -> None:
    assert verify_bundle(built.folder).problems == ()
    listed = [path for path in built.manifest.files if path.startswith("plans/")]
    weights = {path for path in listed if built.manifest.files[path].weights}
    assert {path.rpartition(".")[2] for path in listed} == {"onnx", "weights", "json"}
    assert weights == {path for path in listed if path.endswith(".weights")}


def test_info_says_that_there_are_plans(built: Bundle) -> None:
    assert "plans built for it" in choose(built, "cpu").chosen.why
    assert "plans" not in choose(open_bundle(EMBEDDED), "cpu").chosen.why


def test_building_again_replaces_the_plans_and_nothing_else(bundle: Bundle) -> None:
    build_plans(bundle)
    again = open_bundle(bundle.folder)
    assert again.manifest.files.keys() == bundle.manifest.files.keys()
    assert verify_bundle(bundle.folder).problems == ()


def test_a_plan_of_another_graph_is_not_used(bundle: Bundle) -> None:
    path = bundle.manifest.components["unet"].graph
    files = dict(bundle.manifest.files)
    files[path] = msgspec.structs.replace(files[path], sha256="0" * 64)
    other = Bundle(bundle.folder, msgspec.structs.replace(bundle.manifest, files=files))
    assert fitting_plan(other, "unet") is None
    assert fitting_plan(other, "vae_decoder") is not None


def test_a_plan_for_another_processor_or_version_is_not_used(
    built: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert plans.target("1.0.0") != plans.target("1.0.1")
    (tmp_path / "cpuinfo").write_text("flags : fpu sse2")
    monkeypatch.setattr(cpuinfo, "CPUINFO", tmp_path / "cpuinfo")
    assert fitting_plan(built, "unet") is None


def test_a_plan_that_was_changed_is_refused(bundle: Bundle) -> None:
    plan = fitting_plan(bundle, "unet")
    assert plan is not None
    with plan.open("r+b") as file:
        file.seek(100)
        file.write(b"\0\0\0\0")
    with pytest.raises(IntegrityError, match=r"unet\.onnx: changed"):
        open_bundle(bundle.folder)


def test_an_interrupted_build_leaves_the_bundle_as_it_was(bundle: Bundle) -> None:
    def interrupt(name: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_plans(bundle, interrupt)
    assert open_bundle(bundle.folder).manifest == bundle.manifest
    assert verify_bundle(bundle.folder).notes == ()


def test_where_plans_cannot_be_written_it_says_so_in_one_line(bundle: Bundle) -> None:
    shutil.rmtree(bundle.folder / "plans")
    (bundle.folder / "plans").write_text("in the way")
    with pytest.raises(UsageError, match="Copy the bundle"):
        build_plans(bundle)


def test_plans_need_a_manifest_to_be_listed_in(bundle: Bundle) -> None:
    inferred = Bundle(bundle.folder, bundle.manifest, ("family: from model_index.json",))
    with pytest.raises(BundleError, match=r"no overpaint\.json to list plans in"):
        build_plans(inferred)
