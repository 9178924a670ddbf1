"""The options of `overpaint run` that concern the command and not the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from overpaint.bundle.errors import UsageError
from overpaint.bundle.lora.file import LoraChoice
from overpaint.runtime.lora.find import SUFFIX
from overpaint.runtime.pipeline import LORA_MODES

from .controls import Controls
from .repeat import Repeat
from .rows import Row

PATIENCE: Final = 3600.0
REPORTS: Final = (".jsonl", ".parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class OnRay:
    """A Ray cluster to paint on. workers: None, as many as it has GPUs, or nodes. patience: seconds
    for one picture."""

    address: str
    workers: int | None
    patience: float


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
    reference_image: tuple[Path, ...] = ()
    text_to_image: bool
    device: str
    precision: str
    gpu_memory: int | None
    low_memory: bool
    force: bool
    skip_existing: bool
    json: bool
    again: Repeat | None = None
    report: Path | None = None
    ray: OnRay | None = None


def on_ray(address: str | None, workers: int | None, patience: float | None) -> OnRay | None:
    """Raises UsageError for a number out of range, or one that says something of no cluster."""
    if workers is not None and workers < 1:
        raise UsageError(f"--workers: expected 1 or more, got {workers}")
    if patience is not None and not patience > 0:
        raise UsageError(f"--patience: expected seconds above 0, got {patience:g}")
    if address is not None:
        return OnRay(address=address, workers=workers, patience=patience or PATIENCE)
    for name, value in (("--workers", workers), ("--patience", patience)):
        if value is not None:
            raise UsageError(f"{name}: it is for a cluster; name one with --ray")
    return None


def report_of(report: Path | None, output: Path, ray: OnRay | None) -> Path | None:
    """Where the report goes: beside the pictures where a cluster paints and no other place is
    named. Raises UsageError for a file of another kind."""
    if report is None:
        return None if ray is None else output / "report.jsonl"
    if report.suffix not in REPORTS:
        raise UsageError(f"--report {report}: expected a file that ends in {' or '.join(REPORTS)}")
    return report


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
