"""Engines without weights: built once for an architecture, filled from each fine-tune's files.

A bundle's graph without the places of its weights, its template, is the same for every checkpoint
of an architecture. An engine of the template needs no weights to be built, and lies in the user's
cache folder under the templates' hashes, where every bundle that has them finds it.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from overpaint.bundle.errors import IntegrityError, UsageError
from overpaint.bundle.files.hashing import sha256_file
from overpaint.bundle.files.user_folders import cache_folder
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.write import termination_raises
from overpaint.bundle.graph.weights import Slot, Weight, slots, unbind

from .record import BUILD, PlanRecord, Plans, Weights, decode

_LOG = logging.getLogger(__name__)

HOW: Final[Weights] = "inputs"
"""How plans are built that have no weights. Either way is opened as its record says, so this is the
one line to change should a GPU be faster with the other (docs/decisions/0017)."""

FLAGS: Final[Mapping[Weights, tuple[str, ...]]] = {
    "inside": (),
    "inputs": (),
    "refit": ("STRIP_PLAN", "REFIT_INDIVIDUAL"),
}


@dataclass(frozen=True, slots=True)
class Template:
    """A component's graph without the places of its weights, the weights that it asks for, and
    where the bundle has them, relative to the graph's folder."""

    graph: bytes
    slots: Mapping[str, Slot]
    weights: Mapping[str, Weight]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.graph).hexdigest()


def template_of(bundle: Bundle, component: str) -> Template:
    """What remains of a component's graph, and what was taken from it."""
    graph, weights = unbind(bundle.path(bundle.component(component).graph).read_bytes())
    return Template(graph, slots(graph), weights)


def template_hashes(bundle: Bundle) -> dict[str, str]:
    """SHA-256 of each component's template."""
    return {name: template_of(bundle, name).sha256 for name in bundle.manifest.components}


def kept_in(bundle: Bundle) -> Path | None:
    """The folder of all plans for `bundle`'s templates, a folder for each target; None where the
    system has no place for such."""
    cache = cache_folder()
    if cache is None:
        return None
    lines = "".join(
        f"{name} {sha256}\n" for name, sha256 in sorted(template_hashes(bundle).items())
    )
    return Path(cache) / "plans" / hashlib.sha256(lines.encode()).hexdigest()[:32]


def kept_plans(bundle: Bundle) -> Iterator[Plans]:
    """What there is in the user's cache for `bundle`'s templates; what this overpaint cannot read
    is as if it were not there."""
    cache = cache_folder()
    if cache is None or not (Path(cache) / "plans").is_dir():
        return  # without reading a graph
    folder = kept_in(bundle)
    assert folder is not None
    for record in sorted(folder.glob(f"*/{BUILD}")):
        if record.parent.name.startswith("."):
            continue  # being built
        try:
            yield Plans(decode(record.read_bytes(), str(record)), record.parent)
        except IntegrityError as error:
            _LOG.info("%s", error)


@contextlib.contextmanager
def new_kept_plans(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that takes `folder`'s place when the block ends well: for this user
    alone, for plans are code.

    Raises:
        UsageError: the cache cannot be written to, or the disk is full.
    """
    beside: Path | None = None
    with termination_raises():
        try:
            folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            yield beside
            shutil.rmtree(folder, ignore_errors=True)
            beside.rename(folder)
        except OSError as error:
            raise UsageError(f"{folder}: plans cannot be kept there: {error.strerror}") from error
        finally:
            if beside is not None:
                shutil.rmtree(beside, ignore_errors=True)


def check_unchanged(plan: Path, record: PlanRecord) -> None:
    """Hash a plan that no manifest vouches for.

    Raises:
        IntegrityError: it is not the one that was built.
    """
    if sha256_file(plan) != record.sha256:
        raise IntegrityError(
            f"{plan}: changed since it was built, and plans are code; build it again with "
            "overpaint build BUNDLE --engine tensorrt-rtx --weightless --force"
        )
