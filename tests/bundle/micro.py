"""The smallest bundle that is whole: four graphs of one layer, made with the onnx package.

Its graphs carry no weights: they point into safetensors files, and the two VAE folders share one.
"""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from tests.bundle.micro_manifest import WIDTH, good

from overpaint.bundle.format.manifest import Manifest
from overpaint.bundle.format.manifest_file import parse
from overpaint.bundle.format.write import finish_bundle, new_bundle

SHARED = "vae.safetensors"

Array = np.ndarray[Any, Any]


def make_micro(output: Path) -> Path:
    """Make the micro bundle at `output`."""
    with new_bundle(output) as folder:
        write_files(folder)
        finish_bundle(folder, manifest())
    return output


def manifest() -> Manifest:
    """The micro bundle's manifest, before its files are listed."""
    return parse(json.dumps(good()).encode())


def write_files(folder: Path) -> None:
    """Everything of the bundle but `overpaint.json`."""
    for name, text in {
        "model_index.json": {"_class_name": "StableDiffusionPipeline"},
        "scheduler/scheduler_config.json": {"_class_name": "PNDMScheduler"},
        "tokenizer/tokenizer.json": {"version": "1.0"},
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(text))
    rng = np.random.default_rng(7)

    def weight(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(np.float32)

    write_component(folder / "text_encoder", *_text_encoder(), {"embedding": weight(100, WIDTH)})
    write_component(
        folder / "unet", *_unet(), {"mix": weight(4, 4, 1, 1), "text": weight(WIDTH, 4)}
    )
    vae = {"encode": weight(8, 3, 8, 8), "decode": weight(4, 3, 8, 8)}
    write_component(folder / "vae_encoder", *_vae_encoder(), vae, SHARED)
    write_component(folder / "vae_decoder", *_vae_decoder(), vae, SHARED)
    (folder / "vae_decoder" / SHARED).unlink()
    os.link(folder / "vae_encoder" / SHARED, folder / "vae_decoder" / SHARED)


def write_component(
    folder: Path,
    nodes: list[Any],
    inputs: list[Any],
    outputs: list[Any],
    weights: dict[str, Array],
    file: str = "weights.safetensors",
) -> None:
    """Write `model.onnx`, whose initializers are the slices of a safetensors file beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    offsets = write_safetensors(folder / file, weights)
    used = {name for node in nodes for name in node.input}
    tensors = [
        external(name, array, file, offsets[name])
        for name, array in weights.items()
        if name in used
    ]
    graph = helper.make_graph(nodes, folder.name, inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def write_safetensors(path: Path, tensors: dict[str, Array]) -> dict[str, int]:
    """Write a safetensors file; return where in it each tensor's bytes begin."""
    header, at = {}, 0
    for name, array in tensors.items():
        end = at + array.nbytes
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    body = b"".join(array.tobytes() for array in tensors.values())
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return {name: 8 + len(text) + entry["data_offsets"][0] for name, entry in header.items()}


def external(name: str, array: Array, location: str, offset: int) -> TensorProto:
    """An initializer that points at `location`."""
    entries = {"location": location, "offset": str(offset), "length": str(array.nbytes)}
    return TensorProto(
        name=name,
        data_type=helper.np_dtype_to_tensor_dtype(array.dtype),
        dims=array.shape,
        data_location=TensorProto.EXTERNAL,
        external_data=[onnx.StringStringEntryProto(key=k, value=v) for k, v in entries.items()],
    )


def _tensor(name: str, *shape: int | str, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def _text_encoder() -> tuple[list[Any], list[Any], list[Any]]:
    nodes = [helper.make_node("Gather", ["embedding", "input_ids"], ["last_hidden_state"])]
    inputs = [_tensor("input_ids", "batch", "length", kind=TensorProto.INT64)]
    return nodes, inputs, [_tensor("last_hidden_state", "batch", "length", WIDTH)]


def _unet() -> tuple[list[Any], list[Any], list[Any]]:
    """out = conv(sample) + mean over tokens of (context · text) + timestep / 1000."""
    nodes = [
        helper.make_node("Conv", ["sample", "mix"], ["mixed"]),
        helper.make_node("MatMul", ["encoder_hidden_states", "text"], ["read"]),
        helper.make_node("Constant", [], ["tokens"], value_ints=[1]),
        helper.make_node("ReduceMean", ["read", "tokens"], ["meant"], keepdims=0),
        helper.make_node("Constant", [], ["planes"], value_ints=[2, 3]),
        helper.make_node("Unsqueeze", ["meant", "planes"], ["bias"]),
        helper.make_node("Constant", [], ["thousand"], value_float=1000.0),
        helper.make_node("Div", ["timestep", "thousand"], ["time"]),
        helper.make_node("Add", ["mixed", "bias"], ["told"]),
        helper.make_node("Add", ["told", "time"], ["out_sample"]),
    ]
    inputs = [
        _tensor("sample", "batch", 4, "height", "width"),
        _tensor("timestep", 1),
        _tensor("encoder_hidden_states", "batch", "length", WIDTH),
    ]
    return nodes, inputs, [_tensor("out_sample", "batch", 4, "height", "width")]


def _vae_encoder() -> tuple[list[Any], list[Any], list[Any]]:
    nodes = [helper.make_node("Conv", ["sample", "encode"], ["latent_parameters"], strides=[8, 8])]
    inputs = [_tensor("sample", "batch", 3, "height", "width")]
    return nodes, inputs, [_tensor("latent_parameters", "batch", 8, "rows", "columns")]


def _vae_decoder() -> tuple[list[Any], list[Any], list[Any]]:
    nodes = [
        helper.make_node("ConvTranspose", ["latent_sample", "decode"], ["sample"], strides=[8, 8])
    ]
    inputs = [_tensor("latent_sample", "batch", 4, "rows", "columns")]
    return nodes, inputs, [_tensor("sample", "batch", 3, "height", "width")]
