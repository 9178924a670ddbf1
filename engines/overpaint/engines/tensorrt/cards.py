"""The cards that TensorRT for RTX builds for, by compute capability.

NVIDIA's "CPU-Only AOT and TensorRT-RTX Engines" says which, and its support matrix names the cards.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Final

from overpaint.bundle.errors import SessionError, UsageError

if TYPE_CHECKING:
    import tensorrt_rtx as trt

CARDS: Final = {
    "7.5": "Turing: RTX 20",
    "8.0": "Ampere: A100, A30",
    "8.6": "Ampere: RTX 30",
    "8.9": "Ada: RTX 40",
    "12.0": "Blackwell: RTX 50",
    "12.1": "Blackwell: GB10",
}
USUAL: Final = ("8.0", "8.6", "8.9", "12.0")
"""What one plan serves unless asked otherwise. Turing has no kernels for float32."""


def check_capabilities(asked: Sequence[str]) -> tuple[str, ...]:
    """What is asked for, in order and once; the usual where nothing is.

    Raises:
        UsageError: TensorRT for RTX does not build for one of them.
    """
    for one in asked:
        if one not in CARDS:
            known = ", ".join(f"{name} ({cards})" for name, cards in CARDS.items())
            raise UsageError(
                f"--compute-capability {one}: TensorRT for RTX builds for {known}; data centres' "
                "other GPUs run plans of --engine tensorrt"
            )
    return tuple(name for name in CARDS if name in asked) or USUAL


def named(capabilities: Sequence[str]) -> str:
    """ "8.6 (Ampere: RTX 30), 8.9 (Ada: RTX 40)"."""
    return ", ".join(f"{one} ({CARDS[one]})" for one in capabilities)


def set_capabilities(trt: ModuleType, config: trt.IBuilderConfig, wanted: Sequence[str]) -> None:
    """Have a build serve these; where none is named, the GPU that is here.

    Raises:
        SessionError: this TensorRT does not build for one of them.
    """
    if not wanted:
        return
    config.num_compute_capabilities = len(wanted)
    for index, one in enumerate(wanted):
        known = getattr(trt.ComputeCapability, f"SM{one.replace('.', '')}", None)
        if known is None or not config.set_compute_capability(known, index):
            raise SessionError(f"this TensorRT for RTX does not build for compute capability {one}")
