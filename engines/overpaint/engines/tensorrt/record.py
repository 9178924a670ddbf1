"""`plans/<target>/build.json`: what was built, by what, for which machine. One closed schema."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from overpaint.bundle import layout
from overpaint.bundle.errors import IntegrityError
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.record import Record

from .edition import EDITIONS, Edition, Name
from .shapes import Extent

BUILD: Final = "build.json"
TIMING_CACHE: Final = "timing.cache"
VERSION_COMPATIBLE: Final = "VERSION_COMPATIBLE"
WEIGHT_STREAMING: Final = "WEIGHT_STREAMING"
USER_ALLOCATION: Final = "REQUIRE_USER_ALLOCATION"  # what a recording as a CUDA graph asks for


Weights: TypeAlias = Literal["inside", "inputs", "refit"]
"""Where a plan's weights are: in it; nowhere, and each is an input of the engine; or nowhere, and
each is a constant that is set when the engine is opened (NVIDIA: refitting)."""


class PlanRecord(Record, frozen=True, kw_only=True):
    """One component's plan.

    made_of: a SHA-256 over the graph and its weights, or over the graph alone of a plan that has
    none. sha256: the plan's own, where no manifest has it. profiles: the shapes that it takes, of
    each input the smallest, usual and largest. activation_bytes: the GPU memory that running the
    largest takes besides weights, inputs and outputs; None where there was no GPU to ask.
    """

    plan: str
    size: int
    made_of: str
    profiles: tuple[dict[str, Extent], ...]
    activation_bytes: int | None
    seconds: float
    sha256: str | None = None


class BuildRecord(Record, frozen=True, kw_only=True):
    """A folder of plans.

    engine: which TensorRT they are for; tensorrt: its version. gpu, platform: what the plans were
    tuned on and for; None where they serve several. shapes: as --shape and --sizes have them.
    flags: TensorRT's builder flags that were set, by name. weights: where they are.
    """

    format: Literal["overpaint-plans"] = "overpaint-plans"
    version: Literal[2] = 2
    engine: Name
    target: str
    tensorrt: str
    compute_capabilities: tuple[str, ...]
    gpu: str | None
    platform: str | None
    shapes: tuple[str, ...]
    flags: tuple[str, ...]
    overpaint: str
    plans: dict[str, PlanRecord]
    weights: Weights = "inside"

    @property
    def edition(self) -> Edition:
        return EDITIONS[self.engine]

    @property
    def version_compatible(self) -> bool:
        return VERSION_COMPATIBLE in self.flags

    @property
    def weight_streaming(self) -> bool:
        return WEIGHT_STREAMING in self.flags


@dataclass(frozen=True, slots=True)
class Plans:
    """A folder of plans, of a bundle or of the user's cache, and its record."""

    record: BuildRecord
    folder: Path


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


def target_name(
    edition: Edition, version: str, compute_capabilities: tuple[str, ...], platform: str | None
) -> str:
    """ "11.4", ("9.0",), "linux-x86_64" -> `trt11.4-sm90-linux-x86_64`."""
    capabilities = "-".join(one.replace(".", "") for one in compute_capabilities)
    end = f"-{platform}" if platform else ""
    return f"{edition.prefix}{version}-sm{capabilities}{end}"


def folder_of(target: str) -> str:
    """Where a target's files lie in a bundle."""
    return f"{layout.PLANS}/{target}"


def build_command(
    bundle: Bundle,
    edition: Edition,
    shapes: tuple[str, ...] = (),
    weights: Weights = "inside",
) -> str:
    """What to type to build plans with which `edition` runs `bundle` here."""
    asked = "".join(f" {'--sizes' if ':' in shape else '--shape'} {shape}" for shape in shapes)
    without = "" if weights == "inside" else " --weightless"
    folder = shlex.quote(str(bundle.folder))
    return f"overpaint build {folder} --engine {edition.name}{without}{asked}"
