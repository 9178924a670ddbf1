"""LoRAs that change pictures, made of random factors, without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from overpaint.bundle.checkpoint.safetensors import ToWrite, of_array, write_safetensors
from overpaint.bundle.graph.weights import Slot, slots, unbind
from overpaint.runtime.default_bundle import EMBEDDED


def layers(bundle: Path) -> dict[str, Slot]:
    """A UNet's linear layers and convolutions, by what kohya's scripts call them."""
    wanted = slots(unbind((bundle / "unet" / "model.onnx").read_bytes())[0])
    return {
        "lora_unet_" + name.removesuffix(".weight").replace(".", "_"): one
        for name, one in wanted.items()
        if name.endswith(".weight") and len(one.shape) in (2, 4)
    }


def random_lora(
    path: Path, bundle: Path = EMBEDDED, *, rank: int = 4, seed: int = 0, dtype: str = "f4"
) -> Path:
    """Factors for every layer of the UNet of `bundle`."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, ToWrite] = {}
    for module, one in layers(bundle).items():
        out, into, *kernel = one.shape
        down = rng.standard_normal((rank, into, *kernel)) / np.sqrt(np.prod([into, *kernel]))
        up = rng.standard_normal((out, rank, *[1] * len(kernel))) * 0.13
        tensors[f"{module}.lora_down.weight"] = of_array(down.astype(dtype))
        tensors[f"{module}.lora_up.weight"] = of_array(up.astype(dtype))
        tensors[f"{module}.alpha"] = of_array(np.array(rank * 0.75, dtype))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_safetensors(path, tensors)
    return path
