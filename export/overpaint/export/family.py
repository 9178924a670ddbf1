"""What a family's checkpoints are made of, on torch's side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from overpaint.bundle.tensor import DType

from .architectures import Architecture
from .part import Config, Part

MakeDenoiser: TypeAlias = Callable[[Mapping[str, Config], DType], Part]
"""(the configs of a checkpoint's components, what the graph computes in) -> the graph to be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """`denoiser`: what predicts. `architectures`: those whose graphs the wheel carries, by name."""

    denoiser: MakeDenoiser
    architectures: Mapping[str, Architecture]
