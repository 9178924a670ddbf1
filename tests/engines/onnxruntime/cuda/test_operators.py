"""What graphs are opened as, so that the CUDA provider has a kernel for each of their operators."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from overpaint.bundle.graph.wire import MalformedError
from overpaint.engines.onnxruntime.cuda.operators import with_kernels

HEADS, SIZE = 4, 8
WIDTH = HEADS * SIZE


def model(
    opset: int = 23,
    *,
    normalize: bool = True,
    shape: tuple[int | str, ...] = ("batch", "tokens", WIDTH),
    mask: bool = False,
    **attributes: Any,
) -> bytes:
    """Attention, and what is normalized besides."""
    floats = TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info(name, floats, shape) for name in ("q", "k", "v")]
    outputs = [helper.make_tensor_value_info("out", floats, None)]
    names = ["q", "k", "v"]
    if mask:
        inputs.append(helper.make_tensor_value_info("mask", floats, ("tokens", "tokens")))
        names.append("mask")
    heads = {} if len(shape) == 4 else {"q_num_heads": HEADS, "kv_num_heads": HEADS}
    nodes = [helper.make_node("Attention", names, ["attended"], **(heads | attributes))]
    constants = []
    if normalize:
        sides = HEADS if len(shape) == 4 else 3
        constants = [
            helper.make_tensor(name, floats, [sides], [value] * sides)
            for name, value in (("one", 1.0), ("zero", 0.0))
        ]
        nodes.append(
            helper.make_node("InstanceNormalization", ["attended", "one", "zero"], ["out"])
        )
    else:
        nodes.append(helper.make_node("Relu", ["attended"], ["out"]))
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    versions = [helper.make_opsetid("", opset)]
    made = helper.make_model(graph, opset_imports=versions, ir_version=10)
    return bytes(made.SerializeToString())


def versions(data: bytes) -> dict[str, int]:
    return {one.domain: one.version for one in onnx.load_from_string(data).opset_import}


def kinds(data: bytes) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load_from_string(data).graph.node)


def run(data: bytes, feed: dict[str, np.ndarray], beside: Path | None = None) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    if beside is not None:
        where = "session.model_external_initializers_file_folder_path"
        options.add_session_config_entry(where, str(beside))
    return onnxruntime.InferenceSession(data, options).run(None, feed)  # type: ignore[no-any-return]


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize("told", [{}, {"scale": 0.3}, {"softcap": 0.0, "is_causal": 0}])
def test_a_graph_that_normalizes_is_opened_as_one_of_opset_21(told: dict[str, Any]) -> None:
    # ONNX Runtime 1.31's CUDA kernel of InstanceNormalization is for opset 6 to 21.
    before = model(**told)
    after = with_kernels(before)
    assert after is not None
    assert versions(after) == {"": 21, "com.microsoft": 1}
    assert kinds(after) == {"MultiHeadAttention": 1, "InstanceNormalization": 1}
    feed = {name: normal(2, 3, WIDTH, seed=at) for at, name in enumerate("qkv")}
    [ours], [theirs] = run(after, feed), run(before, feed)
    assert np.abs(ours - theirs).max() < 1e-5


@pytest.mark.parametrize("component", ["unet", "vae_encoder", "vae_decoder"])
def test_a_bundles_graphs_keep_their_numbers(tiny_sd1_bundle: Path, component: str) -> None:
    path = tiny_sd1_bundle / component / "model.onnx"
    after = with_kernels(path.read_bytes())
    assert after is not None
    assert "Attention" not in kinds(after)
    assert kinds(after)["InstanceNormalization"] > 5
    feeds = {
        "unet": {
            "sample": normal(2, 4, 16, 8),
            "timestep": np.asarray(331, np.float32),
            "encoder_hidden_states": normal(2, 77, 32),
        },
        "vae_encoder": {"sample": np.tanh(normal(1, 3, 64, 32))},
        "vae_decoder": {"latent_sample": normal(1, 4, 8, 16)},
    }
    [ours] = run(after, feeds[component], path.parent)
    [theirs] = onnxruntime.InferenceSession(path).run(None, feeds[component])
    assert np.abs(ours - theirs).max() < 1e-5 * np.abs(theirs).max()


def test_the_bundles_own_file_stays_as_it_is(tiny_sd1_bundle: Path) -> None:
    path = tiny_sd1_bundle / "unet" / "model.onnx"
    before = path.read_bytes()
    with_kernels(before)
    assert path.read_bytes() == before
    assert versions(before) == {"": 23}


@pytest.mark.parametrize("component", ["text_encoder", "transformer"])
def test_a_graph_without_such_a_norm_is_opened_as_it_is(
    tiny_sd3_bundle: Path, component: str
) -> None:
    assert with_kernels((tiny_sd3_bundle / component / "model.onnx").read_bytes()) is None


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(model(normalize=False), id="no norm"),
        pytest.param(model(opset=24), id="of a later opset"),
        pytest.param(model(shape=("batch", HEADS, "tokens", SIZE)), id="heads apart"),
        pytest.param(model(mask=True), id="a mask"),
        pytest.param(model(is_causal=1), id="causal"),
        pytest.param(model(softcap=2.0), id="capped"),
        pytest.param(model(kv_num_heads=2), id="fewer heads for keys"),
    ],
)
def test_what_cannot_be_said_otherwise_is_opened_as_it_is(data: bytes) -> None:
    assert with_kernels(data) is None


def test_an_older_graph_is_opened_as_it_is(tiny_sd1_bundle: Path) -> None:
    old = onnx.load(tiny_sd1_bundle / "vae_decoder" / "model.onnx", load_external_data=False)
    old.opset_import[0].version = 18
    assert with_kernels(old.SerializeToString()) is None


def test_what_is_no_model_is_said_to_be_none() -> None:
    with pytest.raises(MalformedError):
        with_kernels(b"InstanceNormalization, and nothing of a model")
