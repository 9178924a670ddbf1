"""Sessions on TensorRT for RTX: one plan for a range of sizes, kernels compiled where it runs.

On a double, whose plans are the double's own: nothing of the real one runs without a driver.
"""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.bundle.micro import make_micro
from tests.doubles.cudart_double import CudartDouble
from tests.doubles.tensorrt_here import RTX_VERSION, VERSION, Here, built, built_for_rtx, pocket
from tests.doubles.tensorrt_here import here as here

from overpaint.bundle.errors import FeedError, SessionError, UsageError
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.open import open_bundle
from overpaint.engines.choose import choose, open_session
from overpaint.engines.session.session import Session
from overpaint.engines.tensorrt import engine as engines
from overpaint.runtime import Img2Img
from overpaint.serve.jobs.engines.bundles import Opening, open_warm

Array = np.ndarray[Any, Any]
PICTURE = Path(__file__).parents[3] / "examples/summer.png"
ADA = ("NVIDIA GeForce RTX 4090", (8, 9))
ROOM = 10_000  # bytes: for the buffers of two pictures, and not for more activations than of one


@pytest.fixture
def rtx(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    """A machine with an RTX card, TensorRT for RTX, and a cache folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    here.install(rtx=RTX_VERSION, cuda=CudartDouble(*ADA))
    return here


@pytest.fixture
def bundle(rtx: Here, tmp_path: Path) -> Bundle:
    """The micro bundle with a plan for one picture from 64x64 to 128x128."""
    made = open_bundle(make_micro(tmp_path / "micro"))
    built_for_rtx(made)
    return open_bundle(made.folder)


@pytest.fixture
def unet(bundle: Bundle) -> Iterator[Session]:
    with open_session(bundle, "unet", "tensorrt-rtx") as session:
        yield session


@pytest.fixture
def reference(bundle: Bundle) -> Iterator[Session]:
    with open_session(bundle, "unet", "cpu") as session:
        yield session


def feed(batch: int = 2, height: int = 8, width: int = 8, seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {
        "sample": rng.standard_normal((batch, 4, height, width)).astype(np.float32),
        "timestep": np.array([seed], np.float32),
        "encoder_hidden_states": rng.standard_normal((batch, 77, 8)).astype(np.float32),
    }


def why(bundle: Bundle) -> str:
    with pytest.raises(SessionError) as caught:
        choose(bundle, "tensorrt-rtx")
    return str(caught.value)


# Which plan runs where


def test_a_card_that_the_plan_serves_runs_it_before_cuda_and_after_tensorrt(
    bundle: Bundle, rtx: Here
) -> None:
    decision = choose(bundle)
    assert decision.chosen.device == "tensorrt-rtx"
    assert decision.chosen.why == (
        f"tensorrt_rtx {RTX_VERSION} on NVIDIA GeForce RTX 4090, plans for "
        "1x64x64:1x64x64:1x128x128; its plan serves compute capability 8.0 (Ampere: A100, A30), "
        "8.6 (Ampere: RTX 30), 8.9 (Ada: RTX 40), 12.0 (Blackwell: RTX 50)"
    )
    assert [better.device for better in decision.passed_over] == ["tensorrt"]
    rtx.install(full=VERSION, lean=VERSION)
    built(bundle)
    rtx.install(rtx=RTX_VERSION, lean=VERSION)
    assert choose(open_bundle(bundle.folder)).chosen.device == "tensorrt"


def test_every_card_of_a_plan_runs_it(bundle: Bundle, rtx: Here) -> None:
    for name, capability in (("Ampere", (8, 6)), ("Blackwell", (12, 0))):
        rtx.install(rtx=RTX_VERSION, cuda=CudartDouble(name, capability))
        with open_session(bundle, "unet", "tensorrt-rtx") as session:
            assert session.device == f"TensorRT for RTX 1.7 on {name}"
            assert session.run(feed())["out_sample"].shape == (2, 4, 8, 8)


def test_a_card_that_it_does_not_serve_is_told_what_does(bundle: Bundle, rtx: Here) -> None:
    rtx.install(rtx=RTX_VERSION, cuda=CudartDouble("RTX 2080", (7, 5)))
    assert (
        "built for compute capability 8.0, 8.6, 8.9, 12.0, and this GPU has 7.5 (RTX 2080): "
        f"overpaint build {bundle.folder} --engine tensorrt-rtx --sizes 1x64x64:1x64x64:1x128x128 "
        "--compute-capability 7.5"
    ) in why(bundle)
    rtx.install(rtx=RTX_VERSION, cuda=CudartDouble("NVIDIA H100", (9, 0)))
    assert f"9.0 (NVIDIA H100): overpaint build {bundle.folder} --engine tensorrt." in why(bundle)


def test_a_plan_is_for_the_version_that_built_it(bundle: Bundle, rtx: Here) -> None:
    rtx.install(rtx="1.8.0.1", cuda=rtx.cuda)
    assert f"pip install tensorrt-rtx=={RTX_VERSION} cuda-python" in why(bundle)


def test_without_a_gpu_the_cards_it_serves_are_named(bundle: Bundle, rtx: Here) -> None:
    rtx.cuda.devices = 0
    assert "cudaErrorNoDevice; its plan serves compute capability 8.0 (Ampere: A100" in why(bundle)


# A range of sizes


def test_every_size_of_the_range_runs_and_gives_the_numbers_of_the_graph(
    unet: Session, reference: Session
) -> None:
    for batch, height, width in ((1, 8, 8), (2, 16, 16), (1, 9, 15), (2, 8, 8), (1, 9, 15)):
        given = feed(batch, height, width, height)
        expected = reference.run(given)["out_sample"]
        np.testing.assert_array_equal(unet.run(given)["out_sample"], expected)


def test_a_size_is_recorded_as_a_graph_when_it_comes_again(
    unet: Session, reference: Session, rtx: Here
) -> None:
    """Its kernels are compiled in the first run; recorded before, a graph would have others."""
    assert rtx.cuda.counts.get("capture", 0) == 0
    for seed in range(4):
        given = feed(seed=seed)
        expected = reference.run(given)["out_sample"]
        np.testing.assert_array_equal(unet.run(given)["out_sample"], expected)
    assert rtx.cuda.counts["capture"] == 1
    assert rtx.cuda.counts["launch"] == 3


def test_memory_is_that_of_the_sizes_in_use_and_not_of_the_largest(
    unet: Session, rtx: Here
) -> None:
    before = rtx.cuda.in_use("device")
    unet.run(feed(1))
    one = rtx.cuda.in_use("device") - before
    unet.run(feed(1))
    assert rtx.cuda.in_use("device") - before == one
    for width in range(8, 8 + engines.KEPT):
        unet.run(feed(1, 16, width))
    full = rtx.cuda.in_use("device")
    for width in range(8, 8 + engines.KEPT):
        unet.run(feed(1, 16, width))
    assert rtx.cuda.in_use("device") == full


def test_sizes_not_used_for_longest_give_way(unet: Session, reference: Session, rtx: Here) -> None:
    for width in range(8, 8 + engines.KEPT + 1):
        unet.run(feed(1, 8, width))
    graphs = rtx.cuda.graphs
    given = feed(1, 8, 8, seed=3)
    for _ in range(3):
        expected = reference.run(given)["out_sample"]
        np.testing.assert_array_equal(unet.run(given)["out_sample"], expected)
    assert rtx.cuda.graphs == graphs + 1


def test_a_size_that_there_is_no_room_for_leaves_the_others_as_they_were(
    unet: Session, reference: Session, rtx: Here
) -> None:
    given = feed(1)
    expected = reference.run(given)["out_sample"]
    unet.run(given)
    before, rtx.cuda.memory = rtx.cuda.in_use("device"), rtx.cuda.in_use("device") + ROOM
    with pytest.raises(SessionError, match="CUDA failed while allocating"):
        unet.run(feed(2))
    assert rtx.cuda.in_use("device") == before
    for _ in range(3):
        np.testing.assert_array_equal(unet.run(given)["out_sample"], expected)


def test_a_larger_batch_is_run_in_pieces(unet: Session, reference: Session) -> None:
    given = feed(5)
    parts = [
        {n: a if n == "timestep" else a[cut] for n, a in given.items()}
        for cut in (slice(0, 2), slice(2, 4), slice(4, 5))
    ]
    expected = np.concatenate([reference.run(part)["out_sample"].copy() for part in parts])
    np.testing.assert_array_equal(unet.run(given)["out_sample"], expected)


def test_what_is_bound_is_right_whatever_sizes_come_between(
    unet: Session, reference: Session
) -> None:
    given = feed(seed=1)
    step = unet.bind({"encoder_hidden_states": given["encoder_hidden_states"]})
    for seed, width in ((2, 8), (3, 16), (4, 8), (5, 8)):
        changing = {n: feed(2, 8, width, seed)[n] for n in ("sample", "timestep")}
        expected = reference.run({**given, **changing})["out_sample"]
        np.testing.assert_array_equal(step(changing)["out_sample"], expected)
        unet.run(feed(seed=seed + 10))


def test_a_size_outside_names_the_range_the_nearest_and_the_command(
    unet: Session, bundle: Bundle
) -> None:
    with pytest.raises(FeedError) as caught:
        unet.run(feed(1, 20, 4))
    assert str(caught.value) == (
        "unet: its TensorRT plan is for pictures of 64x64 to 128x128, not 32x160. Ask for --size "
        f"64x128, or build 32x160 too: overpaint build {bundle.folder} --engine tensorrt-rtx "
        "--force --sizes 1x64x32:1x64x64:1x160x128; or take --device cuda or cpu"
    )


def test_closing_lets_the_engine_go(bundle: Bundle) -> None:
    """It holds the weights, on the GPU."""
    session = open_session(bundle, "unet", "tensorrt-rtx")
    session.run(feed())
    ours: Any = session._engine
    engine = weakref.ref(ours._loaded.engine)
    session.close()
    gc.collect()
    assert engine() is None


# What is compiled


def test_what_was_compiled_is_there_at_the_next_start(
    bundle: Bundle, rtx: Here, tmp_path: Path
) -> None:
    for starts in (1, 2):
        with open_session(bundle, "unet", "tensorrt-rtx") as session:
            for width in (8, 16, 8):
                session.run(feed(width=width))
        assert rtx.trt.compiled == 2, starts
    [file] = (tmp_path / "cache/overpaint/tensorrt-rtx").iterdir()
    assert file.stat().st_mode & 0o077 == 0  # it is code, and this user's


def test_another_card_or_driver_compiles_its_own(bundle: Bundle, rtx: Here, tmp_path: Path) -> None:
    for device, driver in ((ADA, 13000), (ADA, 13010), (("RTX 4070", (8, 9)), 13000)):
        rtx.install(rtx=RTX_VERSION, cuda=CudartDouble(*device))
        rtx.cuda.driver = driver
        with open_session(bundle, "unet", "tensorrt-rtx") as session:
            session.run(feed())
        assert rtx.trt.compiled == 1
    assert len(list((tmp_path / "cache/overpaint/tensorrt-rtx").iterdir())) == 3


def test_kernels_that_changed_on_the_disk_are_not_loaded(
    bundle: Bundle, rtx: Here, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_session(bundle, "unet", "tensorrt-rtx") as session:
        session.run(feed())
    [file] = (tmp_path / "cache/overpaint/tensorrt-rtx").iterdir()
    file.write_bytes(file.read_bytes()[:-1] + b" ")
    with open_session(bundle, "unet", "tensorrt-rtx") as session:
        session.run(feed())
    assert f"{file}: changed since it was written; its kernels are compiled anew" in caplog.text
    assert rtx.trt.compiled == 2


def test_a_first_use_that_takes_long_is_said_aloud(
    bundle: Bundle, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "LONG", 0.0)
    with open_session(bundle, "unet", "tensorrt-rtx") as session:
        session.run(feed())
        session.run(feed())
    [said] = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert said.getMessage().startswith(
        "unet: its first use for sample (2, 4, 8, 8), timestep (1,), encoder_hidden_states "
        "(2, 77, 8) took 0."
    )


def test_without_a_place_to_keep_them_kernels_are_compiled_at_each_start(
    bundle: Bundle, rtx: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(bundle.folder / "overpaint.json"))
    for starts in (1, 2):
        with open_session(bundle, "unet", "tensorrt-rtx") as session:
            session.run(feed())
        assert rtx.trt.compiled == starts


# Weights that lie elsewhere


@pytest.fixture
def streaming(rtx: Here, tmp_path: Path) -> Bundle:
    made = open_bundle(make_micro(tmp_path / "streaming"))
    built_for_rtx(made, weight_streaming=True)
    return open_bundle(made.folder)


def test_the_gpu_holds_a_networks_share_of_what_it_may(streaming: Bundle) -> None:
    plans = list((streaming.folder / "plans").glob("*/*.plan"))
    total = sum(plan.stat().st_size for plan in plans)
    [unet] = [plan.stat().st_size for plan in plans if plan.stem == "unet"]
    for memory, share in ((total // 2, total // 2 * unet // total), (10 * total, None)):
        decision = choose(streaming, "tensorrt-rtx", gpu_memory=memory)
        with open_session(streaming, "unet", decision) as session:
            loaded = session._engine._loaded.engine  # type: ignore[union-attr]
            assert loaded.weight_streaming_budget_v2 == (share or loaded.streamable_weights_size)
            assert session.run(feed())["out_sample"].shape == (2, 4, 8, 8)


def test_a_plan_that_streams_is_not_recorded(streaming: Bundle, rtx: Here) -> None:
    with open_session(streaming, "unet", "tensorrt-rtx") as session:
        for seed in range(3):
            session.run(feed(seed=seed))
    assert rtx.cuda.counts.get("capture", 0) == 0


def test_a_plan_that_cannot_stream_names_the_command_that_makes_one_that_can(
    bundle: Bundle,
) -> None:
    decision = choose(bundle, "tensorrt-rtx", gpu_memory=1 << 30)
    with pytest.raises(SessionError, match=r"--gpu-memory: .* --weight-streaming --force"):
        open_session(bundle, "unet", decision)


@pytest.mark.parametrize("device", ["auto", "cpu", "tensorrt"])
def test_other_devices_have_no_such_bound(bundle: Bundle, device: str) -> None:
    with pytest.raises(UsageError, match=f"needs --device tensorrt-rtx; got {device}"):
        choose(bundle, device, gpu_memory=1 << 30)


# Whole pictures


def test_pictures_are_those_of_the_processor(rtx: Here, tmp_path: Path) -> None:
    folder = pocket(tmp_path / "pocket").folder
    built_for_rtx(open_bundle(folder), "1x32x32:1x32x48:2x64x64")
    runs: tuple[dict[str, Any], ...] = (
        {"guidance_scale": 4.0, "size": (32, 32)},
        {"guidance_scale": 1.0, "size": (48, 32)},
        {"guidance_scale": 4.0, "size": (64, 64), "n": 3},
    )
    painted = {}
    for device in ("tensorrt-rtx", "cpu"):
        with Img2Img.open(folder, device=device) as pipe:
            painted[device] = [
                np.asarray(image, np.int16)
                for run in runs
                for image in pipe(PICTURE, "a lake", strength=0.5, steps=4, seed=3, **run).images
            ]
    assert len(painted["cpu"]) == 5
    for ours, theirs in zip(painted["tensorrt-rtx"], painted["cpu"], strict=True):
        assert np.abs(ours - theirs).max() <= 1
    assert rtx.cuda.in_use("device") == 0
    assert rtx.cuda.graphs == 0


# Serving


def test_a_server_compiles_the_bundles_own_size_before_the_first_job(
    rtx: Here, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = pocket(tmp_path / "pocket").folder
    built_for_rtx(open_bundle(folder), "32:32:64")
    with caplog.at_level(logging.INFO, "overpaint.serve"):
        open_warm(folder, Opening(device="tensorrt-rtx"), (64, 32)).close()
    assert "warmed up for 64x32 in " in caplog.text
    compiled = rtx.trt.compiled
    assert compiled > 3
    open_warm(folder, Opening(device="tensorrt-rtx"), (64, 32)).close()
    assert rtx.trt.compiled == compiled


def test_a_server_starts_though_its_plans_are_not_for_the_bundles_own_size(
    rtx: Here, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = pocket(tmp_path / "pocket").folder
    built_for_rtx(open_bundle(folder), "32:32:64")
    with caplog.at_level(logging.INFO, "overpaint.serve"):
        open_warm(folder, Opening(device="tensorrt-rtx"), (128, 128)).close()
    assert "not warmed up: " in caplog.text
    with pytest.raises(FeedError, match="plan is for pictures of 32x32 to 64x64, not 128x128"):
        open_warm(folder, Opening(device="tensorrt-rtx", sizes=((128, 128),)), (128, 128))
