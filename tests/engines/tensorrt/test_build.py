"""Building plans: what is asked of TensorRT, what lies in the bundle afterwards, and stopping."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.bundle.micro import make_micro
from tests.bundle.micro_manifest import good
from tests.doubles.tensorrt_double import MAGIC
from tests.doubles.tensorrt_here import VERSION, Here, built, pocket
from tests.doubles.tensorrt_here import here as here

from overpaint.bundle.errors import (
    BundleError,
    CancelledError,
    MissingExtraError,
    OutputExistsError,
    SessionError,
    UsageError,
)
from overpaint.bundle.format import plans
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.manifest import Manifest
from overpaint.bundle.format.manifest_file import parse
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.format.verify import verify_bundle
from overpaint.bundle.installed import install_command
from overpaint.engines.tensorrt import build as builds
from overpaint.engines.tensorrt import estimate
from overpaint.engines.tensorrt.monitor import Phases
from overpaint.engines.tensorrt.shapes import (
    Extent,
    PictureShape,
    default_shape,
    exact_profiles,
)

TARGET = "trt11.4-sm90-linux-x86_64"


@pytest.fixture
def micro(here: Here, tmp_path: Path) -> Bundle:
    return open_bundle(make_micro(tmp_path / "micro"))


def header(bundle: Bundle, component: str, target: str = TARGET) -> dict[str, Any]:
    """What the double wrote down of a plan."""
    plan = bundle.folder / f"plans/{target}/{component}.plan"
    read: dict[str, Any] = json.loads(plan.read_bytes()[len(MAGIC) :].partition(b"\n")[0])
    return read


def state(bundle: Bundle) -> dict[str, bytes]:
    """Every file of a bundle."""
    files = [path for path in bundle.folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(bundle.folder)): path.read_bytes() for path in files}


# What is in the bundle afterwards


def test_plans_are_in_the_bundle_with_their_hashes(micro: Bundle) -> None:
    record = built(micro)
    files = open_bundle(micro.folder).manifest.files
    added = sorted(set(files) - set(micro.manifest.files))
    names = [*(f"{name}.plan" for name in micro.manifest.components), "build.json", "timing.cache"]
    assert added == sorted(f"plans/{TARGET}/{name}" for name in names)
    for path in added:
        content = (micro.folder / path).read_bytes()
        assert files[path].sha256 == hashlib.sha256(content).hexdigest()
        assert not files[path].weights  # hashed at every open: it is code
    assert record.target == TARGET
    report = verify_bundle(micro.folder)
    assert report.whole
    assert report.notes == ()


def test_the_record_says_what_was_done(micro: Bundle) -> None:
    record = built(micro, ["1x64x64", "2x64x128"])
    written = json.loads((micro.folder / f"plans/{TARGET}/build.json").read_bytes())
    assert written == json.loads(msgspec.json.encode(record))
    assert (record.tensorrt, record.version_compatible) == (VERSION, True)
    assert (record.compute_capabilities, record.gpu) == (("9.0",), "NVIDIA Double")
    assert record.shapes == ("1x64x64", "2x64x128")
    unet = record.plans["unet"]
    assert unet.size == (micro.folder / f"plans/{TARGET}/unet.plan").stat().st_size
    assert [p["sample"].usual for p in unet.profiles] == [
        (1, 4, 8, 8),
        (2, 4, 8, 8),
        (2, 4, 8, 16),
        (4, 4, 8, 16),
    ]
    assert unet.activation_bytes == 4 * 4096


def test_a_plan_that_changed_is_noticed_before_it_is_loaded(micro: Bundle) -> None:
    built(micro)
    plan = micro.folder / f"plans/{TARGET}/unet.plan"
    plan.write_bytes(plan.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match=r"unet.plan: changed: expected SHA-256"):
        open_bundle(micro.folder)


def test_plans_are_version_compatible_unless_an_exact_one_is_asked_for(micro: Bundle) -> None:
    built(micro)
    exact = built(open_bundle(micro.folder), exact_version=True)
    assert exact.target == f"trt{VERSION}-sm90-linux-x86_64"  # both may lie in one bundle
    assert header(micro, "unet")["compatible"]
    assert not header(micro, "unet", exact.target)["compatible"]
    assert (exact.version_compatible, exact.flags) == (False, ())


# Sizes


def test_what_all_profiles_agree_on_is_static(micro: Bundle) -> None:
    """With one size, only the denoiser's batch is left open, for guidance on and off."""
    built(micro)
    assert header(micro, "unet")["shapes"] == {
        "sample": [-1, 4, 8, 8],
        "timestep": [1],
        "encoder_hidden_states": [-1, 77, 8],
    }
    assert header(micro, "vae_encoder")["shapes"] == {"sample": [1, 3, 64, 64]}
    assert header(micro, "text_encoder")["shapes"] == {"input_ids": [1, 77]}


def test_every_profile_is_of_one_exact_size(micro: Bundle) -> None:
    built(micro, ["1x64x64", "1x64x128"])
    assert header(micro, "unet")["shapes"]["sample"] == [-1, 4, 8, -1]
    for profile in header(micro, "unet")["profiles"]:
        assert all(low == usual == high for low, usual, high in profile.values())
    assert len(header(micro, "unet")["profiles"]) == 4
    assert len(header(micro, "vae_decoder")["profiles"]) == 2
    assert len(header(micro, "text_encoder")["profiles"]) == 1


def manifest(**changes: Any) -> Manifest:
    return parse(json.dumps({**good(), **changes}).encode())


def test_a_denoiser_that_takes_guidance_as_a_number_has_one_batch() -> None:
    found = exact_profiles(manifest(guidance_embedding_width=256), [PictureShape(2, 64, 64)])
    assert [one["sample"].usual for one in found["unet"]] == [(2, 4, 8, 8)]


def test_an_inpainting_denoiser_is_built_for_the_channels_that_it_takes() -> None:
    changed = good()["components"]
    changed["unet"]["inputs"][0]["shape"][1] = 9
    found = exact_profiles(manifest(components=changed), [PictureShape(1, 64, 96)])
    assert [one["sample"].usual for one in found["unet"]] == [(1, 9, 8, 12), (2, 9, 8, 12)]
    assert [one["latent_sample"].usual for one in found["vae_decoder"]] == [(1, 4, 8, 12)]


def test_a_denoiser_that_looks_at_pictures_is_built_for_none_and_for_several() -> None:
    changed = good()["components"]
    changed["unet"]["inputs"] += [
        {"name": "reference_states", "dtype": "float32", "shape": [1, "references", 4]},
        {"name": "reference_places", "dtype": "float32", "shape": ["references", 4]},
    ]
    changed["unet"]["ranges"]["references"] = {"minimum": 0, "maximum": 1000}
    [one, *_] = exact_profiles(manifest(components=changed), [PictureShape(1, 64, 96)])["unet"]
    own = 8 * 12  # cells of the picture that is repainted
    assert one["reference_states"] == Extent((1, 0, 4), (1, own, 4), (1, 5 * own, 4))
    assert one["reference_places"] == Extent((0, 4), (own, 4), (5 * own, 4))


def test_sd3_reads_clip_and_t5_in_one_row() -> None:
    text = good()["text"]
    [clip] = text["encoders"]
    t5 = {**clip, "component": "text_encoder_3", "kind": "t5", "length": 50}
    with_t5 = {**text, "encoders": [clip, t5]}
    components = {**good()["components"], "text_encoder_3": good()["components"]["text_encoder"]}
    found = exact_profiles(manifest(text=with_t5, components=components), [PictureShape(1, 64, 64)])
    assert found["unet"][0]["encoder_hidden_states"].usual == (1, 127, 8)
    assert found["text_encoder_3"][0]["input_ids"].usual == (1, 50)
    without = manifest(text={**text, "t5_length": 51, "t5_width": 8})
    found = exact_profiles(without, [PictureShape(1, 64, 64)])
    assert found["unet"][0]["encoder_hidden_states"].usual == (1, 128, 8)


def test_the_size_is_the_checkpoints_own_if_none_is_asked_for(
    here: Here, micro: Bundle, tmp_path: Path
) -> None:
    bundle = pocket(tmp_path / "pocket")
    assert str(default_shape(bundle)) == "1x128x128"
    with pytest.raises(BundleError, match=r"has no 'unet/config.json'"):
        builds.prepare_build(micro)


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ("512x512", "expected BATCHxHEIGHTxWIDTH, for example 1x512x768; got '512x512'"),
        ("1x64x65", "sides are multiples of 8; the nearest is 1x64x64"),
        ("0x64x64", "expected a batch and sides of at least 1x8"),
        ("100x64x64", "unet takes batch from 1 to 128 in multiples of 1, and this is 200"),
        ("1x4096x64", "unet takes height from 1 to 128 in multiples of 1, and this is 512"),
    ],
)
def test_a_shape_that_cannot_be_is_refused_before_anything_is_built(
    micro: Bundle, here: Here, shape: str, says: str
) -> None:
    with pytest.raises(UsageError) as caught:
        built(micro, [shape])
    assert says in str(caught.value)
    assert here.trt.builds == 0


# What is asked of TensorRT


def test_float32_is_not_computed_in_fewer_digits(micro: Bundle) -> None:
    built(micro)
    assert not header(micro, "unet")["tf32"]


def test_what_was_timed_is_used_again_on_the_same_gpu(micro: Bundle, here: Here) -> None:
    built(micro)
    cache = micro.folder / f"plans/{TARGET}/timing.cache"
    first = json.loads(cache.read_bytes())
    assert first.keys() == {"gpu", *micro.manifest.components}
    built(open_bundle(micro.folder), force=True)
    again = json.loads(cache.read_bytes())
    assert all(again[name] > first[name] for name in micro.manifest.components)
    here.cuda.name = "NVIDIA Other"
    built(open_bundle(micro.folder), force=True)
    assert json.loads(cache.read_bytes())["gpu"] == "NVIDIA Other"


def test_a_plan_that_does_not_load_is_not_entered(
    micro: Bundle, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(micro)
    monkeypatch.setattr(
        here.trt.Runtime, "deserialize_cuda_engine", lambda self, serialized_engine: None
    )
    with pytest.raises(SessionError, match="cannot load this plan: TensorRT gave no reason"):
        built(micro)
    assert state(micro) == before


# Progress, and stopping


def test_progress_grows_and_ends_where_it_said(micro: Bundle) -> None:
    told: list[tuple[int, int, str]] = []
    request = builds.prepare_build(micro, [PictureShape(1, 64, 64)])
    builds.build(request, lambda done, total, doing="": told.append((done, total, doing)))
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert told[-1][:2] == (4000, 4000)
    assert {doing.partition(":")[0] for _, _, doing in told} == set(micro.manifest.components)
    assert "unet: Kernel Generation" in {doing for _, _, doing in told}


def test_a_cancelled_build_leaves_the_bundle_as_it_was(micro: Bundle, here: Here) -> None:
    before, stop = state(micro), threading.Event()
    steps = iter(range(1000))
    here.trt.on_step = lambda: stop.set() if next(steps) == 20 else None  # type: ignore[method-assign]
    request = builds.prepare_build(micro, [PictureShape(1, 64, 64)])
    with pytest.raises(CancelledError, match="nothing was written"):
        builds.build(request, cancelled=stop)
    assert state(micro) == before
    assert not (micro.folder / "plans").exists()
    assert next(steps) == 21  # TensorRT was stopped at the end of that very step


@pytest.mark.alone
@pytest.mark.usefixtures("hearing_signals")
def test_ctrl_c_stops_tensorrt_and_leaves_nothing(micro: Bundle, here: Here) -> None:
    """It comes to the main thread, while TensorRT keeps another one."""
    before = state(micro)
    steps: list[int] = []

    def on_step() -> None:
        steps.append(1)
        if len(steps) == 15:
            os.kill(os.getpid(), signal.SIGINT)
            while signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
                time.sleep(0.01)  # until the main thread has heard of it

    here.trt.on_step = on_step  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        built(micro)
    assert len(steps) == 15  # and no other step was begun
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert state(micro) == before
    assert [t.name for t in threading.enumerate() if t.name.startswith("build")] == []


def test_a_failed_build_keeps_the_plans_that_were_there(
    micro: Bundle, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    built(micro)
    there = open_bundle(micro.folder)
    before = state(there)
    with pytest.raises(OutputExistsError, match="exists already; say --force"):
        built(there)
    monkeypatch.setattr(here.trt.Builder, "build_serialized_network", lambda *_: None)
    with pytest.raises(SessionError, match="cannot build this graph"):
        built(there, force=True)
    assert state(there) == before


def test_plans_whose_placing_is_interrupted_are_never_listed(
    micro: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    built(micro)
    monkeypatch.setattr(plans, "_hashed", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        built(open_bundle(micro.folder), force=True)
    assert verify_bundle(micro.folder).whole
    assert not any(path.startswith("plans/") for path in open_bundle(micro.folder).manifest.files)


phases = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from([None, "a", "b"]), st.integers(0, 5)),
    max_size=30,
)


@given(phases)
def test_a_fraction_never_shrinks_and_is_never_more_than_one(
    events: list[tuple[str, str | None, int]],
) -> None:
    """Whatever the order in which TensorRT's threads report."""
    running, last = Phases(), 0.0
    for name, parent, steps in events:
        if parent is None or parent < name:
            running.start(name, parent, steps)
        now = running.step(name, steps)
        assert last <= now <= 1
        last = now
        if steps == 5:
            running.finish(name)


# Before it begins


def test_the_estimate_counts_what_the_onnx_package_counts(micro: Bundle) -> None:
    for name in micro.manifest.components:
        graph = onnx.load(micro.folder / f"{name}/model.onnx", load_external_data=False).graph
        counted = estimate.count(micro.folder / f"{name}/model.onnx")
        numbers = [int(onnx.numpy_helper.np.prod(one.dims)) for one in graph.initializer]
        assert (counted.nodes, counted.weights) == (len(graph.node), sum(numbers))


def test_the_estimate_is_of_the_largest_component_as_it_is_computed_with(
    here: Here, tmp_path: Path
) -> None:
    bundle = pocket(tmp_path / "pocket")
    guess = builds.prepare_build(bundle).estimate
    stored = bundle.manifest.files["unet/diffusion_pytorch_model.safetensors"].size
    assert guess.weights == pytest.approx(2 * stored, rel=0.01)  # stored in half precision
    assert guess.host == 3 * guess.weights + 2_000_000_000
    assert 0 < guess.minutes[0] < guess.minutes[1] < 30


def test_what_is_short_is_said_before_it_begins(micro: Bundle, here: Here) -> None:
    here.cuda.memory = 1 << 30
    [warning] = builds.prepare_build(micro, [PictureShape(1, 64, 64)]).warnings
    assert warning == (
        "the build may want 2.0 GB on the GPU, and 1.1 GB are free; it goes on, and may fail "
        "half way"
    )


def test_weights_that_are_converted_before_they_are_used_are_told_of(
    here: Here, micro: Bundle, tmp_path: Path
) -> None:
    """NVIDIA's parser takes what comes out of a Cast for weights that change from run to run."""
    assert builds.prepare_build(micro, [PictureShape(1, 64, 64)]).warnings == ()
    warnings = builds.prepare_build(pocket(tmp_path / "pocket")).warnings
    assert [warning.partition(":")[0] for warning in warnings] == [
        "text_encoder",
        "vae_encoder",
        "unet",
        "vae_decoder",
    ]
    assert warnings[2] == (
        "unet: its weights are stored in float16 and computed in float32, and TensorRT may run it "
        "slower, or not at all; a bundle made by overpaint export --dtype float32 --store float32 "
        "has them as they are used"
    )


def test_a_folder_without_a_manifest_gets_no_plans(micro: Bundle) -> None:
    inferred = Bundle(micro.folder, micro.manifest, ("no overpaint.json",))
    with pytest.raises(BundleError, match=r"no overpaint\.json to list plans in"):
        builds.prepare_build(inferred)


def test_what_is_missing_is_named_with_the_line_that_installs_it(micro: Bundle, here: Here) -> None:
    here.install(full=None, lean=VERSION)
    with pytest.raises(MissingExtraError) as missing:
        built(micro)
    assert str(missing.value) == (
        f"tensorrt is not installed. Install it with: {install_command('tensorrt')}"
    )
    here.install(full="10.16.1.11")
    with pytest.raises(SessionError, match=r"tensorrt 10.16.1.11 is too old: expected 11 or later"):
        built(micro)
    here.install(full=VERSION)
    here.cuda.devices = 0
    with pytest.raises(SessionError, match=r"CUDA failed while looking for a GPU: .*NoDevice"):
        built(micro)


def test_a_full_disk_ends_in_one_line_and_leaves_nothing(
    micro: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(micro)

    def refuse(self: Path, data: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(UsageError, match="plans cannot be written there: No space left on device"):
        built(micro)
    monkeypatch.undo()
    assert state(micro) == before


def test_a_bundle_that_may_not_be_written_to_is_told_as_such(
    micro: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(plans.tempfile, "mkdtemp", refuse)
    with pytest.raises(UsageError, match=r"plans cannot be written there: Permission denied\. C"):
        built(micro)
