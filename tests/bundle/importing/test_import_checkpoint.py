"""`import` makes the bundle that `export` makes: the same numbers to the bit, and no torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import torch
from tests.bundle.single_files import single_file, tiny_library, write_single_file
from tests.checkpoints import clip_vocabulary
from tests.conftest import Tiny
from tokenizers import Tokenizer

from overpaint.bundle import layout
from overpaint.bundle.errors import CheckpointError, OutputExistsError, UsageError
from overpaint.bundle.format.manifest import Manifest
from overpaint.bundle.format.manifest_file import read_manifest
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.graph.external import external_tensors_of
from overpaint.bundle.importing import import_checkpoint
from overpaint.bundle.importing.library import Library
from overpaint.bundle.tensor import Tensor
from overpaint.bundle.tokenizer.files import pad_token_id
from overpaint.engines.onnxruntime.cpu.decode import decode

FAMILIES = ("sd1", "sd2", "sdxl", "sdxl-refiner", "sd3", "flux1", "z-image", "flux2-klein")
INPAINTING = {f"{family}-inpainting": family for family in ("sd1", "sdxl", "sd3")}
KINDS = (*FAMILIES, *INPAINTING)
SIZES = {"batch": 2, "tokens": 77, "latent_height": 8, "latent_width": 12}
SIZES |= {"height": 64, "width": 96, "references": 3}


@pytest.fixture(scope="module")
def models(
    checkpoints: dict[str, Path], bundles: dict[str, Path], inpainting: Callable[[str], Tiny]
) -> dict[str, Tiny]:
    plain = {family: Tiny(checkpoints[family], bundles[family]) for family in FAMILIES}
    return plain | {name: inpainting(family) for name, family in INPAINTING.items()}


@pytest.fixture(scope="module")
def library(models: dict[str, Tiny], tmp_path_factory: pytest.TempPathFactory) -> Library:
    known = {name: (tiny.checkpoint, tiny.bundle) for name, tiny in models.items()}
    merges = "".join(f"{left} {right}\n" for left, right in clip_vocabulary()[1])
    return tiny_library(tmp_path_factory.mktemp("library") / "tiny", known, merges)


def feed(inputs: tuple[Tensor, ...]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    arrays = {}
    for tensor in inputs:
        shape = [side if isinstance(side, int) else SIZES[side] for side in tensor.shape]
        if tensor.dtype == "int64":
            arrays[tensor.name] = rng.integers(0, 1000, shape)
        elif tensor.name in ("timestep", "time_ids"):
            arrays[tensor.name] = rng.integers(0, 999, shape).astype(np.float32)
        else:
            arrays[tensor.name] = rng.standard_normal(shape).astype(np.float32)
    return {name: np.asarray(array) for name, array in arrays.items()}


def outputs(bundle: Path) -> dict[str, list[np.ndarray]]:
    """Every output of every graph of a bundle, for the same inputs."""
    made = {}
    for name, component in read_manifest(bundle).components.items():
        session = onnxruntime.InferenceSession(
            bundle / component.graph, providers=["CPUExecutionProvider"]
        )
        made[name] = session.run(None, feed(component.inputs))
    return made


def assert_same_numbers(ours: Path, theirs: Path) -> None:
    made, wanted = outputs(ours), outputs(theirs)
    assert made.keys() == wanted.keys()
    for component, arrays in wanted.items():
        for ours_, theirs_ in zip(made[component], arrays, strict=True):
            assert ours_.tobytes() == theirs_.tobytes(), component
            assert np.isfinite(theirs_).all()


def assert_same_tokens(ours: Path, theirs: Path) -> None:
    for file in ("vocab.json", "merges.txt"):
        if (theirs / file).exists():
            assert (ours / file).read_text("utf-8") == (theirs / file).read_text("utf-8")
    tokenizers = [Tokenizer.from_file(str(one / layout.TOKENIZER)) for one in (ours, theirs)]
    for prompt in ("", "a cat!", "café, 夜の富士山 🏔️ <|endoftext|>", "don't 1234", "word " * 200):
        mine, wanted = (tokenizer.encode(prompt).ids for tokenizer in tokenizers)
        assert mine == wanted, prompt
    assert pad_token_id(ours) == pad_token_id(theirs)


def meaning(manifest: Manifest) -> dict[str, Any]:
    """What a manifest says of the model, without names, hashes, versions and measurements."""
    return {
        name: getattr(manifest, name)
        for name in ("family", "denoiser", "latents", "prediction", "text", "defaults")
    } | {
        name: (c.inputs, c.outputs, c.ranges, c.compute_dtype)
        for name, c in manifest.components.items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_diffusers_folder_imports_to_the_numbers_of_its_export(
    kind: str, models: dict[str, Tiny], library: Library, tmp_path: Path
) -> None:
    checkpoint, wanted = models[kind].checkpoint, models[kind].bundle
    made = import_checkpoint(checkpoint, tmp_path / "bundle", library=library, decode=decode)
    assert made.architecture == kind
    assert made.manifest.inpaints == (kind in INPAINTING)
    assert_same_numbers(tmp_path / "bundle", wanted)
    assert meaning(made.manifest) == meaning(read_manifest(wanted))
    assert made.manifest.source.sha256 == read_manifest(wanted).source.sha256
    assert made.manifest.preview == read_manifest(wanted).preview
    open_bundle(tmp_path / "bundle", verify="full")


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_file_imports_to_the_numbers_of_its_folders_export(
    kind: str, models: dict[str, Tiny], library: Library, tmp_path: Path
) -> None:
    checkpoint = models[kind].checkpoint
    path = write_single_file(checkpoint, tmp_path / "model.safetensors")
    if kind.startswith("sd3"):  # whose own code has no projection in CLIP-L: diffusers makes it 1
        folder = shutil.copytree(checkpoint, tmp_path / "plain")
        weights = folder / "text_encoder" / "model.safetensors"
        tensors = safetensors.torch.load_file(weights)
        tensors["text_projection.weight"] = torch.eye(len(tensors["text_projection.weight"]))
        safetensors.torch.save_file(tensors, weights)
        import_checkpoint(folder, tmp_path / "wanted", library=library)
        wanted, t5 = tmp_path / "wanted", checkpoint / "tokenizer_3"
    else:
        given = {"flux1": "tokenizer_2", "z-image": "tokenizer", "flux2-klein": "tokenizer"}
        t5 = checkpoint / given[kind] if kind in given else None
        wanted = models[kind].bundle
    made = import_checkpoint(path, tmp_path / "bundle", library=library, tokenizer=t5)
    assert made.architecture == kind
    assert_same_numbers(tmp_path / "bundle", wanted)
    assert meaning(made.manifest) == meaning(read_manifest(wanted))
    for name in layout.TOKENIZERS:
        if (wanted / name).exists():
            both = [root / name for root in (tmp_path / "bundle", wanted)]
            assert_same_tokens(*both)
    open_bundle(tmp_path / "bundle", verify="full")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_keep_the_dtype_that_they_are_stored_in(
    dtype: torch.dtype, library: Library, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    """The same rounded weights, stored in half precision and in full, give the same numbers."""
    full = shutil.copytree(checkpoints["sd1"], tmp_path / "full")
    half = shutil.copytree(checkpoints["sd1"], tmp_path / "half")
    for file in full.rglob("*.safetensors"):
        rounded = {n: t.to(dtype) for n, t in safetensors.torch.load_file(file).items()}
        safetensors.torch.save_file(rounded, half / file.relative_to(full))
        safetensors.torch.save_file({n: t.float() for n, t in rounded.items()}, file)
    import_checkpoint(full, tmp_path / "full.bundle", library=library)
    import_checkpoint(half, tmp_path / "half.bundle", library=library)
    file = write_single_file(half, tmp_path / "half.safetensors")
    import_checkpoint(file, tmp_path / "file.bundle", library=library)
    assert_same_numbers(tmp_path / "half.bundle", tmp_path / "full.bundle")
    assert_same_numbers(tmp_path / "file.bundle", tmp_path / "full.bundle")


def test_a_sharded_folder_imports_as_a_whole_one(
    checkpoints: dict[str, Path], bundles: dict[str, Path], library: Library, tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoints["sdxl"], tmp_path / "sharded")
    unet = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    unet.save_pretrained(folder / "unet", max_shard_size="200KB")
    assert len(list((folder / "unet").glob("*-of-*.safetensors"))) > 1
    import_checkpoint(folder, tmp_path / "bundle", library=library)
    assert_same_numbers(tmp_path / "bundle", bundles["sdxl"])


def test_the_names_of_older_releases_are_understood(
    checkpoints: dict[str, Path], bundles: dict[str, Path], library: Library, tmp_path: Path
) -> None:
    """SD 1.5's own folder: `query`, `key`, `value`, `proj_attn`, and position ids beside."""
    folder = shutil.copytree(checkpoints["sd1"], tmp_path / "old")
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    vae = folder / "vae" / "diffusion_pytorch_model.safetensors"
    renamed = {}
    for name, tensor in safetensors.torch.load_file(vae).items():
        for new, former in old.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{former}.")
        renamed[name] = tensor
    safetensors.torch.save_file(renamed, vae)
    text = folder / "text_encoder" / "model.safetensors"
    tensors = {f"text_model.{n}": t for n, t in safetensors.torch.load_file(text).items()}
    tensors["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    safetensors.torch.save_file(tensors, text)
    import_checkpoint(folder, tmp_path / "bundle", library=library)
    assert_same_numbers(tmp_path / "bundle", bundles["sd1"])


def test_sd3_without_t5_imports_without_it(
    checkpoints: dict[str, Path], library: Library, tmp_path: Path
) -> None:
    file = {n: t for n, t in single_file(checkpoints["sd3"]).items() if ".t5xxl." not in n}
    path = tmp_path / "no-t5.safetensors"
    safetensors.torch.save_file(file, path)
    made = import_checkpoint(path, tmp_path / "bundle", library=library)
    assert "text_encoder_3" not in made.manifest.components
    assert [e.component for e in made.manifest.text.encoders] == ["text_encoder", "text_encoder_2"]
    assert made.manifest.text.t5_length == 256
    index = json.loads((tmp_path / "bundle" / layout.MODEL_INDEX).read_text())
    assert index["text_encoder_3"] == index["tokenizer_3"] == [None, None]


@pytest.mark.parametrize("family", ["flux1", "z-image", "flux2-klein"])
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_a_file_with_the_denoiser_alone_is_completed_by_a_folder(
    prefix: str,
    family: str,
    checkpoints: dict[str, Path],
    bundles: dict[str, Path],
    library: Library,
    tmp_path: Path,
) -> None:
    """As FLUX.1's own files and most fine-tunes of it and of Z-Image are published."""
    own = "model.diffusion_model."
    whole = single_file(checkpoints[family])
    file = {prefix + n.removeprefix(own): t for n, t in whole.items() if n.startswith(own)}
    path, made = tmp_path / "denoiser.safetensors", tmp_path / "bundle"
    safetensors.torch.save_file(file, path)
    with pytest.raises(CheckpointError, match=r"nearest to .*text_encoder"):
        import_checkpoint(path, made, library=library)
    import_checkpoint(path, made, library=library, rest=checkpoints[family])
    assert_same_numbers(made, bundles[family])
    assert meaning(read_manifest(made)) == meaning(read_manifest(bundles[family]))
    with pytest.raises(UsageError, match="--rest: is for single files"):
        import_checkpoint(checkpoints[family], tmp_path / "b", rest=path.parent)


def test_a_language_model_is_read_from_its_own_files_and_no_further_than_it_is_used(
    checkpoints: dict[str, Path], bundles: dict[str, Path], library: Library, tmp_path: Path
) -> None:
    """Z-Image's folder has Qwen3 as it was published: within `model.`, with its last layer."""
    folder = shutil.copytree(checkpoints["z-image"], tmp_path / "published")
    file = folder / "text_encoder" / "model.safetensors"
    own = safetensors.torch.load_file(file)
    assert {"norm.weight", "layers.2.mlp.up_proj.weight"} <= own.keys()
    named = {f"model.{name}": tensor for name, tensor in own.items()}
    safetensors.torch.save_file(named, file)
    import_checkpoint(folder, tmp_path / "bundle", library=library)
    assert_same_numbers(tmp_path / "bundle", bundles["z-image"])
    longer = {name.replace("layers.2", "layers.3"): one.clone() for name, one in named.items()}
    safetensors.torch.save_file(named | longer, file)
    with pytest.raises(CheckpointError, match=r"has more than it should \(model\.layers\.3\."):
        import_checkpoint(folder, tmp_path / "another", library=library)


def test_weights_are_linked_or_copied_as_told(
    checkpoints: dict[str, Path], library: Library, tmp_path: Path
) -> None:
    path = write_single_file(checkpoints["sd1"], tmp_path / "model.safetensors")
    made = import_checkpoint(path, tmp_path / "linked", link="link", library=library)
    assert made.placed <= {"hard-linked", "reflinked"}
    if made.placed == {"hard-linked"}:
        for component in ("unet", "text_encoder", "vae_encoder", "vae_decoder"):
            assert (tmp_path / "linked" / component / path.name).samefile(path)
    made = import_checkpoint(path, tmp_path / "copied", link="copy", library=library)
    assert made.placed <= {"copied", "reflinked"}
    copies = [tmp_path / "copied" / c / path.name for c in ("unet", "vae_decoder")]
    assert not copies[0].samefile(path)
    assert made.placed != {"copied"} or copies[0].samefile(copies[1])
    assert_same_numbers(tmp_path / "copied", tmp_path / "linked")


def test_where_links_are_impossible_auto_copies_and_link_refuses(
    checkpoints: dict[str, Path],
    library: Library,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write_single_file(checkpoints["sd1"], tmp_path / "model.safetensors")

    def no_links(*args: Any, **options: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr("overpaint.bundle.checkpoint.link._reflink", lambda *_: False)
    with pytest.raises(CheckpointError, match=r"cannot be linked .* say --copy"):
        import_checkpoint(path, tmp_path / "linked", link="link", library=library)
    assert not (tmp_path / "linked").exists()
    made = import_checkpoint(path, tmp_path / "copied", library=library)
    assert made.placed == {"copied"}


def test_nearly_everything_lies_in_the_checkpoints_own_file(
    checkpoints: dict[str, Path], library: Library, tmp_path: Path
) -> None:
    """Of SDXL's single file one tensor is turned over; all others are used as they lie."""
    path = write_single_file(checkpoints["sdxl"], tmp_path / "model.safetensors")
    import_checkpoint(path, tmp_path / "bundle", library=library)
    elsewhere = {
        tensor.name
        for graph in (tmp_path / "bundle").rglob("model.onnx")
        for tensor in external_tensors_of(graph)
        if tensor.location != path.name
    }
    assert elsewhere == {"text_projection.weight"}


def test_symlinked_weights_of_a_hub_cache_are_followed(
    checkpoints: dict[str, Path], bundles: dict[str, Path], library: Library, tmp_path: Path
) -> None:
    snapshot = shutil.copytree(checkpoints["sd1"], tmp_path / "snapshot")
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for index, file in enumerate(sorted(snapshot.rglob("*.safetensors"))):
        file.rename(blobs / str(index))
        file.symlink_to(blobs / str(index))
    import_checkpoint(snapshot, tmp_path / "bundle", library=library)
    assert_same_numbers(tmp_path / "bundle", bundles["sd1"])


def test_an_import_knows_no_torch(
    checkpoints: dict[str, Path], library: Library, tmp_path: Path
) -> None:
    path = write_single_file(checkpoints["sdxl"], tmp_path / "model.safetensors")
    code = f"""
import sys
for name in ("torch", "diffusers", "transformers", "onnx", "safetensors", "onnxruntime"):
    sys.modules[name] = None
from pathlib import Path
from overpaint.bundle.importing import import_checkpoint
from overpaint.bundle.importing.library import open_library
library = open_library(Path({str(library.folder)!r}))
print(import_checkpoint({str(path)!r}, {str(tmp_path / "bundle")!r}, library=library).architecture)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "sdxl\n"), done.stderr


def test_progress_rises_to_its_end(
    checkpoints: dict[str, Path], library: Library, tmp_path: Path
) -> None:
    seen: list[tuple[int, int, str]] = []
    import_checkpoint(
        checkpoints["sd1"],
        tmp_path / "bundle",
        library=library,
        progress=lambda done, total, doing: seen.append((done, total, doing)),
    )
    done = [each[0] for each in seen]
    assert done == sorted(done)
    assert done[-1] == seen[-1][1]
    assert any("unet" in each[2] for each in seen)


def test_what_is_there_is_not_overwritten(
    checkpoints: dict[str, Path], library: Library, tmp_path: Path
) -> None:
    import_checkpoint(checkpoints["sd1"], tmp_path / "bundle", library=library)
    with pytest.raises(OutputExistsError):
        import_checkpoint(checkpoints["sd1"], tmp_path / "bundle", library=library)
    import_checkpoint(checkpoints["sd1"], tmp_path / "bundle", library=library, force=True)


def test_an_unknown_dtype_or_architecture_is_a_usage_error(
    checkpoints: dict[str, Path], library: Library, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="expected float32, got 'int8'"):
        import_checkpoint(checkpoints["sd1"], tmp_path / "b", library=library, dtype="int8")
    path = write_single_file(checkpoints["sd1"], tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match="--like"):
        import_checkpoint(path, tmp_path / "b", library=library, like="sd9")
    with pytest.raises(UsageError, match="--like"):
        import_checkpoint(checkpoints["sd1"], tmp_path / "b", library=library, like="sd1")
    assert not (tmp_path / "b").exists()


def test_a_single_file_with_t5_needs_its_vocabulary(
    checkpoints: dict[str, Path], library: Library, tmp_path: Path
) -> None:
    path = write_single_file(checkpoints["sd3"], tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"T5 or Qwen3, whose vocabulary .* --tokenizer"):
        import_checkpoint(path, tmp_path / "bundle", library=library)
    import_checkpoint(
        path, tmp_path / "bundle", library=library, tokenizer=checkpoints["sd3"] / "tokenizer_3"
    )
