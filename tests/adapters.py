"""Tiny IP-Adapters for tiny checkpoints, in the layout and the names of the published ones.

folder/ip-adapter_tiny.safetensors     image_proj.*, ip_adapter.{1,3,5,…}.to_{k,v}_ip.weight
folder/image_encoder/                  transformers' CLIPVisionModelWithProjection
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import diffusers
import torch
import transformers
from safetensors.torch import save_file

Kind = Literal["base", "plus"]

ENCODER_WIDTH = 48
POOLED_WIDTH = 40
PLUS_TOKENS = 6
FILE = "ip-adapter_tiny.safetensors"


def tiny_adapter(
    checkpoint: Path,
    folder: Path,
    kind: Kind = "base",
    *,
    seed: int = 5,
    dtype: torch.dtype = torch.float32,
    activation: str = "gelu",
) -> Path:
    """Write an adapter for the UNet of `checkpoint`, and the image encoder that it sees with."""
    folder.mkdir(parents=True, exist_ok=True)
    unet = diffusers.UNet2DConditionModel.from_pretrained(checkpoint / "unet")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _encoder(activation).to(dtype).save_pretrained(folder / "image_encoder")
        width = unet.config.cross_attention_dim
        tensors = _base(width) if kind == "base" else _plus(width)
        for number, (inner, seen) in enumerate(_attentions(unet)):
            for part in "kv":
                name = f"ip_adapter.{2 * number + 1}.to_{part}_ip.weight"
                tensors[name] = torch.randn(inner, seen) / math.sqrt(seen)
    save_file({name: one.to(dtype).contiguous() for name, one in tensors.items()}, folder / FILE)
    return folder / FILE


def _attentions(unet: diffusers.UNet2DConditionModel) -> list[tuple[int, int]]:
    """Each cross-attention's widths, (its keys', the text's), in the order of diffusers."""
    modules = dict(unet.named_modules())
    names = [name.removesuffix(".processor") for name in unet.attn_processors]
    return [tuple(modules[f"{name}.to_k"].weight.shape) for name in names if name.endswith("attn2")]


def _encoder(activation: str) -> transformers.CLIPVisionModelWithProjection:
    config = transformers.CLIPVisionConfig(
        hidden_size=ENCODER_WIDTH,
        intermediate_size=2 * ENCODER_WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=32,
        patch_size=8,
        projection_dim=POOLED_WIDTH,
        hidden_act=activation,
    )
    model = transformers.CLIPVisionModelWithProjection(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(std=1 / math.sqrt(weight[0].numel()))
            else:
                weight.add_(0.1 * torch.randn_like(weight))
    return model


def _linear(rows: int, columns: int) -> torch.Tensor:
    return torch.randn(rows, columns) / math.sqrt(columns)


def _norm(name: str, width: int) -> dict[str, torch.Tensor]:
    return {
        f"{name}.weight": 1 + 0.1 * torch.randn(width),
        f"{name}.bias": 0.1 * torch.randn(width),
    }


def _base(width: int) -> dict[str, torch.Tensor]:
    return {
        "image_proj.proj.weight": _linear(4 * width, POOLED_WIDTH),
        "image_proj.proj.bias": 0.1 * torch.randn(4 * width),
        **_norm("image_proj.norm", width),
    }


def _plus(width: int) -> dict[str, torch.Tensor]:
    hidden, inner = 64, 128  # two heads of 64
    tensors = {
        "image_proj.latents": torch.randn(1, PLUS_TOKENS, hidden) / math.sqrt(hidden),
        "image_proj.proj_in.weight": _linear(hidden, ENCODER_WIDTH),
        "image_proj.proj_in.bias": 0.1 * torch.randn(hidden),
        "image_proj.proj_out.weight": _linear(width, hidden),
        "image_proj.proj_out.bias": 0.1 * torch.randn(width),
        **_norm("image_proj.norm_out", width),
    }
    for layer in range(4):
        name = f"image_proj.layers.{layer}."
        tensors |= {
            **_norm(f"{name}0.norm1", hidden),
            **_norm(f"{name}0.norm2", hidden),
            f"{name}0.to_q.weight": _linear(inner, hidden),
            f"{name}0.to_kv.weight": _linear(2 * inner, hidden),
            f"{name}0.to_out.weight": _linear(hidden, inner),
            **_norm(f"{name}1.0", hidden),
            f"{name}1.1.weight": _linear(4 * hidden, hidden),
            f"{name}1.3.weight": _linear(hidden, 4 * hidden),
        }
    return tensors
