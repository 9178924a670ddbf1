"""`plans/<target>/build.json`: what was built, by what, for which machine. One closed schema."""

from __future__ import annotations

import shlex
from typing import Final, Literal

import msgspec

from overpaint.bundle import layout
from overpaint.bundle.errors import IntegrityError
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.record import Record

BUILD: Final = "build.json"
TIMING_CACHE: Final = "timing.cache"


class PlanRecord(Record, frozen=True, kw_only=True):
    """One component's plan.

    made_of: a SHA-256 over the graph and its weights. profiles: each input's exact shape.
    activation_bytes: the GPU memory that running it takes besides weights, inputs and outputs.
    """

    plan: str
    size: int
    made_of: str
    profiles: tuple[dict[str, tuple[int, ...]], ...]
    activation_bytes: int
    seconds: float


class BuildRecord(Record, frozen=True, kw_only=True):
    """A folder of plans. `flags` are TensorRT's builder flags that were set, by name."""

    format: Literal["overpaint-plans"] = "overpaint-plans"
    version: Literal[1] = 1
    target: str
    tensorrt: str
    version_compatible: bool
    compute_capability: str
    gpu: str
    platform: str
    shapes: tuple[str, ...]
    flags: tuple[str, ...]
    overpaint: str
    plans: dict[str, PlanRecord]


def encode(record: BuildRecord) -> bytes:
    """As indented JSON: people read it too."""
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"


def decode(data: bytes, where: str) -> BuildRecord:
    """Read a build record.

    Raises:
        IntegrityError: it breaks the schema.
    """
    try:
        return msgspec.json.decode(data, type=BuildRecord)
    except msgspec.DecodeError as error:
        raise IntegrityError(
            f"{where}: not the record of a build that this overpaint reads ({error}). "
            "Build the plans again with: overpaint build"
        ) from None


def target_name(tensorrt: str, compute_capability: str, platform: str) -> str:
    """ "11.4", "9.0", "linux-x86_64" -> `trt11.4-sm90-linux-x86_64`."""
    return f"trt{tensorrt}-sm{compute_capability.replace('.', '')}-{platform}"


def folder_of(target: str) -> str:
    """Where a target's files lie in a bundle."""
    return f"{layout.PLANS}/{target}"


def build_command(bundle: Bundle, shapes: tuple[str, ...] = ()) -> str:
    """What to type to build plans for this GPU."""
    asked = "".join(f" --shape {shape}" for shape in shapes)
    return f"overpaint build {shlex.quote(str(bundle.folder))} --engine tensorrt{asked}"
