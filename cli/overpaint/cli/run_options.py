"""The options of `overpaint run` that concern the command and not the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from overpaint.bundle.errors import UsageError
from overpaint.bundle.lora.file import LoraChoice
from overpaint.runtime.lora.find import SUFFIX
from overpaint.runtime.pipeline import LORA_MODES

from .controls import Controls
from .repeat import Repeat
from .rows import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """As they were typed; `output` may be `-`, stdout. `lora` are fused, `live` opened beside the
    weights."""

    output: Path
    bundle: Path | None
    lora: tuple[str, ...]
    live: Mapping[str, LoraChoice]
    lora_folder: Path | None
    like: str | None
    refiner: Path | None
    hand_over: float | None
    mask: Path | None
    rows: tuple[Row, ...] = ()
    embedding: Mapping[str, Path] = field(default_factory=dict)
    controls: Controls
    tiny_vae: Path | None = None
    upscaler: Path | None = None
    ip_adapter: Path | None = None
    ip_adapter_image: tuple[Path, ...] = ()
    ip_adapter_mask: tuple[Path, ...] = ()
    text_to_image: bool
    device: str
    precision: str
    gpu_memory: int | None
    low_memory: bool
    force: bool
    skip_existing: bool
    json: bool
    again: Repeat | None = None


def by_mode(lora: Sequence[str], mode: str) -> tuple[tuple[str, ...], dict[str, LoraChoice]]:
    """The LoRAs to fuse, and those to open beside the weights, by their files' names bar suffix.

    Raises:
        UsageError: the mode is not known, or two would be called alike.
    """
    if mode not in LORA_MODES:
        raise UsageError(f"--lora-mode: expected {' or '.join(LORA_MODES)}, got {mode!r}")
    if mode == "fused":
        return tuple(lora), {}
    live: dict[str, LoraChoice] = {}
    for choice in map(LoraChoice.parse, lora):
        other = live.setdefault(choice.path.name.removesuffix(SUFFIX), choice)
        if other is not choice:
            raise UsageError(
                f"--lora: {other.path} and {choice.path} would have the same name; rename one"
            )
    return (), live


def words_of(embedding: Sequence[str]) -> dict[str, Path]:
    """WORD=FILE of each, by the word. Raises UsageError."""
    found: dict[str, Path] = {}
    for text in embedding:
        word, _, file = text.rpartition("=")
        if not word or not file or word in found:
            raise UsageError(f"--embedding: expected WORD=FILE, each word once, got {text!r}")
        found[word] = Path(file)
    return found
