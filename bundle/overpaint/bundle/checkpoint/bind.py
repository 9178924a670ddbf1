"""A component's weights, brought into its folder of the bundle, and its graph pointed at them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from overpaint.bundle import layout
from overpaint.bundle.files.names import problem_with_path
from overpaint.bundle.graph.weights import Piece, Slot, Weight, bind

from .link import Choice, Placed, place
from .match import Found
from .safetensors import ITEM_SIZES, Stored, ToWrite, of_array, read_bytes, write_safetensors
from .source import IDENTITY

SIDE_FILE: Final = "converted.safetensors"
"""The few weights that no checkpoint's bytes are as they lie: transposes."""

_ANY_NAME: Final = "checkpoint.safetensors"


def bind_into(
    folder: Path,
    template: bytes,
    slots: Mapping[str, Slot],
    found: Mapping[str, Found],
    choice: Choice,
    already: dict[Path, Path],
) -> set[Placed]:
    """Write `folder`'s graph and bring its weights; how that was done.

    `already` maps a checkpoint's files to where the bundle has them, so that a file which several
    components share is brought in once and linked from then on.
    """
    made = {name: _made(slots[name], found[name]) for name in slots if _is_made(found[name])}
    weights: dict[str, Weight] = {}
    if made:
        side = write_safetensors(folder / SIDE_FILE, made)
        for name, stored in side.items():
            weights[name] = Weight(stored.dtype, (Piece(SIDE_FILE, stored.offset, stored.size),))
    placed: set[Placed] = set()
    for name in slots:
        if name not in weights:
            weights[name] = _where_it_lies(found[name])
    for file in {stored.file for name in slots for stored in found[name].stored}:
        target = folder / _portable(file)
        if file in already:
            place(already[file], target)
        else:
            placed.add(place(file, target, choice))
            already[file] = target
    (folder / layout.GRAPH).write_bytes(bind(template, weights))
    return placed


def _is_made(found: Found) -> bool:
    return found.source.transposed or found.source == IDENTITY


def _made(slot: Slot, found: Found) -> ToWrite:
    if found.source == IDENTITY:
        return of_array(np.eye(slot.shape[0], dtype=np.float32))
    [stored] = found.stored
    return ToWrite(stored.dtype, stored.shape[::-1], lambda: _transposed(stored))


def _transposed(stored: Stored) -> bytes:
    """Whatever the dtype: its items are moved, not read."""
    items = np.frombuffer(read_bytes(stored), f"V{ITEM_SIZES[stored.dtype]}")
    return items.reshape(stored.shape).T.tobytes()


def _where_it_lies(found: Found) -> Weight:
    pieces: list[Piece] = []
    for rows, stored in zip(found.source.rows, found.stored, strict=True):
        length = stored.size // rows.of
        piece = Piece(_portable(stored.file), stored.offset + rows.part * length, length)
        before = pieces[-1] if pieces else None
        if before and (before.location, before.offset + before.length) == piece[:2]:
            pieces[-1] = before._replace(length=before.length + length)  # rows that follow rows
        else:
            pieces.append(piece)
    return Weight(found.stored[0].dtype, tuple(pieces))


def _portable(file: Path) -> str:
    """What the bundle calls a checkpoint's file: as it is called, if every system can."""
    return _ANY_NAME if problem_with_path(file.name) else file.name
