"""Control networks' files become bundles without torch, under whichever names they have."""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.conftest import Tiny

from overpaint.bundle.checkpoint.original_names.controlnet import PREFIX, ControlNames
from overpaint.bundle.checkpoint.safetensors import (
    Array,
    of_array,
    read_array,
    read_header,
    write_safetensors,
)
from overpaint.bundle.control.importing import import_controlnet, is_control_checkpoint
from overpaint.bundle.control.library import control_library, slots_of
from overpaint.bundle.control.open import open_controlnet
from overpaint.bundle.errors import CheckpointError
from overpaint.bundle.format.verify import verify_bundle
from overpaint.bundle.graph.weights import unbind
from overpaint.bundle.importing.library import Architecture, Graph, Index, Library, open_library
from overpaint.engines.onnxruntime.library import import_onnxruntime
from overpaint.export.control.library import KNOWN
from overpaint.export.control.networks import UNET

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def network(controlnet: Callable[..., Tiny]) -> Tiny:
    return controlnet("sd1", "canny")


@pytest.fixture(scope="module")
def library(network: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Library:
    """One that knows this network alone."""
    folder = tmp_path_factory.mktemp("library")
    (folder / "graphs").mkdir()
    exported, graphs = open_controlnet(network.bundle), {}
    for name, component in exported.manifest.components.items():
        template, _ = unbind((exported.folder / component.graph).read_bytes())
        (folder / "graphs" / f"{name}.onnx.xz").write_bytes(lzma.compress(template))
        sha256 = hashlib.sha256(template).hexdigest()
        graphs[name] = Graph(sha256=sha256, traced_from="", component=component)
    config = json.loads((network.checkpoint / "config.json").read_text())
    tiny = Architecture(
        like="the tiny one",
        family="sd1",
        index={},
        scheduler={},
        configs={"controlnet": config},
        pads={},
        graphs={"float32": {name: name for name in graphs}},
    )
    index = Index(exporter="", versions={}, graphs=graphs, architectures={"tiny": tiny})
    (folder / "index.json").write_bytes(msgspec.json.encode(index))
    return open_library(folder)


def renamed(network: Tiny, to: Path, prefix: str) -> Path:
    """The network's file, in the original code's names."""
    tensors, _ = read_header(network.checkpoint / WEIGHTS)
    names = ControlNames.of(tensors)
    found = {}
    for name, tensor in tensors.items():
        source = names.source(name)
        assert source is not None, name
        found[prefix + source.rows[0].name] = of_array(read_array(tensor))
    write_safetensors(to, found)
    return to


def residuals(bundle: Path) -> list[Array]:
    graph = bundle / "controlnet" / "model.onnx"
    session = import_onnxruntime().InferenceSession(graph, providers=["CPUExecutionProvider"])
    sizes = {"batch": 2, "tokens": 77, "latent_height": 9, "latent_width": 11}
    rng = np.random.default_rng(0)
    feed = {
        one.name: rng.standard_normal([sizes.get(side, side) for side in one.shape])
        for one in session.get_inputs()
    }
    inputs = {name: np.asarray(values, np.float32) for name, values in feed.items()}
    return list(session.run(None, inputs))


@pytest.mark.parametrize("names", ["diffusers' folder", "diffusers'", "original", "prefixed"])
def test_a_file_gives_what_the_export_gives_under_whichever_names(
    names: str, network: Tiny, library: Library, tmp_path: Path
) -> None:
    source = {
        "diffusers' folder": lambda: network.checkpoint,
        "diffusers'": lambda: network.checkpoint / WEIGHTS,
        "original": lambda: renamed(network, tmp_path / "canny.safetensors", ""),
        "prefixed": lambda: renamed(network, tmp_path / "canny.safetensors", PREFIX),
    }[names]()
    assert is_control_checkpoint(source)
    made = import_controlnet(source, tmp_path / "bundle", library=library)
    assert made.architecture == "tiny"
    assert made.manifest.family == "sd1"
    assert verify_bundle(tmp_path / "bundle").whole
    for one, other in zip(residuals(tmp_path / "bundle"), residuals(network.bundle), strict=True):
        assert np.array_equal(one, other)


def test_another_network_is_told_what_differs(
    network: Tiny, library: Library, tmp_path: Path
) -> None:
    tensors, _ = read_header(network.checkpoint / WEIGHTS)
    short = {name: of_array(read_array(one)) for name, one in tensors.items()}
    del short["controlnet_mid_block.weight"]
    write_safetensors(tmp_path / "short.safetensors", short)
    with pytest.raises(CheckpointError, match=r"the tiny one, but lacks controlnet_mid_block"):
        import_controlnet(tmp_path / "short.safetensors", tmp_path / "b", library=library)
    assert not (tmp_path / "b").exists()


def test_the_packaged_graphs_are_those_that_an_export_traces_now() -> None:
    from overpaint.export import library as making
    from overpaint.export.control.library import CONTROL_TRACING

    index = control_library().index
    assert index.exporter == making.exporter_hash(CONTROL_TRACING)


def test_the_wheel_carries_networks_and_checkpoints_are_no_networks(tiny_sd1: Path) -> None:
    assert "sd1.5" in control_library().architectures
    assert not is_control_checkpoint(tiny_sd1)
    assert not is_control_checkpoint(tiny_sd1 / "unet" / WEIGHTS)


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_the_packaged_graphs_ask_for_what_the_published_networks_have(name: str) -> None:
    import diffusers
    import torch

    library = control_library()
    config = library.architectures[name].configs["controlnet"]
    with torch.device("meta"):
        network = getattr(diffusers, config["_class_name"]).from_config(config)
    tensors = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    wanted = {key: slot.shape for key, slot in slots_of(library, name).items()}
    unread = {key for key in tensors if key not in wanted}
    assert wanted == {key: tensors[key] for key in tensors if key not in unread}
    assert all(key.startswith("transformer_blocks.5.") for key in unread), "of the text's end"
    if KNOWN[name].class_name == UNET:
        names = ControlNames.of(wanted)
        assert len({names.source(one) for one in wanted} - {None}) == len(wanted)
