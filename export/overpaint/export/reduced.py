"""Parity where the weights do not fit into memory: the same architecture, narrow and shallow.

Every operator and every kind of block is there, with random weights from a seed; what is left out
is repetition. That the true graph has the checkpoint's weights, each by name, shape and place, is
known from binding them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import torch
from safetensors.torch import save_file

from overpaint.bundle.checkpoint.safetensors import ITEM_SIZES, Stored, read_header
from overpaint.bundle.format.manifest import Parity

from .parity import measure, reference
from .part import Part
from .trace import trace
from .weights import CONVERTED, place_weights

# What ONNX Runtime takes to load weights, in their sizes (bench/studies/load_time.py).
_ROOM: Final = 2.2


def fit_memory(tensors: Mapping[str, Stored]) -> bool:
    """Whether an engine can load these weights in float32, with room to rearrange them."""
    numbers = sum(stored.size // ITEM_SIZES[stored.dtype] for stored in tensors.values())
    return _ROOM * 4 * numbers < _available_memory()


def measure_reduced(part: Part) -> Parity:
    """The parity of the part's architecture at reduced width and depth.

    Raises:
        ParityError: as `measure`.
    """
    small = part.reduced()
    with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as name:
        torch.manual_seed(0)
        net = _woken(small.make()).eval()
        file = Path(name, CONVERTED)
        save_file({key: value.contiguous() for key, value in _distinct(net).items()}, file)
        here = Path(name, small.component)
        here.mkdir()
        place_weights(trace(small), read_header(file)[0], here, store=None, already={})
        parity = measure(small, here, reference(small, net))
    return msgspec.structs.replace(parity, measured_on="reduced")


def _woken(net: Any) -> Any:
    """`net`, whose control layers and filling tokens are zero before they are trained, so that
    there would be nothing to compare."""
    for name, weight in net.named_parameters():
        asleep = name.startswith("controlnet_") or name.endswith("pad_token")
        if asleep and not bool(weight.any()):
            torch.nn.init.normal_(weight, std=0.1)
    return net


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
