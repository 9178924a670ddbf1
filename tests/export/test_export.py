"""`export_checkpoint`: all or nothing, from whatever a checkpoint is stored as."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tests import kept
from tests.checkpoints import tiny_checkpoint

from overpaint.bundle.arrays import Array
from overpaint.bundle.checkpoint.safetensors import read_header
from overpaint.bundle.errors import CheckpointError, OutputExistsError, ParityError, UsageError
from overpaint.bundle.facts import Latents
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.format.verify import verify_bundle
from overpaint.bundle.importing.preview_factors import preview_factors
from overpaint.export import export_checkpoint, library

Export = Callable[..., Any]
Exported = Callable[..., Path]


def copied(checkpoint: Path, to: Path) -> Path:
    shutil.copytree(checkpoint, to)
    return to


def edited(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def unet_error(bundle: Path, checkpoint: Path) -> float:
    """The bundle's UNet against torch's, relative, on one input."""
    rng = np.random.default_rng(0)
    sample = rng.standard_normal((2, 4, 8, 8), np.float32)
    context = rng.standard_normal((2, 77, 32), np.float32)
    feed = {
        "sample": sample,
        "timestep": np.asarray(500, np.float32),
        "encoder_hidden_states": context,
    }
    [ours] = onnxruntime.InferenceSession(bundle / "unet/model.onnx").run(None, feed)
    unet = diffusers.UNet2DConditionModel.from_pretrained(
        checkpoint, subfolder="unet", torch_dtype=torch.float32
    )
    with torch.inference_mode():
        theirs = unet(torch.tensor(sample), 500, torch.tensor(context)).sample.numpy()
    assert ours.dtype == np.float32
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


# ------------------------------------------------------------------ what comes out


def test_a_bundle_is_whole_and_says_what_it_is(tiny_sd1: Path, tiny_sd1_bundle: Path) -> None:
    assert verify_bundle(tiny_sd1_bundle).problems == ()
    manifest = open_bundle(tiny_sd1_bundle).manifest
    assert (manifest.family, manifest.denoiser, manifest.prediction) == ("sd1", "unet", "epsilon")
    assert manifest.name == manifest.source.name == tiny_sd1.name
    assert manifest.producers["torch"] == version("torch")
    assert manifest.latents.scaling == 0.18215
    assert [e.hidden for e in manifest.text.encoders] == ["last_hidden_state"]
    assert (manifest.defaults.strength, manifest.defaults.guidance_scale) == (0.8, 7.5)


def test_the_preview_map_of_a_linear_decoder_is_that_decoder() -> None:
    weight = np.array([[0.1, 0.2, 0.3], [-0.5, 0.0, 0.5], [0.0, 0.4, -0.2], [0.25, 0.25, 0.0]])
    offset = np.array([0.05, -0.1, 0.15])

    def decode(latents: Array) -> Array:
        z = (latents - 0.3) * 0.7  # what the pipeline had before it scaled for the decoder
        rgb = np.einsum("bchw,cr->brhw", z, weight) + offset[:, None, None]
        return rgb.repeat(8, axis=2).repeat(8, axis=3)

    latents = Latents(channels=4, downscale=8, multiple=8, scaling=0.7, shift=0.3)
    factors = np.asarray(preview_factors(latents, decode))
    assert np.abs(factors - np.concatenate([weight, offset[None]])).max() < 1e-5


def test_the_manifest_has_the_preview_map_of_its_decoder(tiny_sd1_bundle: Path) -> None:
    manifest = open_bundle(tiny_sd1_bundle).manifest
    factors = np.asarray(manifest.preview)
    assert factors.shape == (manifest.latents.channels + 1, 3)
    assert 0.01 < np.abs(factors).max() < 10


def test_the_safety_checker_is_not_asked_for(tiny_sd1_bundle: Path) -> None:
    index = json.loads((tiny_sd1_bundle / "model_index.json").read_text())
    assert index["safety_checker"] == index["feature_extractor"] == [None, None]


def test_the_same_checkpoint_gives_the_same_bundle(
    tiny_sd1: Path, tmp_path: Path, export_remembering: Export
) -> None:
    export_remembering(tiny_sd1, tmp_path / "a")
    export_remembering(tiny_sd1, tmp_path / "b")
    assert (tmp_path / "a/overpaint.json").read_bytes() == (
        tmp_path / "b/overpaint.json"
    ).read_bytes()


def test_progress_counts_up_to_its_total(
    tiny_sd1: Path, tmp_path: Path, export_remembering: Export
) -> None:
    seen: list[tuple[int, int, str]] = []
    export_remembering(tiny_sd1, tmp_path / "bundle", progress=lambda *step: seen.append(step))
    done, totals, doing = zip(*seen, strict=True)
    assert list(done) == list(range(len(seen)))
    assert set(totals) == {len(seen)}
    assert any("unet" in text for text in doing)


# ------------------------------------------------------------------ what goes in


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
def test_checkpoints_stored_in_half_precision_keep_their_bytes_and_compute_in_float32(
    tmp_path: Path, export_remembering: Export, dtype: torch.dtype
) -> None:
    checkpoint = tiny_checkpoint("sd1", tmp_path / "checkpoint", dtype=dtype)
    manifest = export_remembering(checkpoint, tmp_path / "bundle")
    assert manifest.components["unet"].compute_dtype == "float32"
    assert unet_error(tmp_path / "bundle", checkpoint) < 1e-5
    file = "unet/diffusion_pytorch_model.safetensors"
    assert (tmp_path / "bundle" / file).read_bytes() == (checkpoint / file).read_bytes()


def test_sharded_checkpoints_work(tmp_path: Path, export_remembering: Export) -> None:
    checkpoint = tiny_checkpoint("sd1", tmp_path / "checkpoint", shard_size="900KB")
    export_remembering(checkpoint, tmp_path / "bundle")
    assert len(list((tmp_path / "bundle/unet").glob("*-of-*.safetensors"))) > 3
    assert verify_bundle(tmp_path / "bundle").problems == ()
    assert unet_error(tmp_path / "bundle", checkpoint) < 1e-5


def test_a_hub_caches_links_are_followed(
    tiny_sd1: Path, tmp_path: Path, export_remembering: Export
) -> None:
    blobs, snapshot = copied(tiny_sd1, tmp_path / "blobs"), tmp_path / "snapshot"
    for path in (path for path in blobs.rglob("*") if path.is_file()):
        link = snapshot / path.relative_to(blobs)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    export_remembering(snapshot, tmp_path / "bundle")
    assert not [path for path in (tmp_path / "bundle").rglob("*") if path.is_symlink()]
    assert verify_bundle(tmp_path / "bundle").problems == ()


def test_a_hub_id_is_found_in_the_cache_without_a_connection(
    tiny_sd1: Path, tmp_path: Path, export_remembering: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "hub/models--somebody--something"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text("0" * 40)
    copied(tiny_sd1, repository / "snapshots" / ("0" * 40))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    manifest = export_remembering("somebody/something", tmp_path / "bundle")
    assert manifest.name == "somebody/something"


def test_old_names_of_a_vaes_attention_are_understood(
    tiny_sd1: Path, tmp_path: Path, export_remembering: Export
) -> None:
    """Stable Diffusion 1.5's own repository still has them."""
    from safetensors.torch import load_file, save_file

    checkpoint = copied(tiny_sd1, tmp_path / "checkpoint")
    [file] = (checkpoint / "vae").glob("*.safetensors")
    old = {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."}
    tensors = {}
    for name, tensor in load_file(file).items():
        for new, former in old.items():
            if ".attentions." in name:
                name = name.replace(new, former)
        tensors[name] = tensor
    assert any("proj_attn" in name for name in tensors)
    save_file(tensors, file)
    manifest = export_remembering(checkpoint, tmp_path / "bundle")
    assert manifest.components["vae_decoder"].parity.max_abs_error < 1e-4


@pytest.mark.parametrize(("store", "stored"), [("float16", "F16"), ("bfloat16", "BF16")])
def test_store_writes_converted_weights_and_compares_with_torch_on_those(
    tiny_sd1: Path, tmp_path: Path, export_remembering: Export, store: str, stored: str
) -> None:
    manifest = export_remembering(tiny_sd1, tmp_path / "bundle", store=store)
    [file] = (tmp_path / "bundle/unet").glob("*.safetensors")
    ours, theirs = read_header(file)[0], read_header(next((tiny_sd1 / "unet").glob("*.s*")))[0]
    assert {tensor.dtype for tensor in ours.values()} == {stored}
    assert {name: t.shape for name, t in ours.items()} == {n: t.shape for n, t in theirs.items()}
    assert manifest.components["unet"].compute_dtype == "float32"
    assert unet_error(tmp_path / "bundle", tiny_sd1) < 0.1  # rounded, not wrong


def test_store_refuses_values_that_the_dtype_cannot_hold(
    tiny_sd1: Path, tmp_path: Path, export_remembering: Export
) -> None:
    from safetensors.torch import load_file, save_file

    checkpoint = copied(tiny_sd1, tmp_path / "checkpoint")
    file = checkpoint / "text_encoder/model.safetensors"
    tensors = load_file(file)
    next(iter(tensors.values())).view(-1)[0] = 1e6
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=r"1e\+06, which F16 cannot"):
        export_remembering(checkpoint, tmp_path / "bundle", store="float16")


# ------------------------------------------------------------------ all or nothing


def test_numbers_that_are_not_torchs_stop_the_export_with_the_figures(
    tiny_sd1: Path, tmp_path: Path, export_remembering: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One weight of the graph's copy is disturbed before it is compared."""
    from overpaint.export import bundle

    measure = bundle.measure

    def disturbed(part: Any, folder: Path, cases: Any) -> Any:
        if part.component == "unet":
            [file] = folder.glob("*.safetensors")
            data = bytearray(file.read_bytes())
            stored = read_header(file)[0]["conv_out.bias"]
            data[stored.offset : stored.offset + 4] = np.float32(0.01).tobytes()
            file.unlink()  # the checkpoint's own stays as it is
            file.write_bytes(data)
        return measure(part, folder, cases)

    monkeypatch.setattr(bundle, "measure", disturbed)
    with pytest.raises(ParityError, match=r"unet: out_sample differs from torch by up to 0\.0"):
        export_remembering(tiny_sd1, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_not_a_number_is_never_within_the_limit(
    tiny_sd1: Path, tmp_path: Path, export_remembering: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    from overpaint.export import bundle

    reference = bundle.reference

    def poisoned(part: Any, net: Any) -> Any:
        cases = reference(part, net)
        cases[0][1][0].flat[0] = np.nan
        return cases

    monkeypatch.setattr(bundle, "reference", poisoned)
    with pytest.raises(ParityError):
        export_remembering(tiny_sd1, tmp_path / "bundle")


@pytest.mark.usefixtures("hearing_signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "kill"])
def test_an_interrupted_export_leaves_nothing(
    tiny_sd1: Path, tmp_path: Path, number: signal.Signals
) -> None:
    code = (
        "import sys; from overpaint.export import export_checkpoint\n"
        "export_checkpoint(*sys.argv[1:], progress=lambda *step: print(step, flush=True))"
    )
    output = tmp_path / "bundles/sd1"
    with subprocess.Popen(
        [sys.executable, "-c", code, tiny_sd1, output],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "tracing" in line:
                break
        assert len(list((tmp_path / "bundles").iterdir())) == 1  # work in progress, beside
        time.sleep(0.2)
        process.send_signal(number)
        assert process.wait(60) != 0
    assert list((tmp_path / "bundles").iterdir()) == []


def test_an_existing_output_is_refused_unless_forced(
    tiny_sd1: Path, tiny_sd1_bundle: Path, tmp_path: Path, export_remembering: Export
) -> None:
    bundle = copied(tiny_sd1_bundle, tmp_path / "bundle")
    (bundle / "plans").mkdir()
    with pytest.raises(OutputExistsError, match="--force"):
        export_checkpoint(tiny_sd1, bundle)
    assert (bundle / "plans").is_dir()
    export_remembering(tiny_sd1, bundle, force=True)
    assert not (bundle / "plans").exists()


# ------------------------------------------------------------------ what cannot be exported


def refused(checkpoint: Path | str, tmp_path: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        export_checkpoint(checkpoint, tmp_path / "output")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "output").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_unknown_dtypes_and_parities_are_refused(tiny_sd1: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="dtype: expected float32 or float16, got 'int8'"):
        export_checkpoint(tiny_sd1, tmp_path / "output", dtype="int8")
    with pytest.raises(UsageError, match="store: expected one of"):
        export_checkpoint(tiny_sd1, tmp_path / "output", store="int8")
    with pytest.raises(UsageError, match="parity: expected checkpoint or reduced, got 'none'"):
        export_checkpoint(tiny_sd1, tmp_path / "output", parity="none")


def test_what_is_no_checkpoint_is_refused(tiny_sd1: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "nowhere", tmp_path, "no such folder")
    refused(tmp_path / "empty", tmp_path, r"it has no model_index\.json")
    file = tiny_sd1 / "unet/diffusion_pytorch_model.safetensors"
    refused(file, tmp_path, "overpaint import")


def test_a_missing_component_is_refused(tiny_sd1: Path, tmp_path: Path) -> None:
    checkpoint = copied(tiny_sd1, tmp_path / "checkpoint")
    shutil.rmtree(checkpoint / "vae")
    refused(checkpoint, tmp_path, r"vae.*config\.json")


def test_missing_weights_are_refused(tiny_sd1: Path, tmp_path: Path) -> None:
    checkpoint = copied(tiny_sd1, tmp_path / "checkpoint")
    file = checkpoint / "text_encoder/model.safetensors"
    file.rename(file.with_name("pytorch_model.bin"))
    refused(checkpoint, tmp_path, "a pickle, which can run code")
    file.with_name("pytorch_model.bin").unlink()
    refused(checkpoint, tmp_path, "is the download complete")


def test_truncated_weights_are_refused(tiny_sd1: Path, tmp_path: Path) -> None:
    checkpoint = copied(tiny_sd1, tmp_path / "checkpoint")
    os.truncate(checkpoint / "text_encoder/model.safetensors", 1_000_000)
    refused(checkpoint, tmp_path, "not a whole safetensors file")


def test_a_denoiser_that_is_told_other_things_is_refused(tiny_sd1: Path, tmp_path: Path) -> None:
    checkpoint = copied(tiny_sd1, tmp_path / "checkpoint")
    for channels, what in ((8, "editing"), (5, "depth"), (7, "of an inpainting checkpoint, got 7")):
        edited(checkpoint / "unet/config.json", in_channels=channels)
        refused(checkpoint, tmp_path, what)


def test_a_config_of_another_model_is_refused(
    tiny_sd1: Path, tmp_path: Path, export_remembering: Export
) -> None:
    checkpoint = copied(tiny_sd1, tmp_path / "checkpoint")
    edited(checkpoint / "text_encoder/config.json", hidden_size=64, intermediate_size=128)
    with pytest.raises(CheckpointError, match="of different models"):
        export_remembering(checkpoint, tmp_path / "output")


# ------------------------------------------------------------------ the kept graphs of this suite


def test_a_kept_graph_is_known_by_all_the_code_that_made_it() -> None:
    assert [Path(str(module.__file__)) for module in library.TRACING] == kept.TRACING


def test_tracing_anew_gives_the_kept_graph(tiny_sd1: Path, tiny_sd1_bundle: Path) -> None:
    from overpaint.bundle.checkpoint.folder import open_checkpoint
    from overpaint.bundle.graph.weights import unbind
    from overpaint.export.parts import parts_of
    from overpaint.export.trace import trace

    parts = {part.component: part for part in parts_of(open_checkpoint(tiny_sd1), "float32")}
    fresh = onnx.load_from_string(trace(parts["vae_decoder"]))
    template, _ = unbind((tiny_sd1_bundle / "vae_decoder/model.onnx").read_bytes())
    bound = onnx.load_from_string(template)
    assert fresh.graph.node == bound.graph.node
    assert fresh.graph.input == bound.graph.input
    assert fresh.graph.output == bound.graph.output
    assert {t.name for t in fresh.graph.initializer} == {t.name for t in bound.graph.initializer}


def test_what_is_of_another_family_is_refused(
    tiny_sd1: Path, tiny_sd3: Path, tmp_path: Path
) -> None:
    """Flux has all that an MMDiT's config has, but the size of its table of positions."""
    flux = copied(tiny_sd3, tmp_path / "flux")
    edited(flux / "model_index.json", transformer=["diffusers", "FluxTransformer2DModel"])
    refused(flux, tmp_path, "expected SD3Transformer2DModel, got FluxTransformer2DModel")
    lacking = copied(tiny_sd1, tmp_path / "lacking")
    config = lacking / "unet" / "config.json"
    said = json.loads(config.read_text())
    config.write_text(json.dumps({n: v for n, v in said.items() if n != "cross_attention_dim"}))
    refused(lacking, tmp_path, "lacking: its configs lack 'cross_attention_dim'")
