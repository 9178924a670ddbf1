"""The options of `overpaint run` that concern the command and not the picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .repeat import Repeat


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """As they were typed; `output` may be `-`, stdout."""

    output: Path
    bundle: Path | None
    lora: tuple[str, ...]
    like: str | None
    refiner: Path | None
    hand_over: float | None
    mask: Path | None
    text_to_image: bool
    device: str
    precision: str
    gpu_memory: int | None
    low_memory: bool
    force: bool
    skip_existing: bool
    json: bool
    again: Repeat | None = None
