"""The graphs of a bundle: structure alone, the checkpoint's own bytes, torch's own numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import transformers
from safetensors import safe_open

from overpaint.bundle.format.manifest_file import read_manifest

COMPONENTS = ("text_encoder", "vae_encoder", "unet", "vae_decoder")
SOURCES = {"vae_encoder": "vae", "vae_decoder": "vae"}


def graph(bundle: Path, component: str) -> onnx.ModelProto:
    return onnx.load(bundle / component / "model.onnx", load_external_data=False)


def session(bundle: Path, component: str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(bundle / component / "model.onnx")


def external(tensor: onnx.TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def normal(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def error(ours: np.ndarray[Any, Any], theirs: torch.Tensor) -> float:
    reference = theirs.numpy()
    assert ours.shape == reference.shape
    return float(np.abs(ours - reference).max() / np.abs(reference).max())


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_graph_carries_no_weight(tiny_sd1_bundle: Path, component: str) -> None:
    model = graph(tiny_sd1_bundle, component)
    inline = [t for t in model.graph.initializer if t.data_location != onnx.TensorProto.EXTERNAL]
    assert sum(int(np.prod(t.dims)) for t in inline) < 1000
    weights = sum(p.stat().st_size for p in (tiny_sd1_bundle / component).glob("*.safetensors"))
    assert (tiny_sd1_bundle / component / "model.onnx").stat().st_size < min(200_000, weights)


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_weight_is_the_checkpoints_bytes(
    tiny_sd1: Path, tiny_sd1_bundle: Path, component: str
) -> None:
    [file] = (tiny_sd1 / SOURCES.get(component, component)).glob("*.safetensors")
    with safe_open(file, "np") as checkpoint:
        names = set(checkpoint.keys())
        weights = [t for t in graph(tiny_sd1_bundle, component).graph.initializer if external(t)]
        assert len(weights) > 50
        location = {external(tensor)["location"] for tensor in weights}.pop()
        data = (tiny_sd1_bundle / component / location).read_bytes()
        for tensor in weights:
            where = external(tensor)
            [name] = {tensor.name, tensor.name.removeprefix("text_model.")} & names
            assert where["location"] == location
            start, length = int(where["offset"]), int(where["length"])
            assert data[start : start + length] == checkpoint.get_tensor(name).tobytes()
            assert list(tensor.dims) == list(checkpoint.get_slice(name).get_shape())


def test_the_bundle_shares_the_checkpoints_files_where_the_disk_can(
    tiny_sd1: Path, tmp_path: Path, export_remembering: Any
) -> None:
    export_remembering(tiny_sd1, tmp_path / "bundle")
    file = "unet/diffusion_pytorch_model.safetensors"
    linked = (tmp_path / "bundle" / file).stat().st_nlink > 1
    cloned = (tmp_path / "bundle" / file).stat().st_ino != (tiny_sd1 / file).stat().st_ino
    assert linked or cloned
    assert (tmp_path / "bundle" / file).read_bytes() == (tiny_sd1 / file).read_bytes()


def test_graphs_are_of_opset_23_with_native_operators(tiny_sd1_bundle: Path) -> None:
    model = graph(tiny_sd1_bundle, "unet")
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 23)]
    kinds = [node.op_type for node in model.graph.node]
    # One self and one cross attention in each of the ten transformer blocks.
    assert kinds.count("Attention") == 20
    assert {"LayerNormalization", "Gelu", "Resize"} <= set(kinds)
    assert not {"SplitToSequence", "SequenceAt", "Identity", "If", "Loop"} & set(kinds)


@pytest.mark.parametrize("component", ["unet", "vae_encoder", "vae_decoder"])
def test_a_group_norm_is_a_normalization_that_every_engine_has(
    tiny_sd1_bundle: Path, component: str
) -> None:
    model = graph(tiny_sd1_bundle, component)
    kinds = [node.op_type for node in model.graph.node]
    assert "GroupNormalization" not in kinds
    scales = [tensor.name for tensor in model.graph.initializer if "norm" in tensor.name]
    norms = {name.rpartition(".")[0] for name in scales}
    assert kinds.count("InstanceNormalization") + kinds.count("LayerNormalization") == len(norms)
    assert kinds.count("InstanceNormalization") > 5


@pytest.mark.parametrize(
    ("batch", "height", "width", "tokens"),
    [(1, 8, 8, 77), (2, 5, 9, 77), (3, 16, 7, 154), (4, 1, 3, 1)],
)
def test_the_unet_equals_torch_at_any_size(
    tiny_sd1: Path, tiny_sd1_bundle: Path, batch: int, height: int, width: int, tokens: int
) -> None:
    unet = diffusers.UNet2DConditionModel.from_pretrained(tiny_sd1, subfolder="unet")
    sample, context = normal(batch, 4, height, width), normal(batch, tokens, 32, seed=1)
    feed = {
        "sample": sample,
        "timestep": np.asarray(331, np.float32),
        "encoder_hidden_states": context,
    }
    [ours] = session(tiny_sd1_bundle, "unet").run(None, feed)
    with torch.inference_mode():
        theirs = unet(torch.tensor(sample), 331, torch.tensor(context)).sample
    assert error(ours, theirs) < 1e-5


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 64, 64), (4, 8, 40), (2, 72, 56)])
def test_the_vae_equals_torch_and_encodes_to_moments(
    tiny_sd1: Path, tiny_sd1_bundle: Path, batch: int, height: int, width: int
) -> None:
    vae = diffusers.AutoencoderKL.from_pretrained(tiny_sd1, subfolder="vae")
    pixels = np.tanh(normal(batch, 3, height, width))
    [moments] = session(tiny_sd1_bundle, "vae_encoder").run(None, {"sample": pixels})
    with torch.inference_mode():
        posterior = vae.encode(torch.tensor(pixels)).latent_dist
        assert moments.shape == (batch, 8, height // 8, width // 8)
        assert error(moments, posterior.parameters) < 1e-5
        latents = moments[:, :4]
        [decoded] = session(tiny_sd1_bundle, "vae_decoder").run(None, {"latent_sample": latents})
        assert error(decoded, vae.decode(torch.tensor(latents)).sample) < 1e-5


@pytest.mark.parametrize("tokens", [1, 7, 77])
def test_the_text_encoder_equals_transformers_in_every_output(
    tiny_sd1: Path, tiny_sd1_bundle: Path, tokens: int
) -> None:
    encoder = transformers.CLIPTextModel.from_pretrained(tiny_sd1 / "text_encoder")
    ids = np.random.default_rng(0).integers(0, 49408, (3, tokens))
    running = session(tiny_sd1_bundle, "text_encoder")
    names = [output.name for output in running.get_outputs()]
    names = [output.name for output in running.get_outputs()]
    ours = dict(zip(names, running.run(names, {"input_ids": ids}), strict=True))
    with torch.inference_mode():
        theirs = encoder(torch.tensor(ids), output_hidden_states=True)
    assert error(ours["last_hidden_state"], theirs.last_hidden_state) < 1e-5
    assert error(ours["pooler_output"], theirs.pooler_output) < 1e-5
    assert len(theirs.hidden_states) == 4
    for k, state in enumerate(theirs.hidden_states):
        assert error(ours[f"hidden_states.{k}"], state) < 1e-5


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_manifest_declares_what_the_graph_has(tiny_sd1_bundle: Path, component: str) -> None:
    entry = read_manifest(tiny_sd1_bundle).components[component]
    running = session(tiny_sd1_bundle, component)
    for declared, found in (
        (entry.inputs, running.get_inputs()),
        (entry.outputs, running.get_outputs()),
    ):
        assert [(t.name, list(t.shape)) for t in declared] == [(t.name, t.shape) for t in found]
    assert entry.ranges["batch"].minimum == 1
    assert entry.ranges["batch"].maximum == 32


@pytest.mark.parametrize("component", COMPONENTS)
def test_parity_was_measured_and_is_in_the_manifest(tiny_sd1_bundle: Path, component: str) -> None:
    parity = read_manifest(tiny_sd1_bundle).components[component].parity
    assert parity is not None
    assert parity.limit == 1e-4
    assert 0 < parity.max_abs_error < 1e-5 * parity.max_abs_reference
    assert parity.measured_on == "checkpoint"
