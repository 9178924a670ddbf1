"""What cannot be imported is refused in one line that says what differs, and nothing is written."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import safetensors.torch
import torch
from tests.bundle.single_files import single_file, tiny_library
from tests.checkpoints import tiny_checkpoint

from overpaint.bundle import layout
from overpaint.bundle.errors import CheckpointError
from overpaint.bundle.importing import import_checkpoint
from overpaint.bundle.importing.library import Library

Tensors = dict[str, torch.Tensor]
FAMILIES = ("sd1", "sd2", "sdxl")
UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model."


@pytest.fixture(scope="module")
def library(
    checkpoints: dict[str, Path], bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Library:
    models = {family: (checkpoints[family], bundles[family]) for family in FAMILIES}
    plain = tiny_library(tmp_path_factory.mktemp("library") / "tiny", models, "t h\n")
    known = dict(plain.architectures)
    known["sd2-base"] = _variant(known["sd2"], prediction_type="epsilon")
    known["sdxl-turbo"] = _variant(known["sdxl"], timestep_spacing="trailing")
    known["sdxl-v"] = _variant(known["sdxl"], prediction_type="v_prediction")
    return Library(plain.folder, msgspec.structs.replace(plain.index, architectures=known))


def _variant(architecture: Any, **scheduler: Any) -> Any:
    changed = {**architecture.scheduler, **scheduler}
    return msgspec.structs.replace(architecture, like="a variant", scheduler=changed)


@pytest.fixture
def refused(library: Library, tmp_path: Path) -> Callable[..., str]:
    """Import, expect a refusal of one line, and see that nothing was written."""

    def attempt(source: Path | Tensors, **options: Any) -> str:
        if isinstance(source, dict):
            path = tmp_path / "model.safetensors"
            safetensors.torch.save_file(source, path, options.pop("metadata", None))
        else:
            path = source
        with pytest.raises(CheckpointError) as caught:
            import_checkpoint(path, tmp_path / "bundle", library=library, **options)
        message = str(caught.value)
        assert "\n" not in message
        assert str(path) in message or "config.json" in message
        assert not (tmp_path / "bundle").exists()
        assert not list(tmp_path.glob(".bundle*"))
        return message

    return attempt


def test_a_pickle_is_refused_with_the_reason(refused: Callable[..., str], tmp_path: Path) -> None:
    for name, data in {
        "model.ckpt": b"anything",
        "renamed.safetensors": pickle.dumps({"state_dict": {}}),
        "zipped.safetensors": b"PK\x03\x04" + bytes(60),
    }.items():
        (tmp_path / name).write_bytes(data)
        assert "a pickle, which can run any code" in refused(tmp_path / name)


def test_a_folder_of_pickles_is_refused_with_the_reason(
    refused: Callable[..., str], checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoints["sd1"], tmp_path / "folder")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    assert "a pickle, which can run code" in refused(folder)


def test_a_quantized_file_is_refused(
    refused: Callable[..., str], checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + bytes(60))
    assert "a GGUF file" in refused(tmp_path / "model.gguf")
    file = single_file(checkpoints["sd1"])
    name = f"{UNET}input_blocks.1.0.in_layers.2.weight"
    file[name] = file[name].to(torch.int8)
    assert "input_blocks.1.0.in_layers.2.weight is stored as I8" in refused(file)


def test_a_lora_is_not_a_checkpoint(refused: Callable[..., str]) -> None:
    name = "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight"
    assert "--lora" in refused({name: torch.zeros(4, 32)})


def test_an_unknown_model_is_refused_with_what_is_known(refused: Callable[..., str]) -> None:
    message = refused({"double_blocks.0.img_attn.qkv.weight": torch.zeros(4, 4)})
    assert "no model that is known here; sd1, sd2, sdxl" in message


def test_an_incomplete_model_is_refused_with_what_it_lacks(
    refused: Callable[..., str], checkpoints: dict[str, Path]
) -> None:
    file = single_file(checkpoints["sd1"])
    no_vae = {name: tensor for name, tensor in file.items() if not name.startswith(VAE)}
    assert "nearest to a tiny sd1, but it has no vae" in refused(no_vae)
    del file[f"{UNET}time_embed.0.bias"]
    assert "its unet lacks time_embedding.linear_1.bias" in refused(file)


def test_a_mixed_model_is_refused_with_what_differs(
    refused: Callable[..., str], checkpoints: dict[str, Path]
) -> None:
    """SD 1's network with SD 2's text encoder."""
    network = {n: t for n, t in single_file(checkpoints["sd1"]).items() if not n.startswith(TEXT)}
    text = {n: t for n, t in single_file(checkpoints["sd2"]).items() if n.startswith(TEXT)}
    assert "nearest to a tiny sd2, but its unet" in refused({**network, **text})


def test_an_editing_model_is_refused_with_its_eight_channels(
    refused: Callable[..., str], checkpoints: dict[str, Path]
) -> None:
    file = single_file(checkpoints["sd1"])
    file[f"{UNET}input_blocks.0.0.weight"] = torch.zeros(32, 8, 3, 3)
    message = refused(file)
    assert "input_blocks.0.0.weight is [32, 8, 3, 3], not [32, 4, 3, 3]" in message


def test_a_model_with_more_than_an_architecture_has_is_refused(
    refused: Callable[..., str], checkpoints: dict[str, Path]
) -> None:
    """A motion module, an adapter: leaving it out in silence would make other pictures."""
    file = single_file(checkpoints["sd1"])
    file[f"{UNET}input_blocks.1.2.temporal_transformer.proj_in.weight"] = torch.zeros(4)
    assert "its unet has more than it should (input_blocks.1.2.temporal" in refused(file)


def test_what_checkpoints_carry_along_does_not_disturb(
    checkpoints: dict[str, Path], library: Library, tmp_path: Path
) -> None:
    file = single_file(checkpoints["sd1"])
    file["alphas_cumprod"] = torch.zeros(1000)
    file["model_ema.diffusion_modeltime_embed0weight"] = torch.zeros(4)
    file[f"{VAE}loss.discriminator.main.0.weight"] = torch.zeros(4)
    file[f"{TEXT}transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    safetensors.torch.save_file(file, tmp_path / "model.safetensors")
    import_checkpoint(tmp_path / "model.safetensors", tmp_path / "bundle", library=library)


@pytest.mark.parametrize("name", ["edm_mean", "control_model.time_embed.0.weight"])
def test_a_relative_that_only_looks_the_same_is_refused(
    name: str, refused: Callable[..., str], checkpoints: dict[str, Path]
) -> None:
    assert "it cannot be imported" in refused(
        {**single_file(checkpoints["sd1"]), name: torch.ones(4)}
    )


def test_an_early_fine_tunes_text_encoder_is_understood(
    checkpoints: dict[str, Path], library: Library, tmp_path: Path
) -> None:
    file = {n.replace(".text_model.", "."): t for n, t in single_file(checkpoints["sd1"]).items()}
    assert f"{TEXT}transformer.embeddings.position_embedding.weight" in file
    safetensors.torch.save_file(file, tmp_path / "model.safetensors")
    import_checkpoint(tmp_path / "model.safetensors", tmp_path / "bundle", library=library)


def test_a_truncated_file_is_refused(
    refused: Callable[..., str], checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "cut.safetensors"
    safetensors.torch.save_file(single_file(checkpoints["sd1"]), path)
    path.write_bytes(path.read_bytes()[:-1000])
    assert "not a whole safetensors file" in refused(path)


def test_a_folder_that_lacks_a_shard_is_refused(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    folder = tiny_checkpoint("sd1", tmp_path / "sharded", shard_size="200KB")
    next((folder / "unet").glob("*-00002-of-*")).unlink()
    assert "which is missing" in refused(folder)


def test_configs_that_ask_for_another_computation_are_refused(
    refused: Callable[..., str], checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoints["sd1"], tmp_path / "folder")
    path = folder / "text_encoder" / layout.CONFIG
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "hidden_act": "gelu"}))
    message = refused(folder)
    assert "hidden_act = 'gelu', and the packaged graph" in message
    assert "'quick_gelu'" in message


def test_what_tensors_cannot_tell_must_be_chosen(
    refused: Callable[..., str], checkpoints: dict[str, Path]
) -> None:
    message = refused(single_file(checkpoints["sd2"]))
    assert "choose with --like, one of sd2 (a tiny sd2), sd2-base (a variant)" in message
    message = refused(single_file(checkpoints["sdxl"]), like="sd2")
    assert "is sdxl or sdxl-turbo or sdxl-v by its tensors, not sd2" in message


@pytest.mark.parametrize(
    ("family", "metadata", "extra", "like", "expected"),
    [
        ("sd1", {}, None, None, "sd1"),
        ("sd1", {}, None, "sd1", "sd1"),
        ("sd2", {}, None, "sd2-base", "sd2-base"),
        ("sd2", {"modelspec.prediction_type": "v"}, None, None, "sd2"),
        ("sd2", {"modelspec.prediction_type": "epsilon"}, None, None, "sd2-base"),
        ("sd2", {"modelspec.architecture": "stable-diffusion-v2-768-v"}, None, None, "sd2"),
        ("sd2", {"modelspec.architecture": "stable-diffusion-v2-512"}, None, None, "sd2-base"),
        ("sd2", {"ss_v_parameterization": "True"}, None, None, "sd2"),
        ("sd2", {"modelspec.prediction_type": "v"}, None, "sd2-base", "sd2-base"),
        ("sdxl", {"modelspec.architecture": "stable-diffusion-xl-v1-base"}, None, None, "sdxl"),
        (
            "sdxl",
            {"modelspec.architecture": "stable-diffusion-xl-turbo-v1"},
            None,
            None,
            "sdxl-turbo",
        ),
        ("sdxl", {}, "v_pred", None, "sdxl-v"),
    ],
)
def test_the_user_decides_and_then_the_metadata(
    family: str,
    metadata: dict[str, str],
    extra: str | None,
    like: str | None,
    expected: str,
    checkpoints: dict[str, Path],
    library: Library,
    tmp_path: Path,
) -> None:
    file = single_file(checkpoints[family])
    if extra:
        file[extra] = torch.zeros(0)
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(file, path, metadata)
    made = import_checkpoint(path, tmp_path / "bundle", library=library, like=like)
    assert made.architecture == expected
    scheduler = json.loads((tmp_path / "bundle" / layout.SCHEDULER_CONFIG).read_text())
    assert scheduler == library.architectures[expected].scheduler
