"""A bundle with branches beside its layers: whole, in place, and exact where nothing is turned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.random_lora import layers, random_lora

from overpaint.bundle.checkpoint.safetensors import of_array, write_safetensors
from overpaint.bundle.errors import BundleError, CheckpointError
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.format.verify import verify_bundle
from overpaint.bundle.lora.branches import SCALE
from overpaint.bundle.lora.file import LoraChoice
from overpaint.bundle.lora.fuse import fuse_loras
from overpaint.bundle.lora.live import hash_of, live_loras
from overpaint.engines.choose import open_session

Array = npt.NDArray[Any]
LINEAR = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
CONVOLUTION = "lora_unet_down_blocks_0_resnets_0_conv1"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def written(path: Path, tensors: Mapping[str, Array]) -> Path:
    write_safetensors(path, {name: of_array(array) for name, array in tensors.items()})
    return path


def predicted(bundle: Bundle, scale: list[float] | None = None, device: str = "cpu") -> Array:
    rng = np.random.default_rng(0)
    with open_session(bundle, "unet", device) as session:
        shapes = {"sample": (2, 4, 8, 12), "timestep": session.inputs["timestep"].shape}
        dtypes = {"float16": np.float16, "float32": np.float32, "int64": np.int64}
        feed: dict[str, Array] = {}
        for name, tensor in session.inputs.items():
            sizes = {"batch": 2, "tokens": 77}
            shape = shapes.get(name) or tuple(
                sizes[side] if isinstance(side, str) else side for side in tensor.shape
            )
            values = np.full(shape, 400.0) if name == "timestep" else rng.standard_normal(shape)
            feed[name] = values.astype(dtypes[tensor.dtype])
        if SCALE in session.inputs:
            feed[SCALE] = np.array(scale, np.float32)
        return np.array(session.run(feed)["out_sample"], np.float32)


def test_it_is_whole_and_reads_the_factors_where_they_lie(
    tiny_sd1_bundle: Path, tmp_path: Path
) -> None:
    base = open_bundle(tiny_sd1_bundle)
    file = random_lora(tmp_path / "ink.safetensors", tiny_sd1_bundle, rank=4, seed=1, dtype="f2")
    folder = live_loras(base, {hash_of(file): file})
    assert verify_bundle(folder).whole
    files = open_bundle(folder).manifest.files
    [linked] = files.keys() - base.manifest.files.keys()
    assert files[linked].weights
    assert (folder / linked).read_bytes() == file.read_bytes()
    inputs = {name: one.inputs for name, one in open_bundle(folder).manifest.components.items()}
    assert str(inputs["unet"][-1]) == "lora_scale float32 (1,)"
    assert inputs["text_encoder"] == base.manifest.components["text_encoder"].inputs
    text = Path("text_encoder", "model.onnx")
    assert (folder / text).read_bytes() == (tiny_sd1_bundle / text).read_bytes()


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_branches_at_0_change_no_bit_of_what_onnx_runtime_computes(
    family: str, bundles: dict[str, Path], tmp_path: Path
) -> None:
    base = open_bundle(bundles[family])
    file = random_lora(tmp_path / "ink.safetensors", base.folder, rank=4, seed=1)
    live = open_bundle(live_loras(base, {hash_of(file): file}))
    assert np.array_equal(predicted(base), predicted(live, [0.0]))
    assert not np.allclose(predicted(base), predicted(live, [0.5]), atol=1e-3)


@pytest.mark.parametrize("device", ["cpu", "openvino"])
def test_two_of_them_are_what_both_fused_are(
    device: str, tiny_sd1_bundle: Path, tmp_path: Path
) -> None:
    base = open_bundle(tiny_sd1_bundle)
    one = random_lora(tmp_path / "one.safetensors", tiny_sd1_bundle, rank=4, seed=1)
    two = random_lora(tmp_path / "two.safetensors", tiny_sd1_bundle, rank=2, seed=2, dtype="f2")
    weights = {hash_of(one): (one, 0.7), hash_of(two): (two, -1.2)}
    live = open_bundle(live_loras(base, {sha256: file for sha256, (file, _) in weights.items()}))
    choices = [LoraChoice(file, weight) for file, weight in weights.values()]
    fuse_loras(base, tmp_path / "fused", choices)
    fused = predicted(open_bundle(tmp_path / "fused"), device=device)
    turned = predicted(live, [weights[sha256][1] for sha256 in sorted(weights)], device)
    np.testing.assert_allclose(turned, fused, rtol=1e-3, atol=2e-5)
    assert np.abs(fused - predicted(base, device=device)).max() > 0.01


def test_a_middle_factor_stands_beside_its_convolution(
    tiny_sd1_bundle: Path, tmp_path: Path
) -> None:
    """LoCon's CP form: its two small factors become one when the branch is made."""
    base, rng = open_bundle(tiny_sd1_bundle), np.random.default_rng(3)
    out, into, *kernel = layers(tiny_sd1_bundle)[CONVOLUTION].shape
    shapes = {"down": (3, into, 1, 1), "mid": (3, 3, *kernel), "up": (out, 3, 1, 1)}
    file = written(
        tmp_path / "locon.safetensors",
        {
            f"{CONVOLUTION}.lora_{part}.weight": rng.standard_normal(shape).astype("f4") * 0.3
            for part, shape in shapes.items()
        },
    )
    fuse_loras(base, tmp_path / "fused", [LoraChoice(file, 0.5)])
    live = open_bundle(live_loras(base, {hash_of(file): file}))
    fused = predicted(open_bundle(tmp_path / "fused"))
    np.testing.assert_allclose(predicted(live, [0.5]), fused, rtol=1e-3, atol=2e-5)
    assert np.abs(fused - predicted(base)).max() > 0.01


def test_branches_stand_beside_weights_that_others_are_fused_into(
    tiny_sd1_bundle: Path, tmp_path: Path
) -> None:
    one = random_lora(tmp_path / "one.safetensors", tiny_sd1_bundle, rank=4, seed=1)
    two = random_lora(tmp_path / "two.safetensors", tiny_sd1_bundle, rank=2, seed=2)
    base = open_bundle(tiny_sd1_bundle)
    fuse_loras(base, tmp_path / "one", [LoraChoice(one, 0.4)])
    fuse_loras(base, tmp_path / "both", [LoraChoice(one, 0.4), LoraChoice(two, 0.9)])
    live = open_bundle(live_loras(open_bundle(tmp_path / "one"), {hash_of(two): two}))
    fused = predicted(open_bundle(tmp_path / "both"))
    np.testing.assert_allclose(predicted(live, [0.9]), fused, rtol=1e-3, atol=2e-5)


def test_branches_are_not_put_beside_branches(tiny_sd1_bundle: Path, tmp_path: Path) -> None:
    file = random_lora(tmp_path / "one.safetensors", tiny_sd1_bundle)
    once = open_bundle(live_loras(open_bundle(tiny_sd1_bundle), {hash_of(file): file}))
    with pytest.raises(BundleError, match="branches for LoRAs already"):
        live_loras(once, {hash_of(file): file})


def test_the_same_files_are_one_bundle_whatever_their_order(
    tiny_sd1_bundle: Path, tmp_path: Path
) -> None:
    base = open_bundle(tiny_sd1_bundle)
    files = [
        random_lora(tmp_path / f"{seed}.safetensors", tiny_sd1_bundle, rank=2, seed=seed)
        for seed in (1, 2)
    ]
    there = {hash_of(file): file for file in files}
    back = dict(reversed(there.items()))
    assert live_loras(base, there) == live_loras(base, back)
    assert live_loras(base, there) != live_loras(base, dict([next(iter(there.items()))]))


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        (
            {"lora_down.weight": (4, 64), "lora_up.weight": (64, 4), "dora_scale": (64, 1)},
            f"{LINEAR} is a DoRA, which .* cannot stand beside them; fuse it",
        ),
        (
            {"lora_down.weight": (4, 9), "lora_up.weight": (9, 4)},
            "made for another architecture",
        ),
        ({"hada_w1_a": (4, 64), "hada_w1_b": (4, 64)}, "hada_w1_a"),
        ({"lokr_w1": (4, 64), "lokr_w2": (4, 64)}, "lokr_w1"),
    ],
)
def test_what_cannot_be_a_branch_is_refused_by_name(
    tensors: dict[str, tuple[int, ...]], says: str, tiny_sd1_bundle: Path, tmp_path: Path
) -> None:
    file = written(
        tmp_path / "other.safetensors",
        {f"{LINEAR}.{name}": np.ones(shape, np.float32) for name, shape in tensors.items()},
    )
    with pytest.raises(CheckpointError, match=says) as caught:
        live_loras(open_bundle(tiny_sd1_bundle), {hash_of(file): file})
    assert "\n" not in str(caught.value)


def test_a_half_precision_bundle_turns_them_in_half_precision(
    tiny_sd1: Path, exported: Callable[..., Path], tmp_path: Path
) -> None:
    base = open_bundle(exported("sd1.float16.bundle", tiny_sd1, dtype="float16"))
    file = random_lora(tmp_path / "ink.safetensors", base.folder, rank=4, seed=1)
    live = open_bundle(live_loras(base, {hash_of(file): file}))
    fuse_loras(base, tmp_path / "fused", [LoraChoice(file, 0.6)])
    fused, alone = predicted(open_bundle(tmp_path / "fused")), predicted(base)
    assert np.array_equal(alone, predicted(live, [0.0]))
    assert np.abs(predicted(live, [0.6]) - fused).max() < 0.1 * np.abs(fused - alone).max()
