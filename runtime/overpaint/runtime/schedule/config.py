"""Reading a scheduler_config.json: the scheduler it names, and what of the vocabulary it writes.

A sampler reads the fields that its scheduler class in diffusers has, with that class's defaults for
what the file does not write: see resolve.py. A field or value outside the vocabulary is an error
that names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from overpaint.bundle.errors import CheckpointError, ManifestError, one_line
from overpaint.bundle.files.json import read_json

from .options import VOCABULARY, check
from .samplers import SCHEDULERS

RELATIVES = frozenset(
    {
        "DEISMultistepScheduler",
        "DPMSolverSinglestepScheduler",
        "IPNDMScheduler",
        "KDPM2AncestralDiscreteScheduler",
        "KDPM2DiscreteScheduler",
        "LMSDiscreteScheduler",
        "SASolverScheduler",
    }
)
"""Scheduler classes whose config any of our samplers can take over, though none is their own."""


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """A scheduler_config.json: the class it names, and the fields it writes (null is unwritten)."""

    scheduler: str
    written: Mapping[str, Any]


def read_scheduler_config(source: str | Path | Mapping[str, Any]) -> SchedulerConfig:
    """Read a scheduler_config.json, or its contents. ManifestError names what is not understood."""
    if isinstance(source, Mapping):
        where, fields = "the scheduler config", dict(source)
    else:
        where, fields = str(source), _load(Path(source))
    scheduler = fields.pop("_class_name", None)
    if not isinstance(scheduler, str):
        raise ManifestError(f"{where}: expected the scheduler's name in '_class_name', found none")
    written = {k: v for k, v in fields.items() if not k.startswith("_") and v is not None}
    if scheduler not in SCHEDULERS and scheduler not in RELATIVES:
        raise ManifestError(
            f"{where}: scheduler class {one_line(repr(scheduler))} is not supported. "
            f"Supported: {', '.join(sorted(SCHEDULERS))}; and, if a sampler is named, "
            f"the configs of {', '.join(sorted(RELATIVES))}"
        )
    for name in written:
        if name not in VOCABULARY:
            raise ManifestError(
                f"{where}: field {one_line(repr(name))} is not supported. "
                f"Supported: {', '.join(sorted(VOCABULARY))}"
            )
    check(written, where)
    return SchedulerConfig(scheduler, MappingProxyType(written))


def brought_up_to_date(config: SchedulerConfig) -> SchedulerConfig:
    """What diffusers' Stable Diffusion 1 and 2 pipelines make of a config (SDXL's and SD3's do
    not): steps_offset is 1 and clip_sample false, which early checkpoints forgot to write."""
    fresh = {**config.written, "steps_offset": 1, "clip_sample": False}
    return SchedulerConfig(config.scheduler, MappingProxyType(fresh))


def _load(path: Path) -> dict[str, Any]:
    try:
        return read_json(path / "scheduler_config.json" if path.is_dir() else path)
    except CheckpointError as error:
        raise ManifestError(str(error)) from None
