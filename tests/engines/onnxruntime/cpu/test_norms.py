"""A picture's encoder takes its group norms exactly, of flat pictures too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import pytest
import torch
from diffusers import AutoencoderKL
from onnx import TensorProto, helper, numpy_helper

from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.graph.wire import MalformedError
from overpaint.engines.choose import open_session
from overpaint.engines.onnxruntime.cpu.engine import cpu_rewrite
from overpaint.engines.onnxruntime.cpu.norms import normalize_exactly

Array = np.ndarray[Any, Any]
GROUPS, CHANNELS, EPSILON = 8, 16, 1e-6


def norm(*, opset: int = 20, scale: float = 1.0) -> bytes:
    """A group norm as our graphs have it, without the weight and bias of each channel."""
    nodes = [
        helper.make_node("Reshape", ["x", "groups"], ["rows"]),
        helper.make_node(
            "InstanceNormalization", ["rows", "one", "zero"], ["normal"], epsilon=EPSILON
        ),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Reshape", ["normal", "shape"], ["y"]),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", CHANNELS, "h", "w"])
        for name in ("x", "y")
    ]
    constants = [
        numpy_helper.from_array(np.full(GROUPS, scale, np.float32), "one"),
        numpy_helper.from_array(np.zeros(GROUPS, np.float32), "zero"),
        numpy_helper.from_array(np.array([0, GROUPS, -1]), "groups"),
    ]
    graph = helper.make_graph(nodes, "norm", ends[:1], ends[1:], constants)
    imports = [helper.make_opsetid("", opset)]
    model: bytes = helper.make_model(graph, opset_imports=imports, ir_version=9).SerializeToString()
    return model


def normalized(model: bytes, x: Array) -> Array:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    [y] = session.run(None, {"x": x})
    return np.asarray(y)


def exact(x: Array) -> Array:
    wide = x.astype(np.float64).reshape(len(x), GROUPS, -1)
    spread = np.sqrt(wide.var(2, keepdims=True) + EPSILON)
    made: Array = ((wide - wide.mean(2, keepdims=True)) / spread).reshape(x.shape)
    return made


@pytest.mark.parametrize("shape", [(1, CHANNELS, 128, 256), (2, CHANNELS, 9, 13)])
@pytest.mark.parametrize("kind", ["noise", "flat channels", "flat groups"])
def test_a_norm_is_what_float64_makes_of_it(kind: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x = np.broadcast_to(rng.standard_normal((*shape[:2], 1, 1), np.float32), shape).copy()
    if kind == "noise":
        x += rng.standard_normal(shape, np.float32)
    if kind == "flat groups":
        x[:, 1::2] = x[:, ::2]
    model = normalize_exactly(norm())
    assert model is not None
    assert np.abs(normalized(model, x) - exact(x)).max() <= 1e-5


def test_onnx_runtime_by_itself_loses_a_flat_group() -> None:
    """What the rewrite is there for: should this fail, it may go."""
    x = np.full((1, CHANNELS, 256, 256), 0.7, np.float32)
    assert np.abs(normalized(norm(), x) - exact(x)).max() > 0.1


@pytest.mark.parametrize("model", [norm(opset=17), norm(scale=2.0)], ids=["old", "scaled"])
def test_what_only_resembles_it_is_left_as_it_is(model: bytes) -> None:
    assert normalize_exactly(model) is None


def test_what_is_no_graph_is_said() -> None:
    with pytest.raises(MalformedError):
        normalize_exactly(b"InstanceNormalization, and nothing that is protobuf")


def test_a_flat_picture_is_encoded_as_torch_does(tiny_sdxl: Path, tiny_sdxl_bundle: Path) -> None:
    vae = AutoencoderKL.from_pretrained(tiny_sdxl / "vae").double()
    pixels = np.full((1, 3, 64, 64), 0.25, np.float32)
    with torch.inference_mode():
        wanted = vae.encode(torch.from_numpy(pixels).double()).latent_dist.parameters.numpy()
    with open_session(open_bundle(tiny_sdxl_bundle), "vae_encoder", "cpu") as session:
        [made] = session.run({"sample": pixels}).values()
    assert np.abs(made - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_only_what_sees_a_picture_is_rewritten_so(tiny_sd1_bundle: Path) -> None:
    bundle = open_bundle(tiny_sd1_bundle)
    encoder = bundle.component("vae_encoder")
    model = bundle.path(encoder.graph).read_bytes()
    half = msgspec.structs.replace(encoder, compute_dtype="float16")
    assert cpu_rewrite(encoder)(model) == normalize_exactly(model)
    assert cpu_rewrite(half)(model) is None
    assert cpu_rewrite(bundle.component("vae_decoder")) != cpu_rewrite(encoder)
