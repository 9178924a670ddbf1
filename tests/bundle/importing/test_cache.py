"""A bundle for whatever is named: made at the first use, found at the second."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.bundle.single_files import tiny_library, write_single_file

from overpaint.bundle.checkpoint.safetensors import of_array, write_safetensors
from overpaint.bundle.errors import BundleError, CheckpointError, UsageError
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.importing import LoraChoice, fuse_loras, import_checkpoint
from overpaint.bundle.importing.cache import ready_bundle
from overpaint.bundle.importing.library import Library

MODULE = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"


@pytest.fixture(scope="module")
def library(
    tiny_sd1: Path, tiny_sd1_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Library:
    models = {"sd1": (tiny_sd1, tiny_sd1_bundle)}
    return tiny_library(tmp_path_factory.mktemp("library") / "tiny", models, "t h\n")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "overpaint" / "bundles"


@pytest.fixture
def lora(tmp_path: Path) -> Callable[[int], Path]:
    def write(seed: int) -> Path:
        rng = np.random.default_rng(seed)
        down, up = (rng.standard_normal(s).astype(np.float32) for s in ((2, 64), (64, 2)))
        path = tmp_path / f"lora-{seed}.safetensors"
        tensors = {f"{MODULE}.lora_down.weight": of_array(down)}
        tensors[f"{MODULE}.lora_up.weight"] = of_array(up)
        write_safetensors(path, tensors)
        return path

    return write


def contents(bundle: Path) -> dict[str, bytes]:
    return {
        path.relative_to(bundle).as_posix(): path.read_bytes()
        for path in bundle.rglob("*")
        if path.is_file()
    }


def test_a_bundle_is_itself(tiny_sd1_bundle: Path, cache: Path) -> None:
    assert ready_bundle(tiny_sd1_bundle) == tiny_sd1_bundle
    assert not cache.exists()


def test_a_single_file_is_imported_once(
    tiny_sd1: Path, library: Library, cache: Path, tmp_path: Path
) -> None:
    path = write_single_file(tiny_sd1, tmp_path / "fine-tune.safetensors")
    first = ready_bundle(path, library=library)
    assert first.parent == cache
    assert first.name.startswith("fine-tune-")
    made = first.stat().st_mtime_ns
    seen: list[object] = []
    assert ready_bundle(path, library=library, progress=lambda *step: seen.append(step)) == first
    assert (first.stat().st_mtime_ns, seen) == (made, [])
    os.utime(path, ns=(1, 1))
    assert ready_bundle(path, library=library) != first


def test_a_diffusers_folder_is_imported_once(tiny_sd1: Path, library: Library, cache: Path) -> None:
    first = ready_bundle(tiny_sd1, library=library)
    assert first.parent == cache
    assert ready_bundle(tiny_sd1, library=library) == first


def test_a_lora_is_fused_once_for_each_weight(
    tiny_sd1_bundle: Path, cache: Path, lora: Callable[[int], Path]
) -> None:
    path = lora(1)
    half = ready_bundle(tiny_sd1_bundle, loras=[LoraChoice(path, 0.5)])
    assert half.parent == cache
    assert ready_bundle(tiny_sd1_bundle, loras=[LoraChoice(path, 0.5)]) == half
    assert ready_bundle(tiny_sd1_bundle, loras=[LoraChoice(path, 0.6)]) != half
    told = open_bundle(half).manifest.loras
    assert [(one.name, one.weight) for one in told] == [(path.name, 0.5)]


def test_one_lora_after_another_leaves_no_residue(
    tiny_sd1_bundle: Path, tmp_path: Path, lora: Callable[[int], Path]
) -> None:
    """A, then B, then A: the base is never touched, and A's bundle is the same bytes again."""
    base = contents(tiny_sd1_bundle)
    bundle = open_bundle(tiny_sd1_bundle)
    for name, seed in (("a", 1), ("b", 2), ("a-again", 1)):
        fuse_loras(bundle, tmp_path / name, [LoraChoice(lora(seed), 0.7)])
    assert contents(tmp_path / "a") == contents(tmp_path / "a-again")
    assert contents(tmp_path / "a") != contents(tmp_path / "b")
    assert contents(tiny_sd1_bundle) == base
    open_bundle(tmp_path / "a", verify="full")


def test_only_the_changed_weights_are_written(
    tiny_sd1_bundle: Path, tmp_path: Path, lora: Callable[[int], Path]
) -> None:
    fuse_loras(open_bundle(tiny_sd1_bundle), tmp_path / "fused", [LoraChoice(lora(1))])
    new = [p for p in (tmp_path / "fused").rglob("*") if p.name.startswith("lora-")]
    assert [path.parent.name for path in new] == ["unet"]
    assert 64 * 64 * 4 < new[0].stat().st_size < 64 * 64 * 4 + 500


def test_loras_fused_one_after_another_are_loras_fused_together(
    tiny_sd1_bundle: Path, tmp_path: Path, lora: Callable[[int], Path]
) -> None:
    from overpaint.bundle.graph.weights import unbind
    from overpaint.bundle.lora.fuse import _read

    a, b = LoraChoice(lora(1), 0.5), LoraChoice(lora(2), -0.3)
    fuse_loras(open_bundle(tiny_sd1_bundle), tmp_path / "a", [a])
    fuse_loras(open_bundle(tmp_path / "a"), tmp_path / "a-b", [b])
    fuse_loras(open_bundle(tiny_sd1_bundle), tmp_path / "both", [a, b])
    name = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    arrays = []
    for folder in ("a-b", "both"):
        _, weights = unbind((tmp_path / folder / "unet" / "model.onnx").read_bytes())
        arrays.append(_read(tmp_path / folder / "unet", weights[name], (64, 64)))
    np.testing.assert_array_equal(*arrays)
    assert [one.weight for one in open_bundle(tmp_path / "a-b").manifest.loras] == [0.5, -0.3]


def test_plans_are_left_behind_for_they_hold_the_old_weights(
    tiny_sd1_bundle: Path, tmp_path: Path, lora: Callable[[int], Path]
) -> None:
    from overpaint.bundle.format.write import finish_bundle

    bundle = shutil.copytree(tiny_sd1_bundle, tmp_path / "planned")
    plan = bundle / "plans" / "trt11.4-sm90-linux-x86_64" / "unet.plan"
    plan.parent.mkdir(parents=True)
    plan.write_bytes(b"old weights")
    manifest = open_bundle(tiny_sd1_bundle).manifest
    (bundle / "overpaint.json").unlink()
    finish_bundle(bundle, manifest)
    fuse_loras(open_bundle(bundle), tmp_path / "fused", [LoraChoice(lora(1))])
    assert not (tmp_path / "fused" / "plans").exists()


def test_a_lora_that_does_not_fit_leaves_nothing(
    tiny_sd1_bundle: Path, tmp_path: Path, cache: Path
) -> None:
    path = tmp_path / "other.safetensors"
    names = ("lora_down", "lora_up")
    zeros = of_array(np.zeros((2, 2), np.float32))
    write_safetensors(path, {f"lora_te2_nothing.{name}.weight": zeros for name in names})
    with pytest.raises(CheckpointError, match="lora_te2_nothing"):
        ready_bundle(tiny_sd1_bundle, loras=[LoraChoice(path)])
    assert not list(cache.glob("*"))


def test_a_lora_can_be_fused_at_import(
    tiny_sd1: Path, library: Library, tmp_path: Path, lora: Callable[[int], Path]
) -> None:
    choice = LoraChoice(lora(1), 0.8)
    import_checkpoint(tiny_sd1, tmp_path / "plain", library=library)
    made = import_checkpoint(tiny_sd1, tmp_path / "fused", library=library, loras=[choice])
    fuse_loras(open_bundle(tmp_path / "plain"), tmp_path / "later", [choice])
    assert contents(tmp_path / "fused") == contents(tmp_path / "later")
    assert [one.weight for one in made.manifest.loras] == [0.8]


def test_without_a_cache_folder_the_mend_is_said(
    tiny_sd1: Path, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="XDG_CACHE_HOME"):
        ready_bundle(tiny_sd1, library=library)


def test_a_folder_of_optimums_cannot_take_a_lora(
    tiny_sd1_bundle: Path, tmp_path: Path, cache: Path, lora: Callable[[int], Path]
) -> None:
    bundle = shutil.copytree(tiny_sd1_bundle, tmp_path / "optimum")
    (bundle / "overpaint.json").unlink()
    with pytest.raises(BundleError, match="has no manifest"):
        ready_bundle(bundle, loras=[LoraChoice(lora(1))])
