"""The real builder of TensorRT for RTX, which needs no GPU: what it takes, and what lies in the
bundle afterwards. What it builds runs on a GPU only, and is not run here.

`pytest -m rtx` asks it of every family in both precisions.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from tests.bundle.micro import make_micro
from tests.conftest import FAMILIES, Adapters, Export, Tiny
from tests.doubles.tensorrt_here import built_for_rtx, pocket
from tests.random_lora import random_lora

from overpaint.bundle import layout
from overpaint.bundle.errors import CancelledError, OutputExistsError, SessionError, UsageError
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.format.verify import verify_bundle
from overpaint.bundle.ip_adapter.attach import attach
from overpaint.bundle.ip_adapter.bundle import open_adapter
from overpaint.bundle.lora.live import hash_of, live_loras
from overpaint.engines.choose import candidates
from overpaint.engines.tensorrt import build as builds
from overpaint.engines.tensorrt.builder import build_plan
from overpaint.engines.tensorrt.libraries import library
from overpaint.engines.tensorrt.record import Weights
from overpaint.engines.tensorrt.shapes import Extent, PictureRange, PictureShape, ranged_profiles
from overpaint.engines.tensorrt.weightless import FLAGS

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the packages that the tests stand on are Linux's"
)


@pytest.fixture
def micro(tmp_path: Path) -> Bundle:
    return open_bundle(make_micro(tmp_path / "micro"))


def built_alone(bundle: Bundle, component: str, **options: Any) -> Any:
    """One component's plan, in no bundle."""
    span = PictureRange.parse("64:64:128")
    return build_plan(
        library("tensorrt_rtx").module,
        bundle.folder / bundle.component(component).graph,
        ranged_profiles(bundle.manifest, span)[component],
        report=lambda fraction, phase: None,
        cancelled=lambda: False,
        **options,
    ).plan


def test_one_plan_a_component_for_all_sizes_and_cards(micro: Bundle) -> None:
    record = built_for_rtx(micro, "1x64x64:1x64x128:2x128x128")
    assert record.target == f"rtx{record.tensorrt}-sm80-86-89-120"
    assert record.compute_capabilities == ("8.0", "8.6", "8.9", "12.0")
    assert (record.gpu, record.platform) == (None, None)  # it is for every one of these
    assert record.shapes == ("1x64x64:1x64x128:2x128x128",)
    [unet] = record.plans["unet"].profiles
    assert unet["sample"] == Extent((1, 4, 8, 8), (2, 4, 8, 16), (4, 4, 16, 16))
    [decoder] = record.plans["vae_decoder"].profiles
    assert decoder["latent_sample"] == Extent((1, 4, 8, 8), (1, 4, 8, 16), (1, 4, 16, 16))
    for name, plan in record.plans.items():
        file = micro.folder / f"plans/{record.target}/{name}.plan"
        assert file.stat().st_size == plan.size > 10_000
    assert sorted(path.name for path in file.parent.iterdir()) == sorted(
        ["build.json", *(f"{name}.plan" for name in micro.manifest.components)]
    )
    assert verify_bundle(micro.folder).whole


def test_the_plan_belongs_to_version_cards_sizes_graph_and_weights(micro: Bundle) -> None:
    record = built_for_rtx(micro)
    with pytest.raises(OutputExistsError, match="exists already; say --force"):
        built_for_rtx(open_bundle(micro.folder))
    other = built_for_rtx(open_bundle(micro.folder), compute_capabilities=("12.0",))
    assert other.target == f"rtx{record.tensorrt}-sm120"
    [one, another] = ({n: p.made_of for n, p in r.plans.items()} for r in (record, other))
    assert one == another


def test_exact_sizes_may_be_asked_for_as_of_tensorrt(micro: Bundle) -> None:
    shapes = [PictureShape(1, 64, 64), PictureShape(1, 64, 128)]
    record = builds.build(builds.prepare_rtx_build(micro, shapes))
    assert [one["sample"].usual for one in record.plans["unet"].profiles] == [
        (1, 4, 8, 8),
        (2, 4, 8, 8),
        (1, 4, 8, 16),
        (2, 4, 8, 16),
    ]


def test_plans_may_be_built_to_stream_their_weights(micro: Bundle) -> None:
    assert built_for_rtx(micro).flags == ("REQUIRE_USER_ALLOCATION",)
    streaming = built_for_rtx(open_bundle(micro.folder), weight_streaming=True, force=True)
    assert streaming.flags == ("WEIGHT_STREAMING",)


def test_attention_must_be_allowed_to_decompose(tmp_path: Path) -> None:
    """Left as they are, none of our graphs that have attention would be built."""
    bundle = pocket(tmp_path / "pocket")
    with pytest.raises(SessionError, match=r"cannot build this graph: .*Attention"):
        built_alone(bundle, "text_encoder", rewrites=())
    assert built_alone(bundle, "text_encoder")


def test_a_parsed_network_may_be_rewritten_before_it_is_built(micro: Bundle) -> None:
    seen: list[int] = []

    def count(trt: Any, network: Any) -> None:
        assert isinstance(network, trt.INetworkDefinition)
        seen.append(network.num_layers)

    assert built_alone(micro, "unet", rewrites=(count,))
    assert seen[0] > 1


def test_a_node_that_tensorrt_does_not_know_is_named(micro: Bundle) -> None:
    graph = micro.folder / "unet/model.onnx"
    model = onnx.load(graph, load_external_data=False)
    model.graph.node[0].op_type, model.graph.node[0].name = "Mix", "mixing"
    graph.write_bytes(model.SerializeToString())
    with pytest.raises(SessionError, match=r"cannot read this graph: .*mixing"):
        built_for_rtx(micro)


def test_a_cancelled_build_leaves_the_bundle_as_it_was(micro: Bundle) -> None:
    before = sorted(micro.folder.rglob("*"))
    stop = threading.Event()
    order = builds.prepare_rtx_build(micro, sizes=PictureRange.parse("64:64:128"))
    with pytest.raises(CancelledError, match="nothing was written"):
        builds.build(order, lambda done, total, doing="": stop.set(), cancelled=stop)
    assert sorted(micro.folder.rglob("*")) == before


def test_progress_grows_and_names_what_is_being_built(micro: Bundle) -> None:
    told: list[tuple[int, int, str]] = []
    order = builds.prepare_rtx_build(micro, sizes=PictureRange.parse("64:64:128"))
    builds.build(order, lambda done, total, doing="": told.append((done, total, doing)))
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert {doing.partition(":")[0] for _, _, doing in told} == set(micro.manifest.components)


def test_info_says_which_cards_a_plan_serves(micro: Bundle) -> None:
    """Also where there is none to run it."""
    built_for_rtx(micro)
    [said] = [one for one in candidates(open_bundle(micro.folder)) if one.device == "tensorrt-rtx"]
    assert "8.6 (Ampere: RTX 30), 8.9 (Ada: RTX 40), 12.0 (Blackwell: RTX 50)" in said.why


@pytest.mark.parametrize("weights", ["inputs", "refit"])
def test_an_engine_is_built_without_its_weights(
    micro: Bundle, weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In either way, of files whose weights are not there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(builds, "HOW", weights)
    for file in micro.folder.rglob("*.safetensors"):
        file.unlink()
    record = built_for_rtx(micro, compute_capabilities=("8.9",), weightless=True)
    assert record.weights == weights
    [plan] = (tmp_path / "cache").rglob("unet.plan")
    assert plan.stat().st_size == record.plans["unet"].size > 10_000
    assert plan.stat().st_mode & plan.parent.stat().st_mode & 0o077 == 0


def test_constants_without_values_are_built_for_one_card_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builds, "HOW", "refit")
    bundle = pocket(tmp_path / "pocket")
    with pytest.raises(UsageError, match="--weightless: expected one --compute-capability"):
        built_for_rtx(bundle, compute_capabilities=("8.6", "8.9"), weightless=True)


def test_building_needs_neither_torch_nor_cuda_nor_onnx(micro: Bundle) -> None:
    program = f"""
import sys
for absent in ("torch", "diffusers", "transformers", "onnx", "onnxruntime", "cuda"):
    sys.modules[absent] = None
from overpaint.cli.main import main
sys.argv = ["overpaint", "build", {str(micro.folder)!r}, "--engine", "tensorrt-rtx",
            "--sizes", "64:64:128", "--json"]
main()
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["engine"] == "tensorrt-rtx"


@pytest.mark.rtx
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("weights", ["inside", "inputs", "refit"])
def test_every_component_of_every_family_is_built(
    family: str,
    dtype: str,
    weights: Weights,
    exported: Export,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    checkpoint = request.getfixturevalue(FAMILIES[family])
    folder = tmp_path / "bundle"
    shutil.copytree(exported(f"{family}.rtx.{dtype}", checkpoint, dtype=dtype, store=dtype), folder)
    bundle = open_bundle(folder)
    side = 4 * bundle.manifest.latents.multiple
    sizes = PictureRange.parse(f"{side}:{side}:{2 * side}")
    for name in bundle.manifest.components:
        assert _built(bundle, name, sizes, weights, tmp_path), name


@pytest.mark.rtx
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("weights", ["inside", "inputs"])
def test_a_denoiser_with_branches_for_loras_is_built(
    dtype: str,
    weights: Weights,
    tiny_sd1: Path,
    exported: Export,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    base = open_bundle(exported(f"sd1.rtx.{dtype}", tiny_sd1, dtype=dtype, store=dtype))
    # Refittable, its compiler fails (docs/lora.md); no plan that `overpaint build` makes is.
    loras = [
        random_lora(tmp_path / f"{seed}.safetensors", base.folder, seed=seed) for seed in (1, 2)
    ]
    live = open_bundle(live_loras(base, {hash_of(file): file for file in loras}))
    assert _built(live, "unet", PictureRange.parse("64:64:128"), weights, tmp_path)


def _built(
    bundle: Bundle, component: str, sizes: PictureRange, weights: Weights, folder: Path
) -> Any:
    source = builds.to_be_built(bundle, component, weights, folder)
    return build_plan(
        library("tensorrt_rtx").module,
        source.graph,
        ranged_profiles(bundle.manifest, sizes)[component],
        flags=FLAGS[weights],
        # Of constants without values the builder builds for one card at a time.
        compute_capabilities=("8.9",) if weights == "refit" else ("8.0", "8.6", "8.9", "12.0"),
        report=lambda fraction, phase: None,
        cancelled=lambda: False,
        rewrites=source.rewrites,
        weights=source.slots,
    ).plan


@pytest.mark.rtx
@pytest.mark.parametrize(("family", "kind"), [("sd1", "base"), ("sdxl", "plus")])
def test_a_denoiser_that_sees_reference_pictures_is_built(
    family: str, kind: str, adapters: Adapters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tiny = adapters(family, kind)
    seeing = open_bundle(attach(open_bundle(tiny.bundle), open_adapter(tiny.adapter)))
    for name in ("unet", *layout.REFERENCES):
        assert built_alone(seeing, name)


def test_a_plan_for_references_takes_one_picture_up_to_four(
    adapters: Adapters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tiny = adapters("sd1", "base")
    seeing = open_bundle(attach(open_bundle(tiny.bundle), open_adapter(tiny.adapter)))
    [profile] = ranged_profiles(seeing.manifest, PictureRange.parse("64:64:128"))["unet"]
    assert profile["ip_adapter_tokens"] == Extent((1, 1, 4, 32), (2, 1, 4, 32), (2, 4, 16, 32))
    assert profile["ip_adapter_scale_0"] == Extent((1, 64), (1, 64), (4, 256))
    assert profile["ip_adapter_scale_3"] == Extent((1, 1), (1, 1), (4, 4))


def test_a_controlled_denoiser_and_its_network_build(
    tiny_sd1_bundle: Path, controlnet: Callable[..., Tiny]
) -> None:
    """The sides of a UNet's levels are sizes of their own, which profiles are told."""
    from overpaint.runtime.control.opening import with_control

    network = controlnet("sd1", "canny").bundle
    bundle = with_control(open_bundle(tiny_sd1_bundle), [network])
    for component in ("hint-canny", "controlnet-canny", "unet"):
        assert memoryview(built_alone(bundle, component)).nbytes > 10_000
    [unet] = ranged_profiles(bundle.manifest, PictureRange.parse("64:64:128"))["unet"]
    assert unet["control.middle"] == Extent((1, 64, 1, 1), (2, 64, 1, 1), (2, 64, 2, 2))
