"""LoRAs that do something, made and saved as training scripts save them, with torch and PEFT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import peft
import torch

from overpaint.bundle.checkpoint.original_names.unet import UnetNames

Tensors = dict[str, torch.Tensor]
UNET_MODULES = ["to_q", "to_k", "to_v", "to_out.0", "proj_in", "ff.net.0.proj", "ff.net.2"]
CONVOLUTIONS = ["conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv"]
TEXT_MODULES = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]
MMDIT_MODULES = ["to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj"]
MMDIT_MODULES += ["ff.net.0.proj", "ff.net.2", "norm1.linear"]
FLUX_MODULES = [*MMDIT_MODULES, "proj_mlp", "proj_out", "to_add_out", "x_embedder", "norm.linear"]
Z_IMAGE_MODULES = ["to_q", "to_k", "to_v", "to_out.0", "w1", "w2", "w3"]
Z_IMAGE_MODULES += ["0.adaLN_modulation.0"]
KLEIN_MODULES = [*MMDIT_MODULES[:7], "to_add_out", "linear_in", "linear_out", "to_qkv_mlp_proj"]
KLEIN_MODULES += [
    "single_transformer_blocks.0.attn.to_out",
    "x_embedder",
    "single_stream_modulation.linear",
]

TARGETS: dict[str, dict[str, list[str]]] = {
    "sd1": {"unet": UNET_MODULES + CONVOLUTIONS, "text_encoder": TEXT_MODULES},
    "sd2": {"unet": UNET_MODULES, "text_encoder": TEXT_MODULES},
    "sdxl": {
        "unet": UNET_MODULES + CONVOLUTIONS,
        "text_encoder": TEXT_MODULES,
        "text_encoder_2": TEXT_MODULES,
    },
    "sd3": {
        "transformer": MMDIT_MODULES,
        "text_encoder": TEXT_MODULES,
        "text_encoder_2": TEXT_MODULES,
    },
    "flux1": {"transformer": FLUX_MODULES, "text_encoder": TEXT_MODULES},
    "z-image": {"transformer": Z_IMAGE_MODULES},
    "flux2-klein": {"transformer": KLEIN_MODULES},
}


def pipeline(path: Path) -> Any:
    return diffusers.DiffusionPipeline.from_pretrained(path, safety_checker=None)


def components(pipe: Any) -> dict[str, torch.nn.Module]:
    names = ("unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3")
    return {n: getattr(pipe, n) for n in names if getattr(pipe, n, None) is not None}


def train(pipe: Any, targets: dict[str, list[str]], *, seed: int = 1, **config: Any) -> None:
    """Give each component an adapter with factors that do something."""
    torch.manual_seed(seed)
    for component, modules in targets.items():
        settings = peft.LoraConfig(r=4, lora_alpha=6, target_modules=modules, **config)
        getattr(pipe, component).add_adapter(settings)
        for name, tensor in getattr(pipe, component).named_parameters():
            if "lora_B" in name or "lora_A" in name:
                tensor.data.normal_(std=0.2)
            if "magnitude" in name:
                tensor.data.mul_(1 + 0.1 * torch.rand_like(tensor.data))


def save(pipe: Any, folder: Path, *, metadata: bool = True) -> Path:
    """As a training script saves: PEFT's names, its alphas in the metadata."""
    layers, configs = {}, {}
    for component, module in components(pipe).items():
        if getattr(module, "peft_config", None):
            state = peft.get_peft_model_state_dict(module)
            layers[f"{component}_lora_layers"] = state
            configs[f"{component}_lora_adapter_metadata"] = module.peft_config["default"].to_dict()
    pipe.save_lora_weights(folder, **layers, **(configs if metadata else {}))
    return folder / "pytorch_lora_weights.safetensors"


def kohya(pipe: Any, family: str) -> Tensors:
    """What kohya's scripts save: flat names, SDXL's those of single files, an alpha for each."""
    prefixes = {"unet": "lora_unet_", "text_encoder": "lora_te_", "text_encoder_2": "lora_te2_"}
    if family == "sdxl":
        prefixes["text_encoder"] = "lora_te1_"
    saved: Tensors = {}
    for component, module in components(pipe).items():
        if not getattr(module, "peft_config", None):
            continue
        own = [
            name.replace(".base_layer", "") for name in module.state_dict() if "lora_" not in name
        ]
        names = UnetNames.of(own)
        for name, tensor in peft.get_peft_model_state_dict(module).items():
            place, _, factor = name.rpartition(".lora_")
            if component == "unet" and family == "sdxl":
                source = names.source(f"{place}.weight")
                assert source is not None
                place = source.rows[0].name.removesuffix(".weight")
            if component.startswith("text") and not place.startswith("text_model"):
                place = f"text_model.{place}"
            flat = prefixes[component] + place.replace(".", "_")
            part = {"A.weight": "down", "B.weight": "up"}[factor]
            saved[f"{flat}.lora_{part}.weight"] = tensor.contiguous()
            saved[f"{flat}.alpha"] = torch.tensor(3.0)
    return saved
