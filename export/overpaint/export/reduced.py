"""Parity where the weights do not fit into memory: the same architecture, narrow and shallow.

Every operator and every kind of block is there, with random weights from a seed; what is left out
is repetition. That the true graph has the checkpoint's weights, each by name, shape and place, is
known from binding them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import torch
from safetensors.torch import save_file

from overpaint.bundle import layout
from overpaint.bundle.checkpoint.safetensors import ITEM_SIZES, Stored, read_header
from overpaint.bundle.format.manifest import Parity

from .parity import measure, reference
from .parts import (
    Config,
    Part,
    text_part,
    transformer_part,
    unet_part,
    vae_decoder_part,
    vae_encoder_part,
)
from .trace import trace
from .weights import CONVERTED, place_weights

# What ONNX Runtime takes to load weights, in their sizes (bench/studies/load_time.py).
_ROOM: Final = 2.2
_WIDTH: Final = 64
_CHANNELS: Final = (64, 128, 128, 128)
_NORM_GROUPS: Final = 8
"""Groups of two channels, as 32 would make, have two values at the smallest size, and a norm over
two nearly equal values blows up what half precision rounds. True networks have ten and more."""
_HEADS: Final = (2, 4, 4, 4)


def fit_memory(tensors: Mapping[str, Stored]) -> bool:
    """Whether an engine can load these weights in float32, with room to rearrange them."""
    numbers = sum(stored.size // ITEM_SIZES[stored.dtype] for stored in tensors.values())
    return _ROOM * 4 * numbers < _available_memory()


def measure_reduced(part: Part) -> Parity:
    """The parity of the part's architecture at reduced width and depth.

    Raises:
        ParityError: as `measure`.
    """
    small = reduced(part)
    with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as name:
        torch.manual_seed(0)
        net = small.make().eval()
        file = Path(name, CONVERTED)
        save_file({key: value.contiguous() for key, value in _distinct(net).items()}, file)
        here = Path(name, small.component)
        here.mkdir()
        place_weights(trace(small), read_header(file)[0], here, store=None, already={})
        parity = measure(small, here, reference(small, net))
    return msgspec.structs.replace(parity, measured_on="reduced")


def reduced(part: Part) -> Part:
    """The same part of a small network."""
    config = _SMALLER[part.class_name](part.config)
    if part.component == "unet":
        ids = next((t.shape[1] for t in part.inputs if t.name == "time_ids"), None)
        if ids is None:
            return unet_part(config, part.compute)
        each = config["addition_time_embed_dim"]
        config["projection_class_embeddings_input_dim"] = _WIDTH + int(ids) * each
        return unet_part(config, part.compute, pooled=_WIDTH)
    if part.component == "transformer":
        return transformer_part(config, part.compute)
    if part.component == layout.VAE_ENCODER:
        return vae_encoder_part(config, part.compute)
    if part.component == layout.VAE_DECODER:
        return vae_decoder_part(config, part.compute)
    return text_part(part.component, part.class_name, config, part.compute)


def _available_memory() -> int:
    """Bytes that can be taken without swapping (half of all, where the system does not say)."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    [line] = (line for line in lines if line.startswith("MemAvailable:"))
    return int(line.split()[1]) * 1024


def _distinct(net: Any) -> dict[str, torch.Tensor]:
    """The state without a second name for a tied tensor."""
    seen: dict[int, str] = {}
    state = net.state_dict()
    return {k: v for k, v in state.items() if seen.setdefault(v.data_ptr(), k) == k}


def _unet(config: Config) -> Config:
    levels, depths = (
        len(config["block_out_channels"]),
        config.get("transformer_layers_per_block", 1),
    )
    heads = config.get("attention_head_dim", 8)
    return {
        **config,
        "block_out_channels": _CHANNELS[:levels],
        "norm_num_groups": _NORM_GROUPS,
        "layers_per_block": 1,
        "attention_head_dim": heads if isinstance(heads, int) else _HEADS[:levels],
        "transformer_layers_per_block": (
            min(depths, 2) if isinstance(depths, int) else [min(depth, 2) for depth in depths]
        ),
        "cross_attention_dim": _WIDTH,
        "addition_time_embed_dim": config.get("addition_time_embed_dim") and 32,
        "time_cond_proj_dim": config.get("time_cond_proj_dim") and 16,
    }


def _transformer(config: Config) -> Config:
    layers = 2
    return {
        **config,
        "num_layers": layers,
        "num_attention_heads": 2,
        "attention_head_dim": _WIDTH // 2,
        "caption_projection_dim": _WIDTH,
        "joint_attention_dim": _WIDTH,
        "pooled_projection_dim": _WIDTH,
        "pos_embed_max_size": 24,
        "dual_attention_layers": [
            layer for layer in config.get("dual_attention_layers") or () if layer < layers - 1
        ],
    }


def _vae(config: Config) -> Config:
    levels = len(config["block_out_channels"])
    return {
        **config,
        "block_out_channels": _CHANNELS[:levels],
        "norm_num_groups": _NORM_GROUPS,
        "layers_per_block": 1,
    }


def _clip(config: Config) -> Config:
    return {
        **config,
        "hidden_size": _WIDTH,
        "intermediate_size": 2 * _WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "projection_dim": _WIDTH,
        "vocab_size": 1000,
    }


def _t5(config: Config) -> Config:
    return {
        **config,
        "d_model": _WIDTH,
        "d_kv": 16,
        "d_ff": 2 * _WIDTH,
        "num_layers": 2,
        "num_heads": 4,
        "vocab_size": 1000,
    }


_SMALLER: Final[dict[str, Callable[[Config], Config]]] = {
    "UNet2DConditionModel": _unet,
    "SD3Transformer2DModel": _transformer,
    "AutoencoderKL": _vae,
    "CLIPTextModel": _clip,
    "CLIPTextModelWithProjection": _clip,
    "T5EncoderModel": _t5,
}
