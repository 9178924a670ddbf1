"""Engines without weights: built once, opened by every bundle of the same graphs.

They are built and run by the double of TensorRT, but where a test says that the builder is real.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.bundle.micro import make_micro
from tests.doubles.cudart_double import CudartDouble
from tests.doubles.tensorrt_here import RTX_VERSION, Here, built_for_rtx, pocket
from tests.doubles.tensorrt_here import here as here

from overpaint.bundle.errors import (
    CheckpointError,
    FeedError,
    IntegrityError,
    OutputExistsError,
    SessionError,
    UsageError,
)
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.graph.weights import Slot
from overpaint.cli.info import lines
from overpaint.engines.choose import choose, open_session
from overpaint.engines.describe import describe
from overpaint.engines.tensorrt import build as builds
from overpaint.engines.tensorrt import engine as engines
from overpaint.engines.tensorrt import filling
from overpaint.engines.tensorrt.record import Weights
from overpaint.engines.tensorrt.weightless import template_of
from overpaint.runtime import Img2Img

Array = np.ndarray[Any, Any]
PICTURE = Path(__file__).parents[3] / "examples/summer.png"
ADA = ("NVIDIA GeForce RTX 4090", (8, 9))
WAYS: tuple[Weights, ...] = ("inputs", "refit")


@pytest.fixture
def rtx(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    """A machine with an RTX card, TensorRT for RTX, and a cache folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    here.install(rtx=RTX_VERSION, cuda=CudartDouble(*ADA))
    return here


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Weights:
    """Either way of doing without weights, whichever is taken."""
    chosen: Weights = request.param
    monkeypatch.setattr(builds, "HOW", chosen)
    return chosen


@pytest.fixture
def micro(rtx: Here, tmp_path: Path) -> Bundle:
    return open_bundle(make_micro(tmp_path / "micro"))


def fine_tune(bundle: Bundle, folder: Path) -> Bundle:
    """A bundle of the same graphs with other weights."""
    shutil.copytree(bundle.folder, folder)
    manifest = json.loads((folder / "overpaint.json").read_text())
    for path in folder.rglob("*.safetensors"):
        data = path.read_bytes()
        start = 8 + struct.unpack("<Q", data[:8])[0]
        numbers = np.frombuffer(data[start:], np.float32) * np.float32(0.5)
        path.unlink()
        path.write_bytes(data[:start] + numbers.tobytes())
        entry = manifest["files"][path.relative_to(folder).as_posix()]
        entry["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "overpaint.json").write_text(json.dumps(manifest))
    return open_bundle(folder)


def feed(seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {
        "sample": rng.standard_normal((2, 4, 8, 8)).astype(np.float32),
        "timestep": np.array([seed], np.float32),
        "encoder_hidden_states": rng.standard_normal((2, 77, 8)).astype(np.float32),
    }


def agrees_with_the_processor(bundle: Bundle) -> None:
    with (
        open_session(bundle, "unet", "tensorrt-rtx") as ours,
        open_session(bundle, "unet", "cpu") as theirs,
    ):
        for seed in range(3):  # plain, recorded, replayed
            expected = theirs.run(feed(seed))["out_sample"]
            np.testing.assert_allclose(
                ours.run(feed(seed))["out_sample"], expected, rtol=1e-5, atol=1e-5
            )


# One build, every fine-tune


def test_one_build_runs_every_bundle_of_the_same_graphs(
    micro: Bundle, way: Weights, rtx: Here, tmp_path: Path
) -> None:
    other = fine_tune(micro, tmp_path / "other")
    before = sorted(micro.folder.rglob("*"))
    record = built_for_rtx(micro, weightless=True)
    assert record.weights == way
    assert sorted(micro.folder.rglob("*")) == before
    builds_so_far = rtx.trt.builds
    for bundle in (micro, other, open_bundle(micro.folder)):
        assert choose(bundle).chosen.device == "tensorrt-rtx"
        agrees_with_the_processor(bundle)
    assert rtx.trt.builds == builds_so_far
    assert rtx.trt.compiled == 1  # nor are kernels compiled again for another fine-tune


def test_a_plan_holds_no_weight(micro: Bundle, tmp_path: Path, way: Weights) -> None:
    built_for_rtx(micro, weightless=True)
    weights = (micro.folder / "unet/weights.safetensors").read_bytes()[-64:]
    plans = list((tmp_path / "cache").rglob("*.plan"))
    assert len(plans) == 4
    assert not any(weights in plan.read_bytes() for plan in plans)
    assert not list((tmp_path / "cache").rglob("*.onnx"))


def test_another_graph_is_another_engine(micro: Bundle, rtx: Here, tmp_path: Path) -> None:
    built_for_rtx(micro, weightless=True)
    pocket_bundle = pocket(tmp_path / "pocket")
    with pytest.raises(SessionError, match=r"no TensorRT for RTX plan.*--weightless in seconds"):
        choose(pocket_bundle, "tensorrt-rtx")


def test_a_bundles_own_plans_go_first(micro: Bundle) -> None:
    built_for_rtx(micro, weightless=True)
    built_for_rtx(micro)
    with open_session(open_bundle(micro.folder), "unet", "tensorrt-rtx") as session:
        ours: Any = session._engine
        assert ours._filled is None


def test_what_is_there_is_built_again_with_force_only(micro: Bundle) -> None:
    built_for_rtx(micro, weightless=True)
    with pytest.raises(OutputExistsError, match="exists already; say --force"):
        built_for_rtx(micro, weightless=True)
    built_for_rtx(micro, weightless=True, force=True)


def test_info_shows_them(micro: Bundle, rtx: Here) -> None:
    built_for_rtx(micro, weightless=True)
    said = describe(micro)
    [folder] = said.weightless
    assert (Path(folder) / "unet.plan").is_file()
    assert f"  plans        {folder}, without weights" in lines(said, micro.manifest)
    [device] = [one for one in said.devices if one.device == "tensorrt-rtx"]
    assert "; the plan without weights that its graphs have here serves compute" in device.why
    rtx.cuda.devices = 0
    rtx.install(rtx=RTX_VERSION, cuda=rtx.cuda)
    [device] = [one for one in describe(micro).devices if one.device == "tensorrt-rtx"]
    assert "; the plan without weights that its graphs have here serves compute" in device.why


def test_a_size_outside_names_the_command_that_takes_it_in(micro: Bundle) -> None:
    built_for_rtx(micro, weightless=True)
    large = {**feed(), "sample": np.zeros((2, 4, 32, 32), np.float32)}
    with (
        open_session(micro, "unet", "tensorrt-rtx") as session,
        pytest.raises(FeedError, match="--engine tensorrt-rtx --weightless --force --sizes"),
    ):
        session.run(large)


# What is refused


def test_a_plan_that_changed_is_not_loaded(micro: Bundle, tmp_path: Path) -> None:
    """It is code, and no manifest vouches for it."""
    built_for_rtx(micro, weightless=True)
    [plan] = (tmp_path / "cache").rglob("unet.plan")
    plan.write_bytes(plan.read_bytes() + b" ")
    with pytest.raises(IntegrityError, match=r"changed since it was built.*--weightless --force"):
        open_session(micro, "unet", "tensorrt-rtx")


def test_nothing_is_uploaded_before_all_is_proven(
    micro: Bundle, way: Weights, rtx: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last tensor of the file is not what the graph says."""
    built_for_rtx(micro, weightless=True)
    read: list[str] = []

    def read_as(name: str, *rest: Any) -> Array:
        read.append(name)
        raise AssertionError

    monkeypatch.setattr(filling, "read_as", read_as)
    file = micro.folder / "unet/weights.safetensors"
    data = file.read_bytes()
    file.write_bytes(data.replace(b'"text": {"dtype": "F32"', b'"text": {"dtype": "I32"'))
    with pytest.raises(
        CheckpointError, match=r"'text' is said to be F32 .* its tensor 'text' is I32"
    ):
        open_session(micro, "unet", "tensorrt-rtx")
    assert read == []
    assert rtx.cuda.in_use("device") == 0


def test_an_engine_that_lacks_a_weight_does_not_run(
    micro: Bundle, way: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NVIDIA documents: an input without an address, or a refit that is not complete."""
    built_for_rtx(micro, weightless=True)
    complete = filling.prove

    def prove(folder: Path, slots: Any, weights: Any) -> Any:
        slots.pop("mix")
        return complete(folder, slots, weights)

    monkeypatch.setattr(filling, "prove", prove)
    with pytest.raises(
        SessionError, match=r"no address is set for .*mix|differ in the weights mix"
    ):
        open_session(micro, "unet", "tensorrt-rtx").run(feed())


def test_a_weight_of_another_shape_or_dtype_than_the_engines_is_refused(
    micro: Bundle, way: Weights, rtx: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    built_for_rtx(micro, weightless=True)
    known = template_of(micro, "unet")
    reason = {
        "inputs": "its weight 'mix' is .* and the graph's is F16",
        "refit": "TensorRT refuses the weight 'mix': mix: not DataType.HALF of 16",
    }[way]
    changed = replace(known, slots={**known.slots, "mix": Slot("F16", known.slots["mix"].shape)})
    monkeypatch.setattr(engines, "template_of", lambda *which: changed)
    with pytest.raises(SessionError, match=reason):
        open_session(micro, "unet", "tensorrt-rtx")
    assert rtx.cuda.in_use("device") == 0


def test_weights_that_are_not_in_a_plan_cannot_be_streamed(micro: Bundle) -> None:
    with pytest.raises(UsageError, match="--weightless, --weight-streaming: expected one"):
        built_for_rtx(micro, weightless=True, weight_streaming=True)
    built_for_rtx(micro, weightless=True)
    decision = choose(micro, "tensorrt-rtx", gpu_memory=1 << 30)
    with pytest.raises(SessionError, match=r"--gpu-memory: .* --weight-streaming --force"):
        open_session(micro, "unet", decision)


def test_without_a_cache_folder_there_is_no_place_for_them(
    micro: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    with pytest.raises(UsageError, match="no cache folder to keep plans in"):
        built_for_rtx(micro, weightless=True)


# Memory


def test_weights_lie_on_the_gpu_once_and_go_when_the_session_closes(
    micro: Bundle, way: Weights, rtx: Here
) -> None:
    built_for_rtx(micro, weightless=True)
    session = open_session(micro, "unet", "tensorrt-rtx")
    session.run(feed())
    one = rtx.cuda.in_use("device")
    session.run({**feed(), "sample": np.zeros((2, 4, 8, 16), np.float32)})
    buffers = rtx.cuda.in_use("device") - one
    assert buffers < one
    session.close()
    assert rtx.cuda.in_use("device") == 0
    assert rtx.cuda.in_use("pinned") == 0


# Whole pictures


def test_pictures_are_those_of_the_processor(rtx: Here, tmp_path: Path, way: Weights) -> None:
    """Of weights that are stored in half precision and computed in single."""
    bundle = pocket(tmp_path / "pocket")
    built_for_rtx(bundle, "1x32x32:1x32x48:2x64x64", weightless=True)
    painted = {}
    for device in ("tensorrt-rtx", "cpu"):
        with Img2Img.open(bundle.folder, device=device) as pipe:
            [image] = pipe(PICTURE, "a lake", strength=0.5, steps=4, seed=3, size=(48, 32)).images
            painted[device] = np.asarray(image, np.int16)
    assert np.abs(painted["tensorrt-rtx"] - painted["cpu"]).max() <= 1
    assert rtx.cuda.in_use("device") == 0
