"""Fusing LoRAs into a bundle: the changed weights go to a side file, the graph points there.

Nothing of the bundle that is fused into changes: its weights are linked, its graphs rewritten in
the new one. So a bundle, fused with A, then with B, then with A, gives the same bytes for A twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from overpaint.bundle import layout
from overpaint.bundle.checkpoint.link import place
from overpaint.bundle.checkpoint.safetensors import (
    ITEM_SIZES,
    Stored,
    ToWrite,
    read_array,
    write_safetensors,
)
from overpaint.bundle.errors import BundleError
from overpaint.bundle.families import FAMILIES
from overpaint.bundle.files.hashing import sha256_file
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.manifest import Lora, Manifest
from overpaint.bundle.format.write import finish_bundle, new_bundle
from overpaint.bundle.graph.weights import Piece, Slot, Weight, bind, slots, unbind
from overpaint.bundle.progress import Progress, Steps

from . import arithmetic
from .arithmetic import Floats
from .file import LoraChoice
from .plan import Change, plan_loras

SIDE_FILES: Final = "lora-{}.safetensors"


def fuse_loras(
    bundle: Bundle,
    output: str | os.PathLike[str],
    loras: Sequence[LoraChoice],
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> Manifest:
    """Make the bundle `output`: `bundle` with `loras` fused, in order, each at its weight.

    Weights are linked where the file system can, plans are left out (they hold the old weights).

    Raises:
        CheckpointError: a file is not a LoRA, or holds keys that match nothing in the bundle.
        BundleError: the bundle has no manifest.
        OutputExistsError: `output` exists and `force` is not set.
    """
    if bundle.inferred:
        raise BundleError(
            f"{bundle.folder}: it has no manifest to tell its weights apart; "
            "a LoRA can be fused into what overpaint export or overpaint import made"
        )
    steps = Steps(progress, 0, loras=True)
    with new_bundle(output, force) as folder:
        for path in bundle.manifest.files:
            if not path.startswith(f"{layout.PLANS}/"):
                place(bundle.folder / path, folder / path)
        manifest = fuse_into(folder, bundle.manifest, loras, steps.fusing)
        return finish_bundle(folder, manifest, steps.hashing)


def fuse_into(
    folder: Path,
    manifest: Manifest,
    loras: Sequence[LoraChoice],
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Fuse `loras` into a bundle that is being made in `folder`; its manifest, with them added.

    `progress` is called with (weights done, weights in all).
    """
    graphs = {
        component: unbind((folder / entry.graph).read_bytes())
        for component, entry in manifest.components.items()
    }
    plan = plan_loras(
        FAMILIES[manifest.family],
        {name: weights for name, (_, weights) in graphs.items()},
        loras,
    )
    total, done = sum(len(changes) for changes in plan.values()), 0

    def one_done() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    for component, changes in plan.items():
        template, weights = graphs[component]
        graph = folder / manifest.components[component].graph
        changed = _fuse(graph.parent, slots(template), weights, changes, one_done)
        graph.unlink()  # it may be a link to the graph that it was made from
        graph.write_bytes(bind(template, weights | changed))
    fused = [
        Lora(name=lora.path.name, sha256=sha256_file(lora.path), weight=lora.weight)
        for lora in loras
    ]
    return msgspec.structs.replace(manifest, loras=(*manifest.loras, *fused))


def _fuse(
    folder: Path,
    slots: Mapping[str, Slot],
    weights: Mapping[str, Weight],
    changes: Mapping[str, Sequence[Change]],
    done: Callable[[], None],
) -> dict[str, Weight]:
    """Write the side file of one component, a weight at a time; where its weights lie now."""

    def data(name: str) -> bytes:
        array = _read(folder, weights[name], slots[name].shape)
        for change in changes[name]:
            array = arithmetic.apply(array, change.update, change.source, change.strength)
        done()
        return array.astype("<f4").tobytes()

    # float32 whatever the checkpoint was stored in: rounding would lose a LoRA's small changes.
    tensors = {
        name: ToWrite("F32", slots[name].shape, lambda name=name: data(name))  # type: ignore[misc]
        for name in changes
    }
    earlier = len(list(folder.glob(SIDE_FILES.format("*"))))
    side = SIDE_FILES.format(earlier + 1)
    stored = write_safetensors(folder / side, tensors)
    return {
        name: Weight("F32", (Piece(side, tensor.offset, tensor.size),))
        for name, tensor in stored.items()
    }


def _read(folder: Path, weight: Weight, shape: tuple[int, ...]) -> Floats:
    """A weight as it is now, in float32."""
    parts = []
    for location, offset, length in weight.pieces:
        flat = (length // ITEM_SIZES[weight.dtype],)
        stored = Stored(folder / location, location, weight.dtype, flat, offset)
        parts.append(np.asarray(read_array(stored), np.float32))
    return np.concatenate(parts).reshape(shape)
