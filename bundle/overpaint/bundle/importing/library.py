"""The architectures that come with the package: graphs without weights, and configs.

A library is a folder: `index.json` (this schema), `graphs/*.onnx.xz` (templates), and CLIP's
merges. The packaged one is made by `python -m overpaint.export.library`.
"""

from __future__ import annotations

import functools
import hashlib
import lzma
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from overpaint.bundle.errors import BundleError, UsageError
from overpaint.bundle.facts import Family
from overpaint.bundle.format.manifest import Component
from overpaint.bundle.graph.weights import Slot, slots
from overpaint.bundle.record import Record

PACKAGED: Final = Path(__file__).parent / "architectures"
INDEX: Final = "index.json"
GRAPHS: Final = "graphs"
MERGES: Final = "clip-merges.txt.xz"


class Graph(Record, frozen=True, kw_only=True):
    """A template: its hash (uncompressed), that of what it was traced from, and what a manifest
    says of it."""

    sha256: str
    traced_from: str
    component: Component


class Architecture(Record, frozen=True, kw_only=True):
    """A pipeline without weights.

    `like` names its first release; `index`, `scheduler` and `configs` are the JSON files of its
    diffusers folder (`configs` by component, the VAE as `vae`); `pads` each CLIP tokenizer's
    padding token; `graphs` the graph of each bundle component, by the dtype that it computes in.
    """

    like: str
    family: Family
    index: dict[str, Any]
    scheduler: dict[str, Any]
    configs: dict[str, dict[str, Any]]
    pads: dict[str, str]
    graphs: dict[str, dict[str, str]]


class Index(Record, frozen=True, kw_only=True):
    """`exporter`: SHA-256 of the code that traced the graphs; `versions` of the packages."""

    exporter: str
    versions: dict[str, str]
    graphs: dict[str, Graph]
    architectures: dict[str, Architecture]


@dataclass(frozen=True, slots=True, eq=False)
class Library:
    """An opened library."""

    folder: Path
    index: Index

    @property
    def architectures(self) -> Mapping[str, Architecture]:
        return self.index.architectures

    def template(self, graph: str) -> bytes:
        """The graph of that name, as it was made.

        Raises:
            BundleError: the installed file is damaged.
        """
        path = self.folder / GRAPHS / f"{graph}.onnx.xz"
        try:
            data = lzma.decompress(path.read_bytes())
        except (OSError, lzma.LZMAError) as error:
            raise BundleError(
                f"{path} cannot be read ({error}); install overpaint again"
            ) from error
        if hashlib.sha256(data).hexdigest() != self.index.graphs[graph].sha256:
            raise BundleError(f"{path} is not what was packaged; install overpaint again")
        return data

    def slots(self, graph: str) -> dict[str, Slot]:
        """The weights that a graph asks for."""
        return _slots(self, graph)

    def graphs(self, name: str, dtype: str) -> Mapping[str, str]:
        """An architecture's graphs, by component, that compute in `dtype`.

        Raises:
            UsageError: there are none for it.
        """
        known = self.architectures[name].graphs
        if dtype not in known:
            raise UsageError(f"dtype: expected {' or '.join(known)}, got {dtype!r}")
        return known[dtype]


@functools.lru_cache(maxsize=64)
def _slots(library: Library, graph: str) -> dict[str, Slot]:
    return slots(library.template(graph))


@functools.cache
def open_library(folder: Path = PACKAGED) -> Library:
    """Read a library's index.

    Raises:
        BundleError: there is none, or it is damaged.
    """
    path = folder / INDEX
    try:
        return Library(folder, msgspec.json.decode(path.read_bytes(), type=Index))
    except FileNotFoundError:
        raise BundleError(
            "this installation carries no architecture graphs, which import fills with weights; "
            "make the bundle where torch is, with: overpaint export CHECKPOINT --output BUNDLE"
        ) from None
    except (OSError, msgspec.MsgspecError) as error:
        raise BundleError(f"{path}: cannot be read ({error}); install overpaint again") from error
