"""ONNX Runtime's graphs are rewritten to compute less, and give the same numbers."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.graph.wire import MalformedError
from overpaint.engines.choose import open_session
from overpaint.engines.onnxruntime.cpu import doubling
from overpaint.engines.onnxruntime.cpu.doubling import convolve_before_doubling
from overpaint.engines.onnxruntime.cpu.engine import cpu_rewrite
from overpaint.engines.onnxruntime.cpu.plans import build_plans

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(7)
KERNEL = RNG.standard_normal((6, 5, 3, 3), np.float32)
BIAS = RNG.standard_normal(6, np.float32)
CONVOLUTION = {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [1, 1], "dilations": [1, 1]}
REPEATS = {
    "mode": "nearest",
    "coordinate_transformation_mode": "asymmetric",
    "nearest_mode": "floor",
}


def numbers(*shape: int) -> Array:
    return RNG.standard_normal(shape, np.float32)


def enlarged(
    scales: tuple[float, ...] | None = (1, 1, 2, 2),
    *,
    resize: dict[str, Any] | None = None,
    convolution: dict[str, Any] | None = None,
    kept: bool = False,
) -> bytes:
    """`picture`, enlarged by `scales` (None: to the size of `beside`) and convolved to `out`; the
    large picture is an output too where it is `kept`."""
    open_size = ["n", None, None, None]
    picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["n", 5, "h", "w"])
    beside = helper.make_tensor_value_info("beside", TensorProto.FLOAT, ["n", 5, "H", "W"])
    outputs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, open_size)]
    if kept:
        outputs.append(helper.make_tensor_value_info("large", TensorProto.FLOAT, open_size))
    sizes = [] if scales else ["sizes"]
    nodes = [
        helper.make_node("Shape", ["beside"], ["sizes"]),
        helper.make_node(
            "Resize",
            ["picture", "", "scales" if scales else "", *sizes],
            ["large"],
            **{**REPEATS, **(resize or {})},
        ),
        helper.make_node(
            "Conv",
            ["large", "kernel", "bias"],
            ["out"],
            group=1,
            **{**CONVOLUTION, **(convolution or {})},
        ),
    ]
    stored = {"kernel": KERNEL, "bias": BIAS, "scales": np.array(scales or (), np.float32)}
    weights = [numpy_helper.from_array(values, name) for name, values in stored.items()]
    graph = helper.make_graph(nodes, "g", [picture, beside], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def run(model: bytes, picture: Array, beside: Array) -> list[Array]:
    engine = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return list(engine.run(None, {"picture": picture, "beside": beside}))


def kinds(model: bytes) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load_from_string(model).graph.node)


@pytest.mark.parametrize("sides", [(1, 1), (1, 4), (7, 3), (8, 8)])
def test_a_convolution_of_a_doubled_picture_is_made_on_the_small_one(
    sides: tuple[int, int],
) -> None:
    model, picture, beside = enlarged(), numbers(2, 5, *sides), numbers(1, 5, 1, 1)
    rewritten = convolve_before_doubling(model)
    assert rewritten is not None
    onnx.checker.check_model(onnx.load_from_string(rewritten), full_check=True)
    assert kinds(rewritten)["Resize"] == 0
    [expected], [got] = run(model, picture, beside), run(rewritten, picture, beside)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kept", [False, True], ids=["", "kept"])
def test_an_enlargement_to_a_size_is_checked_when_it_runs(
    kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubling, "SMALLEST_CHECKED", KERNEL.size)
    model, picture = enlarged(None, kept=kept), numbers(2, 5, 4, 3)
    rewritten = convolve_before_doubling(model)
    assert rewritten is not None
    onnx.checker.check_model(onnx.load_from_string(rewritten), full_check=True)
    assert kinds(rewritten)["If"] == 1
    assert kinds(rewritten)["Resize"] == kept
    for sides in ((8, 6), (7, 6), (8, 5), (7, 5), (11, 3)):
        beside = numbers(2, 5, *sides)
        pairs = zip(run(model, picture, beside), run(rewritten, picture, beside), strict=True)
        for expected, got in pairs:
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_nothing_is_checked_where_a_kernel_is_so_small_that_it_would_cost_more() -> None:
    assert convolve_before_doubling(enlarged(None)) is None
    assert convolve_before_doubling(enlarged()) is not None  # nothing to check


def test_a_large_picture_that_others_want_too_stays() -> None:
    model, picture, beside = enlarged(kept=True), numbers(1, 5, 4, 3), numbers(1, 5, 1, 1)
    rewritten = convolve_before_doubling(model)
    assert rewritten is not None
    assert kinds(rewritten)["Resize"] == 1
    for got, expected in zip(
        run(rewritten, picture, beside), run(model, picture, beside), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "model",
    [
        enlarged((1, 1, 3, 3)),
        enlarged((1, 1, 2, 1)),
        enlarged(resize={"mode": "linear"}),
        enlarged(resize={"nearest_mode": "ceil"}),
        enlarged(convolution={"strides": [2, 2]}),
        enlarged(convolution={"pads": [0, 0, 0, 0]}),
        enlarged(convolution={"dilations": [2, 2]}),
    ],
    ids=["tripled", "widened", "linear", "rounded up", "strided", "not padded", "dilated"],
)
def test_what_only_resembles_it_is_left_as_it_is(model: bytes) -> None:
    assert convolve_before_doubling(model) is None


def test_what_is_no_graph_is_said() -> None:
    with pytest.raises(MalformedError):
        convolve_before_doubling(b"Resize, and nothing that is protobuf")


def test_graphs_that_compute_in_half_precision_stay(bundles: dict[str, Path]) -> None:
    """Sums of half-precision taps would not be folded: they would be made in every run."""
    bundle = open_bundle(bundles["sd1"])
    described = bundle.component("vae_decoder")
    model = bundle.path(described.graph).read_bytes()
    half = msgspec.structs.replace(described, compute_dtype="float16")
    assert cpu_rewrite(described)(model) is not None
    assert cpu_rewrite(half)(model) is None


def unet_feed(*sides: int) -> dict[str, Array]:
    return {
        "sample": numbers(2, 4, *sides),
        "timestep": np.array(500, np.float32),
        "encoder_hidden_states": numbers(2, 7, 32),
    }


@pytest.mark.parametrize("planned", [False, True], ids=["as exported", "from a plan"])
def test_a_unet_is_right_at_sizes_that_halve_evenly_and_at_others_in_turn(
    bundles: dict[str, Path], planned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubling, "SMALLEST_CHECKED", 1)
    folder = Path(shutil.copytree(bundles["sd1"], tmp_path / "bundle"))
    if planned:
        build_plans(open_bundle(folder))
    bundle = open_bundle(folder)
    model = bundle.path("unet/model.onnx").read_bytes()
    assert cpu_rewrite(bundle.component("unet"))(model) is not None
    plain = onnxruntime.InferenceSession(bundle.folder / "unet" / "model.onnx")
    with open_session(bundle, "unet", "cpu") as session:
        for sides in ((8, 16), (5, 9), (1, 1), (8, 8), (6, 3), (4, 4), (12, 8)):
            feed = unet_feed(*sides)
            [expected] = plain.run(None, feed)
            [got] = session.run(feed).values()
            assert np.abs(got - expected).max() <= 2e-5 * np.abs(expected).max(), sides
