"""A LoRA for the embedded model that changes pictures, made of random factors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from overpaint.bundle.checkpoint.safetensors import ToWrite, of_array, write_safetensors
from overpaint.bundle.graph.weights import slots, unbind
from overpaint.runtime.default_bundle import EMBEDDED

RANK = 4


def write_ink(path: Path, *, seed: int = 0, loudness: float = 0.15) -> Path:
    """Factors for every linear layer and convolution of its denoiser, under kohya's names."""
    rng = np.random.default_rng(seed)
    weights = slots(unbind((EMBEDDED / "unet" / "model.onnx").read_bytes())[0])
    tensors: dict[str, ToWrite] = {}
    for name, one in weights.items():
        if not name.endswith(".weight") or len(one.shape) not in (2, 4):
            continue
        out, into, *kernel = one.shape
        module = "lora_unet_" + name.removesuffix(".weight").replace(".", "_")
        down = rng.standard_normal((RANK, into, *kernel)) / np.sqrt(np.prod([into, *kernel]))
        up = rng.standard_normal((out, RANK, *[1] * len(kernel))) * loudness
        tensors[f"{module}.lora_down.weight"] = of_array(down.astype(np.float32))
        tensors[f"{module}.lora_up.weight"] = of_array(up.astype(np.float32))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_safetensors(path, tensors)
    return path
