"""An IP-Adapter's file becomes a bundle: no torch, its weights where they were, its kind known."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tests.adapters import FILE, tiny_adapter
from tests.checkout import HOUSE
from tests.conftest import Adapters
from tests.random_lora import random_lora

from overpaint.bundle import layout
from overpaint.bundle.errors import CheckpointError, ManifestError
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.format.verify import verify_bundle
from overpaint.bundle.importing.library import open_library
from overpaint.bundle.ip_adapter.attach import attach
from overpaint.bundle.ip_adapter.attention import places, with_adapter
from overpaint.bundle.ip_adapter.bundle import open_adapter
from overpaint.bundle.ip_adapter.make import import_adapter
from overpaint.bundle.lora.branches import SCALE
from overpaint.bundle.lora.live import hash_of, live_loras
from overpaint.engines.choose import open_session


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_it_needs_no_torch_and_copies_no_weights(adapters: Adapters, tmp_path: Path) -> None:
    tiny = adapters("sd1", "plus")
    program = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'diffusers', 'transformers')))\n"
        "from overpaint.bundle.ip_adapter.make import import_adapter\n"
        f"import_adapter({str(tiny.file)!r}, {str(tmp_path / 'bundle')!r})"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=HOUSE)
    made = open_adapter(tmp_path / "bundle")
    assert (made.manifest.kind, made.manifest.tokens, made.manifest.width) == ("plus", 6, 32)
    assert (made.folder / made.manifest.weights).read_bytes() == tiny.file.read_bytes()
    assert verify_bundle(made.folder).whole
    graphs = [made.folder / part.graph for part in made.manifest.components.values()]
    assert all(graph.stat().st_size < 50_000 for graph in graphs)


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
@pytest.mark.parametrize("kind", ["base", "plus"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_its_encoder_gives_transformers_numbers(
    kind: str, activation: str, dtype: str, adapters: Adapters, tmp_path: Path
) -> None:
    tiny = adapters("sd1", "base")
    file = tiny_adapter(tiny.checkpoint, tmp_path / "adapter", kind, activation=activation)  # type: ignore[arg-type]
    import_adapter(file, tmp_path / "bundle", dtype=dtype)
    seeing = open_bundle(attach(open_bundle(tiny.bundle), open_adapter(tmp_path / "bundle")))
    encoder = transformers.CLIPVisionModelWithProjection.from_pretrained(
        file.parent / "image_encoder"
    )
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        out = encoder(x, output_hidden_states=True)
    wanted = (out.image_embeds if kind == "base" else out.hidden_states[-2]).numpy()
    with open_session(seeing, layout.IMAGE_ENCODER, "cpu") as session:
        [got] = session.run({"pixel_values": x.numpy()}).values()
    limit = 1e-5 if dtype == "float32" else 2e-2
    assert np.abs(got - wanted).max() <= limit * np.abs(wanted).max()


def test_weights_stored_in_half_precision_are_taken_as_they_lie(
    adapters: Adapters, tmp_path: Path
) -> None:
    tiny = adapters("sd1", "base")
    file = tiny_adapter(tiny.checkpoint, tmp_path / "half", dtype=torch.float16)
    import_adapter(file, tmp_path / "bundle")
    made = open_adapter(tmp_path / "bundle")
    assert (made.folder / made.manifest.weights).read_bytes() == file.read_bytes()
    seeing = open_bundle(attach(open_bundle(tiny.bundle), made))
    with open_session(seeing, "unet", "cpu") as session:
        assert "ip_adapter_tokens" in session.inputs


@pytest.mark.parametrize(
    ("name", "heads", "levels"),
    [("sd1.5-unet-float32", 16, {0: 5, 1: 5, 2: 5, 3: 1}), ("sdxl-base-unet-float16", 70, None)],
)
def test_every_cross_attention_of_the_true_unets_is_found(
    name: str, heads: int, levels: dict[int, int] | None
) -> None:
    template = open_library().template(name)
    where = places(template)
    assert len(where) == heads
    parts = [place.module.split(".")[0] for place in where]
    assert parts == sorted(parts, key=["down_blocks", "up_blocks", "mid_block"].index)
    assert len({place.module for place in where}) == heads
    if levels is not None:
        found = [place.level for place in where]
        assert {level: found.count(level) for level in levels} == levels
    pairs = [(f"k{number}", f"v{number}") for number in range(heads)]
    graph = onnx.load_model_from_string(with_adapter(template, pairs)).graph
    stored = [one.name for one in graph.initializer]
    assert {name for pair in pairs for name in pair} <= set(stored)
    assert len(stored) == len(set(stored))
    made = [output for node in graph.node for output in node.output]
    assert len(made) == len(set(made))
    attentions = [node for node in graph.node if node.op_type == "Attention"]
    plain = onnx.load_model_from_string(template).graph.node
    assert len(attentions) == heads + sum(node.op_type == "Attention" for node in plain)


def changed(file: Path, to: Path, **tensors: torch.Tensor) -> Path:
    shutil.copytree(file.parent, to)
    save_file(load_file(file) | tensors, to / FILE)
    return to / FILE


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ip_adapter.1.to_q_lora.down.weight", "FaceID"),
        ("image_proj.perceiver_resampler.proj_in.weight", "FaceID"),
        ("image_proj.proj.3.weight", "full-face"),
    ],
)
def test_other_kinds_are_refused_by_name(
    name: str, message: str, adapters: Adapters, tmp_path: Path
) -> None:
    file = changed(adapters("sd1", "base").file, tmp_path / "other", **{name: torch.zeros(2, 2)})
    with pytest.raises(CheckpointError, match=message):
        import_adapter(file, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_an_encoder_of_another_width_is_refused_with_what_mends_it(
    adapters: Adapters, tmp_path: Path
) -> None:
    shutil.copytree(adapters("sd1", "base").file.parent, tmp_path / "other")
    config = transformers.CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
        projection_dim=8,
    )
    encoder = transformers.CLIPVisionModelWithProjection(config)
    encoder.save_pretrained(tmp_path / "other" / "image_encoder")
    with pytest.raises(CheckpointError, match=r"sees 40 numbers.*gives 8.*--image-encoder"):
        import_adapter(tmp_path / "other" / FILE, tmp_path / "bundle")


def test_an_adapter_without_its_encoder_says_where_it_was_looked_for(
    adapters: Adapters, tmp_path: Path
) -> None:
    file = shutil.copyfile(adapters("sd1", "base").file, tmp_path / FILE)
    with pytest.raises(CheckpointError, match=r"image_encoder.*--image-encoder"):
        import_adapter(file, tmp_path / "bundle")


def test_a_folder_of_several_adapters_wants_one_named(adapters: Adapters, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(adapters("sd1", "base").file.parent, tmp_path / "several"))
    shutil.copyfile(folder / FILE, folder / "ip-adapter_other.safetensors")
    with pytest.raises(CheckpointError, match="name the file"):
        import_adapter(folder, tmp_path / "bundle")
    import_adapter(folder / FILE, tmp_path / "bundle")


def test_a_pipelines_bundle_is_no_adapter_and_the_other_way_round(adapters: Adapters) -> None:
    tiny = adapters("sd1", "base")
    with pytest.raises(ManifestError, match="expected an IP-Adapter"):
        open_adapter(tiny.bundle)
    with pytest.raises(ManifestError, match="--ip-adapter"):
        open_bundle(tiny.adapter)


def test_it_is_added_to_a_denoiser_whose_layers_have_loras_beside_them(
    adapters: Adapters, tmp_path: Path
) -> None:
    tiny = adapters("sd1", "base")
    file = random_lora(tmp_path / "ink.safetensors", tiny.bundle)
    turned = open_bundle(live_loras(open_bundle(tiny.bundle), {hash_of(file): file}))
    seeing = open_bundle(attach(turned, open_adapter(tiny.adapter)))
    with open_session(seeing, "unet", "cpu") as session:
        assert {SCALE, "ip_adapter_tokens"} <= set(session.inputs)
