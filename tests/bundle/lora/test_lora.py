"""LoRAs in NumPy: the weights that diffusers' fuse_lora makes, in every dialect that it reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from tests.conftest import Tiny
from tests.loras import (
    CONVOLUTIONS,
    TARGETS,
    UNET_MODULES,
    Tensors,
    components,
    kohya,
    pipeline,
    save,
    train,
)

from overpaint.bundle.checkpoint.original_names.mmdit import MmditNames
from overpaint.bundle.errors import CheckpointError, UsageError
from overpaint.bundle.families import family_of
from overpaint.bundle.lora import arithmetic
from overpaint.bundle.lora.file import LoraChoice
from overpaint.bundle.lora.plan import plan_loras


@pytest.fixture(scope="module")
def checkpoint(checkpoints: dict[str, Path]) -> Callable[[str], Path]:
    return checkpoints.__getitem__


def weights(pipe: Any) -> dict[str, Tensors]:
    """Every component's own weights, whether or not PEFT has wrapped its layers."""
    return {
        component: {
            name.replace(".base_layer.", "."): tensor.detach().clone()
            for name, tensor in module.state_dict().items()
            if ".lora_" not in name
        }
        for component, module in components(pipe).items()
    }


def ours(pipe: Any, *choices: LoraChoice) -> dict[str, Tensors]:
    before = weights(pipe)
    family = family_of({name: module.config for name, module in components(pipe).items()})
    plan = plan_loras(family, {name: list(tensors) for name, tensors in before.items()}, choices)
    for component, changes in plan.items():
        for name, steps in changes.items():
            array = before[component][name].numpy()
            for step in steps:
                array = arithmetic.apply(array, step.update, step.source, step.strength)
            before[component][name] = torch.from_numpy(np.asarray(array))
    return before


def theirs(pipe: Any, path: Path, weight: float) -> dict[str, Tensors]:
    pipe.load_lora_weights(path.parent, weight_name=path.name)
    parts = ["unet", "transformer", "text_encoder", "text_encoder_2"]
    pipe.fuse_lora(
        components=[part for part in parts if part in pipe._lora_loadable_modules],
        lora_scale=weight,
    )
    pipe.unload_lora_weights()
    return weights(pipe)


def assert_close(ours: dict[str, Tensors], theirs: dict[str, Tensors]) -> None:
    assert {(c, n) for c in ours for n in ours[c]} == {(c, n) for c in theirs for n in theirs[c]}
    for component, tensors in theirs.items():
        for name, tensor in tensors.items():
            difference = (ours[component][name] - tensor).abs().max()
            assert difference <= 2e-6 * max(1.0, float(tensor.abs().max())), (component, name)


def assert_changed(before: dict[str, Tensors], after: dict[str, Tensors], *names: str) -> None:
    for component in names:
        moved = [n for n, t in after[component].items() if not torch.equal(t, before[component][n])]
        assert moved, component


@pytest.mark.parametrize(
    ("family", "weight"),
    [
        *(("sd1", 1.0), ("sd1", -0.5), ("sd2", 0.35), ("sdxl", 0.35)),
        *(("sd3", 0.35), ("flux1", 0.35), ("z-image", 0.35), ("flux2-klein", 0.35)),
    ],
)
def test_a_lora_as_diffusers_saves_it_is_fused_as_diffusers_fuses_it(
    family: str, weight: float, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    teacher = pipeline(checkpoint(family))
    train(teacher, TARGETS[family])
    path = save(teacher, tmp_path)
    base = pipeline(checkpoint(family))
    fused = ours(base, LoraChoice(path, weight))
    assert_changed(weights(base), fused, *TARGETS[family])
    assert_close(fused, theirs(base, path, weight))


def test_a_lora_of_the_plain_checkpoint_is_fused_into_the_inpainting_one(
    checkpoint: Callable[[str], Path], inpainting: Callable[[str], Tiny], tmp_path: Path
) -> None:
    teacher = pipeline(checkpoint("sd1"))
    train(teacher, TARGETS["sd1"])
    path = save(teacher, tmp_path)
    base = pipeline(inpainting("sd1").checkpoint)
    fused = ours(base, LoraChoice(path, 0.35))
    assert_changed(weights(base), fused, *TARGETS["sd1"])
    assert_close(fused, theirs(base, path, 0.35))


def test_a_lora_of_the_plain_first_convolution_is_refused_for_the_inpainting_one(
    checkpoint: Callable[[str], Path], inpainting: Callable[[str], Tiny], tmp_path: Path
) -> None:
    """It says nothing of the channels for the mask and the masked picture."""
    teacher = pipeline(checkpoint("sd1"))
    train(teacher, {"unet": ["conv_in"]})
    path = save(teacher, tmp_path)
    with pytest.raises(CheckpointError) as caught:
        ours(pipeline(inpainting("sd1").checkpoint), LoraChoice(path))
    message = str(caught.value)
    assert "unet.conv_in has the factors [32, 4, 1, 1] and [4, 4, 3, 3], which do not " in message
    assert "a weight of [32, 9, 3, 3]; the LoRA was made for another architecture" in message
    assert "\n" not in message


def test_without_metadata_the_scale_is_one(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    teacher = pipeline(checkpoint("sd1"))
    train(teacher, TARGETS["sd1"])
    path = save(teacher, tmp_path, metadata=False)
    base = pipeline(checkpoint("sd1"))
    fused = ours(base, LoraChoice(path))
    assert_close(fused, theirs(base, path, 1.0))


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_dora_is_fused_as_diffusers_fuses_it(
    family: str, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    teacher = pipeline(checkpoint(family))
    train(teacher, {"unet": UNET_MODULES + CONVOLUTIONS}, use_dora=True)
    path = save(teacher, tmp_path)
    base = pipeline(checkpoint(family))
    fused = ours(base, LoraChoice(path, 0.7))
    assert_changed(weights(base), fused, "unet")
    assert_close(fused, theirs(base, path, 0.7))


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_a_lora_as_kohyas_scripts_save_it_is_fused_as_diffusers_fuses_it(
    family: str, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    teacher = pipeline(checkpoint(family))
    train(teacher, TARGETS[family])
    path = tmp_path / "kohya.safetensors"
    safetensors.torch.save_file(kohya(teacher, family), path)
    base = pipeline(checkpoint(family))
    fused = ours(base, LoraChoice(path, 0.8))
    assert_changed(weights(base), fused, *TARGETS[family])
    assert_close(fused, theirs(base, path, 0.8))


def test_diffusers_oldest_dialect_is_fused_as_diffusers_fuses_it(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    base = pipeline(checkpoint("sd1"))
    torch.manual_seed(2)
    saved: Tensors = {}
    for name, tensor in base.unet.state_dict().items():
        for projection in ("to_q", "to_k", "to_v", "to_out.0"):
            if name.endswith(f"attn1.{projection}.weight"):
                stem = name.removesuffix(f"{projection}.weight")
                key = f"unet.{stem}processor.{projection.removesuffix('.0')}_lora"
                saved[f"{key}.down.weight"] = torch.randn(4, tensor.shape[1]) * 0.2
                saved[f"{key}.up.weight"] = torch.randn(tensor.shape[0], 4) * 0.2
    path = tmp_path / "old.safetensors"
    safetensors.torch.save_file(saved, path)
    fused = ours(base, LoraChoice(path, 0.5))
    assert_changed(weights(base), fused, "unet")
    assert_close(fused, theirs(base, path, 0.5))


def test_a_fused_projection_of_a_single_files_mmdit_changes_query_key_and_value(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    """kohya and ComfyUI train on the original names, where query, key and value are one matrix and
    the last modulations are (shift, scale): the change is made there, and read back by rows."""
    base = pipeline(checkpoint("sd3"))
    own = {n: t.detach().clone() for n, t in base.transformer.state_dict().items()}
    names = MmditNames.of(own)
    torch.manual_seed(4)
    saved: Tensors = {}
    deltas: Tensors = {}
    for name, tensor in own.items():
        source = names.source(name)
        assert source is not None
        module = source.rows[0].name.removesuffix(".weight")
        if tensor.ndim != 2 or f"diffusion_model.{module}.lora_A.weight" in saved:
            continue
        rows = tensor.shape[0] * source.rows[0].of // len(source.rows)
        down, up = torch.randn(2, tensor.shape[1]), torch.randn(rows, 2) * 0.1
        saved[f"diffusion_model.{module}.lora_A.weight"] = down
        saved[f"diffusion_model.{module}.lora_B.weight"] = up
        deltas[f"{module}.weight"] = up @ down
    path = tmp_path / "comfy.safetensors"
    safetensors.torch.save_file(saved, path)
    fused = ours(base, LoraChoice(path, 0.5))["transformer"]
    for name, tensor in own.items():
        source = names.source(name)
        assert source is not None
        delta = deltas.get(source.rows[0].name)
        if delta is None:
            assert torch.equal(fused[name], tensor), name
            continue
        change = torch.cat([delta.chunk(rows.of)[rows.part] for rows in source.rows])
        torch.testing.assert_close(fused[name], tensor + 0.5 * change, msg=name)


def test_a_middle_factor_is_a_convolution_between_two_small_ones(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    base = pipeline(checkpoint("sd1"))
    name = "down_blocks.0.resnets.0.conv1.weight"
    weight = base.unet.state_dict()[name].clone()
    out, into = weight.shape[:2]
    down, mid, up = torch.randn(3, into, 1, 1), torch.randn(3, 3, 3, 3), torch.randn(out, 3, 1, 1)
    flat = "lora_unet_down_blocks_0_resnets_0_conv1"
    path = tmp_path / "locon.safetensors"
    parts = {"down": down, "mid": mid, "up": up}
    saved = {f"{flat}.lora_{part}.weight": tensor for part, tensor in parts.items()}
    safetensors.torch.save_file(saved, path)
    pixels = torch.randn(1, into, 8, 8)
    conv = torch.nn.functional.conv2d
    expected = conv(pixels, weight, padding=1) + 0.6 * conv(
        conv(conv(pixels, down), mid, padding=1), up
    )
    fused = ours(base, LoraChoice(path, 0.6))["unet"][name]
    torch.testing.assert_close(conv(pixels, fused, padding=1), expected, rtol=1e-4, atol=1e-4)


def test_several_loras_add_up_in_any_order(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    paths = []
    for seed in (1, 2):
        teacher = pipeline(checkpoint("sd1"))
        train(teacher, {"unet": ["to_q", "to_v"]})
        torch.manual_seed(seed)
        for name, tensor in teacher.unet.named_parameters():
            if "lora_" in name:
                tensor.data.normal_(std=0.2)
        (tmp_path / str(seed)).mkdir()
        paths.append(save(teacher, tmp_path / str(seed)))
    base = pipeline(checkpoint("sd1"))
    a, b = LoraChoice(paths[0], 0.4), LoraChoice(paths[1], 0.9)
    assert_close(ours(base, a, b), ours(base, b, a))
    alone = [ours(base, one)["unet"] for one in (a, b)]
    for name, tensor in ours(base, a, b)["unet"].items():
        start = base.unet.state_dict()[name]
        together = start + sum(one[name] - start for one in alone)
        torch.testing.assert_close(tensor, together, rtol=1e-5, atol=1e-5, msg=name)


def test_keys_that_match_nothing_are_listed(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    teacher = pipeline(checkpoint("sdxl"))
    train(teacher, {"unet": ["to_q"], "text_encoder_2": ["q_proj"]})
    path = save(teacher, tmp_path)
    base = pipeline(checkpoint("sd1"))
    with pytest.raises(CheckpointError) as caught:
        ours(base, LoraChoice(path))
    message = str(caught.value)
    assert "match nothing in this model" in message
    assert "text_encoder_2." in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("saved", "says"),
    [
        ({}, "no LoRA at all"),
        ({"conv_in.weight": torch.zeros(2)}, "conv_in.weight"),
        ({"lora_unet_conv_in.hada_w1_a": torch.zeros(2)}, "hada_w1_a"),
        ({"lora_unet_conv_in.lora_down.weight": torch.zeros(2, 2)}, "lora_unet_conv_in"),
    ],
)
def test_a_file_that_is_no_lora_is_refused_with_its_keys(
    saved: Tensors, says: str, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file(saved, path)
    with pytest.raises(CheckpointError, match=says):
        ours(pipeline(checkpoint("sd1")), LoraChoice(path))


def test_factors_of_another_width_are_refused(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    flat = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    path = tmp_path / "wide.safetensors"
    saved = {
        f"{flat}.lora_down.weight": torch.zeros(4, 9),
        f"{flat}.lora_up.weight": torch.zeros(9, 4),
    }
    safetensors.torch.save_file(saved, path)
    with pytest.raises(CheckpointError, match="made for another architecture"):
        ours(pipeline(checkpoint("sd1")), LoraChoice(path))


@pytest.mark.parametrize(
    ("text", "path", "weight"),
    [
        ("style.safetensors", "style.safetensors", 1.0),
        ("style.safetensors:0.8", "style.safetensors", 0.8),
        ("a:b/style.safetensors:-1", "a:b/style.safetensors", -1.0),
        ("C:\\style.safetensors", "C:\\style.safetensors", 1.0),
    ],
)
def test_a_choice_is_a_file_and_a_weight(text: str, path: str, weight: float) -> None:
    assert LoraChoice.parse(text) == LoraChoice(Path(path), weight)


@pytest.mark.parametrize("text", ["style.safetensors:", "style.safetensors:x", "s:nan", "s:inf"])
def test_a_weight_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="FILE:WEIGHT"):
        LoraChoice.parse(text)


def test_a_lora_of_fluxs_fused_layers_is_fused_as_diffusers_fuses_it(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    """kohya's scripts train on the original names; diffusers knows blocks of one width alone, so
    the original layers' update is put together from what PEFT has of diffusers'."""
    torch.manual_seed(3)
    base = pipeline(checkpoint("flux1"))
    width, wide = 64, 64 * 4
    rows = {
        "double_blocks_0_img_attn_qkv": (3 * width, width),
        "double_blocks_1_txt_attn_qkv": (3 * width, width),
        "double_blocks_0_img_mod_lin": (6 * width, width),
        "single_blocks_1_linear1": (3 * width + wide, width),
        "single_blocks_0_linear2": (width, width + wide),
    }
    file, whole = {}, {}
    for module, (out, into) in rows.items():
        down, up = torch.randn(4, into) * 0.2, torch.randn(out, 4) * 0.2
        file[f"lora_unet_{module}.lora_down.weight"] = down
        file[f"lora_unet_{module}.lora_up.weight"] = up
        file[f"lora_unet_{module}.alpha"] = torch.tensor(2.0)
        whole[module] = 2.0 / 4 * 0.7 * up @ down
    path = tmp_path / "kohya.safetensors"
    safetensors.torch.save_file(file, path)
    before, fused = weights(base), ours(base, LoraChoice(path, 0.7))
    pieces = {
        "transformer_blocks.0.attn.to_{}.weight": ("double_blocks_0_img_attn_qkv", "qkv"),
        "transformer_blocks.1.attn.add_{}_proj.weight": ("double_blocks_1_txt_attn_qkv", "qkv"),
        "single_transformer_blocks.1.attn.to_{}.weight": ("single_blocks_1_linear1", "qkv"),
    }
    wanted = {
        name.format(letter): whole[module][at * width : (at + 1) * width]
        for name, (module, letters) in pieces.items()
        for at, letter in enumerate(letters)
    }
    mlp = whole["single_blocks_1_linear1"][3 * width :]
    wanted |= {
        "transformer_blocks.0.norm1.linear.weight": whole["double_blocks_0_img_mod_lin"],
        "single_transformer_blocks.1.proj_mlp.weight": mlp,
        "single_transformer_blocks.0.proj_out.weight": whole["single_blocks_0_linear2"],
    }
    for name, tensor in before["transformer"].items():
        change = wanted.get(name, torch.zeros_like(tensor))
        torch.testing.assert_close(fused["transformer"][name], tensor + change, msg=name)


def factored(
    modules: Iterable[tuple[str, torch.Tensor]], factors: tuple[str, str], down: torch.Tensor
) -> dict[str, torch.Tensor]:
    """A LoRA's file: `down` and its own rows up for each module, under a trainer's two names."""
    return {
        f"{name}.{factor}": each.clone()
        for name, rows in modules
        for factor, each in zip(factors, (down, rows), strict=True)
    }


def assert_moved(
    base: Any, file: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], folder: Path
) -> None:
    """Fused at 0.7, the LoRA changes the denoiser's weights as `wanted`, and no others."""
    path = folder / "style.safetensors"
    safetensors.torch.save_file(file, path)
    fused = ours(base, LoraChoice(path, 0.7))["transformer"]
    for name, tensor in weights(base)["transformer"].items():
        torch.testing.assert_close(fused[name], tensor + wanted.get(name, 0), msg=name)


def test_a_lora_of_z_image_is_fused_under_each_trainers_names(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    """diffusers', ai-toolkit's and kohya's for diffusers' layers; those of the original layers, of
    which one is query, key and value in one."""
    torch.manual_seed(4)
    base, width = pipeline(checkpoint("z-image")), 64
    down, up = torch.randn(4, width) * 0.2, torch.randn(3 * width, 4) * 0.2
    change = dict(zip("qkv", (0.7 * up @ down).chunk(3), strict=True))
    wanted = {f"layers.1.attention.to_{letter}.weight": change[letter] for letter in "qkv"}
    split = [
        (f"attention.to_{letter}", rows) for letter, rows in zip("qkv", up.chunk(3), strict=True)
    ]
    own = ("lora_A.weight", "lora_B.weight")
    kohyas = ("lora_down.weight", "lora_up.weight")
    for prefix, dot, factors, modules in (
        ("transformer.layers.1.", ".", own, split),
        ("diffusion_model.layers.1.", ".", own, split),
        ("lora_unet_layers_1_", "_", kohyas, split),
        ("diffusion_model.layers.1.", ".", own, [("attention.qkv", up)]),
        ("lora_unet_layers_1_", "_", kohyas, [("attention.qkv", up)]),
    ):
        named = [(prefix + module.replace(".", dot), rows) for module, rows in modules]
        assert_moved(base, factored(named, factors, down), wanted, tmp_path)


def test_a_lora_of_flux2_is_fused_under_each_trainers_names(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    """diffusers', ai-toolkit's and kohya's; those of the original layers, of which query, key and
    value are one in double blocks, and in single ones all is one in both."""
    torch.manual_seed(5)
    base, width = pipeline(checkpoint("flux2-klein")), 64
    before = weights(base)["transformer"]
    wide = before["single_transformer_blocks.1.attn.to_qkv_mlp_proj.weight"].shape[0]
    down = torch.randn(4, width) * 0.2
    qkv, single = torch.randn(3 * width, 4) * 0.2, torch.randn(wide, 4) * 0.2
    change = dict(zip("qkv", (0.7 * qkv @ down).chunk(3), strict=True))
    double = {f"transformer_blocks.1.attn.to_{letter}": change[letter] for letter in "qkv"}
    fused_all = {"single_transformer_blocks.1.attn.to_qkv_mlp_proj": 0.7 * single @ down}
    wanted = {f"{module}.weight": one for module, one in (double | fused_all).items()}
    split = [
        (f"transformer_blocks.1.attn.to_{letter}", rows)
        for letter, rows in zip("qkv", qkv.chunk(3), strict=True)
    ]
    split.append(("single_transformer_blocks.1.attn.to_qkv_mlp_proj", single))
    whole = [("double_blocks.1.img_attn.qkv", qkv), ("single_blocks.1.linear1", single)]
    own = ("lora_A.weight", "lora_B.weight")
    kohyas = ("lora_down.weight", "lora_up.weight")
    for prefix, dot, factors, modules in (
        ("transformer.", ".", own, split),
        ("diffusion_model.", ".", own, split),
        ("diffusion_model.", ".", own, whole),
        ("lora_unet_", "_", kohyas, whole),
    ):
        named = [(prefix + module.replace(".", dot), rows) for module, rows in modules]
        assert_moved(base, factored(named, factors, down), wanted, tmp_path)
