"""LoRAs that turn while a bundle runs: an extension of it with a branch beside each layer.

    folder = live_loras(bundle, [Path("ink.safetensors"), Path("wash.safetensors")])

The graphs read A and B from the LoRAs' own files, which are linked into the bundle; each graph that
has branches has the input `lora_scale`, with a weight for each LoRA in the order of its hash. No
weight is part of what is made, so that every request is served by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from overpaint.bundle.checkpoint.link import place
from overpaint.bundle.checkpoint.match import FLOATS
from overpaint.bundle.checkpoint.safetensors import Stored, of_array, write_safetensors
from overpaint.bundle.checkpoint.source import Source
from overpaint.bundle.errors import BundleError, CheckpointError
from overpaint.bundle.extended import extended
from overpaint.bundle.families import FAMILIES
from overpaint.bundle.files.hashing import Progress, sha256_file
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.manifest import Component, Manifest
from overpaint.bundle.graph.weights import Piece, Slot, Weight, bind, slots, unbind
from overpaint.bundle.tensor import Tensor

from .arithmetic import with_middle
from .branches import SCALE, Branch, factor_names, with_branches
from .file import LoraChoice, Update
from .plan import Change, plan_loras

NAME: Final = "lora"
FILE: Final = "live-{}.safetensors"
MIDDLES: Final = "live-middles.safetensors"


def live_loras(bundle: Bundle, loras: Mapping[str, Path], progress: Progress | None = None) -> Path:
    """The folder of `bundle` with branches for `loras`, which are given by their files' SHA-256.

    Raises:
        CheckpointError: a file is no LoRA, matches nothing in the bundle, or is none that can stand
            beside a layer (DoRA).
        BundleError, UsageError: as `extended`.
    """
    hashes = sorted(loras)
    inputs = (one for part in bundle.manifest.components.values() for one in part.inputs)
    if any(one.name == SCALE for one in inputs):
        raise BundleError(
            f"{bundle.folder}: it has branches for LoRAs already; open what it was made of"
        )

    def edit(folder: Path, manifest: Manifest) -> Manifest:
        return _edit(folder, manifest, {sha256: loras[sha256] for sha256 in hashes})

    return extended(bundle, NAME, hashes, edit, progress)


def check_live(bundle: Bundle, lora: Path) -> None:
    """Raise what `live_loras` would of this file, without making anything."""
    graphs = {
        component: unbind(bundle.path(entry.graph).read_bytes())[0]
        for component, entry in bundle.manifest.components.items()
    }
    wanted = {component: slots(template) for component, template in graphs.items()}
    plan = plan_loras(FAMILIES[bundle.manifest.family], wanted, [LoraChoice(lora)])
    for component, changes in plan.items():
        for weight, some in changes.items():
            for change in some:
                _branch(change.update, 0)
                _check(change.update, change.source, wanted[component][weight])


def hash_of(lora: Path) -> str:
    """A LoRA file's SHA-256. CheckpointError where it cannot be read."""
    try:
        return sha256_file(lora)
    except OSError as error:
        raise CheckpointError(f"{lora} cannot be read: {error.strerror or error}") from error


def _edit(folder: Path, manifest: Manifest, loras: Mapping[str, Path]) -> Manifest:
    graphs = {
        component: unbind((folder / entry.graph).read_bytes())
        for component, entry in manifest.components.items()
    }
    plan = plan_loras(
        FAMILIES[manifest.family],
        {name: weights for name, (_, weights) in graphs.items()},
        [LoraChoice(path) for path in loras.values()],
    )
    names = {path: FILE.format(sha256[:16]) for sha256, path in loras.items()}
    adapters = {path: number for number, path in enumerate(loras.values())}
    components = dict(manifest.components)
    for component, changes in plan.items():
        template, weights = graphs[component]
        entry = components[component]
        graph = folder / entry.graph
        factors = _Factors(graph.parent, names)
        wanted = slots(template)
        branches: dict[str, list[Branch]] = {}
        for weight, some in changes.items():
            branches[weight] = [
                _branch(change.update, adapters[change.update.down.file]) for change in some
            ]
            for at, change in enumerate(some):
                factors.add(weight, at, change, wanted[weight])
        template = with_branches(template, branches, len(loras))
        graph.unlink()  # it may be a link to the graph that it was made from
        graph.write_bytes(bind(template, weights | factors.bring()))
        components[component] = _with_scale(entry, len(loras))
    return msgspec.structs.replace(manifest, components=components)


def _branch(update: Update, adapter: int) -> Branch:
    if update.magnitude is not None:
        raise CheckpointError(
            f"{update.down.file}: {update.key} is a DoRA, which scales the layer's own weights and "
            "cannot stand beside them; fuse it, with lora_mode fused"
        )
    return Branch(adapter, update.up.shape[1], update.scale)


def _with_scale(component: Component, adapters: int) -> Component:
    scale = Tensor(name=SCALE, dtype="float32", shape=(adapters,))
    return msgspec.structs.replace(component, inputs=(*component.inputs, scale))


class _Factors:
    """The factors of one component's branches: where each will lie in its folder."""

    def __init__(self, folder: Path, names: Mapping[Path, str]) -> None:
        """`names`: what the folder calls the files that they are read from."""
        self._folder = folder
        self._names = names
        self._weights: dict[str, Weight] = {}
        self._used: set[Path] = set()
        self._middles: dict[str, Update] = {}

    def add(self, weight: str, at: int, change: Change, layer: Slot) -> None:
        """Take A and B of a weight's change number `at`."""
        update, (down, up) = change.update, factor_names(weight, at)
        _check(update, change.source, layer)
        self._weights[up] = self._of(update.up, change.source)
        if update.mid is None:
            self._weights[down] = self._of(update.down)
        else:
            self._middles[down] = update

    def bring(self) -> dict[str, Weight]:
        """Link the files into the folder; where the factors lie now."""
        for file in self._used:
            place(file, self._folder / self._names[file])
        if self._middles:
            made = {name: of_array(with_middle(one)) for name, one in self._middles.items()}
            for name, stored in write_safetensors(self._folder / MIDDLES, made).items():
                piece = Piece(MIDDLES, stored.offset, stored.size)
                self._weights[name] = Weight(stored.dtype, (piece,))
        return self._weights

    def _of(self, stored: Stored, source: Source | None = None) -> Weight:
        """A factor as it lies, or the rows of it that `source` says."""
        self._used.add(stored.file)
        pieces = []
        for part, of in [(0, 1)] if source is None else [rows[1:] for rows in source.rows]:
            length = stored.size // of
            offset = stored.offset + part * length
            pieces.append(Piece(self._names[stored.file], offset, length))
        return Weight(stored.dtype, tuple(pieces))


def _check(update: Update, source: Source, layer: Slot) -> None:
    """Raise CheckpointError where the factors do not give a weight of the layer's shape."""
    file = update.down.file
    for stored in (update.down, update.up):
        if stored.dtype not in FLOATS:
            raise CheckpointError(
                f"{file}: {stored.name} is stored as {stored.dtype}, not {', '.join(FLOATS)}"
            )
    down, up = update.down.shape, update.up.shape
    if update.mid is not None:
        down = (update.mid.shape[0], down[1], *update.mid.shape[2:])
    rows, rest = divmod(up[0], source.rows[0].of)
    got = (rows * len(source.rows), *down[1:])
    if (
        rest
        or int(np.prod(got)) != int(np.prod(layer.shape))
        or got[0] != layer.shape[0]
        or got[1] != layer.shape[1]
        or int(np.prod(up[1:])) != down[0]
    ):
        raise CheckpointError(
            f"{file}: {update.key} has the factors {list(update.up.shape)} and "
            f"{list(update.down.shape)}, which do not make a weight of {list(layer.shape)}; "
            "the LoRA was made for another architecture"
        )
