"""Tiny control networks, built from a seed with diffusers' own classes, beside tiny checkpoints.

A fresh ControlNet gives zeros; here its last layers are woken, so that a picture changes much.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import diffusers
import torch


def tiny_controlnet(
    checkpoint: Path,
    folder: str | Path,
    *,
    seed: int = 1,
    union: int | None = None,
    global_pool: bool = False,
    layers: int = 1,
    sees_mask: bool = False,
) -> Path:
    """Write a control network's folder for the denoiser of `checkpoint` and return its path.

    `union`: how many kinds of picture a union network tells apart. `layers`: those of an SD 3's,
    and `sees_mask` whether it is an inpainting one.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if (checkpoint / "transformer").is_dir():
            net = _beside_transformer(checkpoint, layers, int(sees_mask))
        else:
            net = _beside_unet(checkpoint, union)
        net.register_to_config(**({} if not global_pool else {"global_pool_conditions": True}))
        _wake(net)
    net.eval().save_pretrained(folder, safe_serialization=True)
    return Path(folder)


def _beside_unet(checkpoint: Path, union: int | None) -> Any:
    unet = diffusers.UNet2DConditionModel.from_pretrained(checkpoint / "unet")
    embedding = (4, 8, 8, 16)
    if union is None:
        return diffusers.ControlNetModel.from_unet(
            unet, conditioning_embedding_out_channels=embedding
        )
    taken = inspect.signature(diffusers.ControlNetUnionModel).parameters
    config = {key: value for key, value in unet.config.items() if key in taken and key[0] != "_"}
    config |= {"conditioning_embedding_out_channels": embedding, "num_control_type": union}
    width = unet.config.block_out_channels[0]
    config |= {"num_trans_channel": width, "num_proj_channel": width, "num_trans_head": 4}
    net = diffusers.ControlNetUnionModel(**config)
    net.load_state_dict(unet.state_dict(), strict=False)
    return net


def _beside_transformer(checkpoint: Path, layers: int, extra: int) -> Any:
    transformer = diffusers.SD3Transformer2DModel.from_pretrained(checkpoint / "transformer")
    net = diffusers.SD3ControlNetModel.from_transformer(
        transformer, num_layers=layers, num_extra_conditioning_channels=extra
    )
    net.register_to_config(force_zeros_for_pooled_projection=False)
    return net


def _wake(net: Any) -> None:
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if not weight.any() and "norm" not in name:
                weight.normal_(std=0.15)
