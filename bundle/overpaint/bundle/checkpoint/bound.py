"""A bundle's weights as the bytes that its graph computes with, each proven before it is read.

A graph says which bytes of which file a weight is. That these are one tensor of the file, or whole
rows of one, in the dtype that the graph says, stands in the file's own header.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import Final

import numpy as np

from overpaint.bundle.arrays import Array
from overpaint.bundle.errors import CheckpointError
from overpaint.bundle.graph.weights import Piece, Slot, Weight

from .safetensors import ITEM_SIZES, Stored, read_array, read_bytes, read_header

_COMPUTED: Final = {"F16": "<f2", "F32": "<f4"}


def prove(
    folder: Path, slots: Mapping[str, Slot], weights: Mapping[str, Weight]
) -> dict[str, tuple[Stored, ...]]:
    """Where each of `slots` lies, as pieces of the safetensors files in `folder`.

    Raises:
        CheckpointError: a weight is missing, or not what the graph or its file says.
    """
    headers: dict[str, list[Stored]] = {}
    found: dict[str, tuple[Stored, ...]] = {}
    for name, slot in slots.items():
        if name not in weights:
            raise CheckpointError(f"{folder}: the graph asks for the weight {name!r}, and has none")
        weight = weights[name]
        for location in {piece.location for piece in weight.pieces} - headers.keys():
            tensors, _ = read_header(folder / location)
            headers[location] = sorted(tensors.values(), key=lambda one: one.offset)
        found[name] = tuple(
            _piece(headers[piece.location], folder, name, weight.dtype, piece)
            for piece in weight.pieces
        )
        there = sum(piece.size for piece in found[name])
        wanted = prod(slot.shape) * ITEM_SIZES[weight.dtype]
        if there != wanted:
            raise CheckpointError(
                f"{folder}: the weight {name!r} is {weight.dtype} {list(slot.shape)}, {wanted} "
                f"bytes, and the graph points at {there}"
            )
    return found


def read_as(name: str, pieces: Sequence[Stored], dtype: str) -> Array:
    """A weight's bytes, its pieces one after the other, in `dtype`: as they lie, or converted.

    Raises:
        CheckpointError: a file is shorter than it was, or the weight does not go into `dtype`.
    """
    if all(piece.dtype == dtype for piece in pieces):
        data = b"".join(map(read_bytes, pieces))
        if len(data) != sum(piece.size for piece in pieces):
            raise CheckpointError(f"{pieces[0].file} ended while {name!r} was read")
        return np.frombuffer(data, np.uint8)
    if dtype not in _COMPUTED:
        raise CheckpointError(
            f"{name!r} is stored in {pieces[0].dtype} and computed in {dtype}; to be converted it "
            f"must be computed in {' or '.join(_COMPUTED)}"
        )
    whole = np.concatenate([read_array(piece).reshape(-1) for piece in pieces])
    try:
        with np.errstate(over="raise"):
            converted: Array = whole.astype(_COMPUTED[dtype])
    except FloatingPointError:
        raise CheckpointError(
            f"{name!r} in {pieces[0].file} has numbers that {dtype} does not go up to; "
            "make the bundle with --dtype float32"
        ) from None
    return converted.view(np.uint8)


def _piece(tensors: Sequence[Stored], folder: Path, name: str, dtype: str, piece: Piece) -> Stored:
    """`piece` as a tensor of its own, if the file that it is of has one there, or whole rows."""
    refuse = partial(_refuse, folder, name, dtype, piece)
    index = bisect_right(tensors, piece.offset, key=lambda one: one.offset) - 1
    if index < 0:
        raise refuse("which no tensor is at")
    tensor = tensors[index]
    if piece.offset + piece.length > tensor.offset + tensor.size or not piece.length:
        raise refuse(f"and its tensor {tensor.name!r} ends at {tensor.offset + tensor.size}")
    if tensor.dtype != dtype:
        raise refuse(f"and its tensor {tensor.name!r} is {tensor.dtype}")
    row = tensor.size // tensor.shape[0] if tensor.shape else tensor.size
    if (piece.offset - tensor.offset) % row or piece.length % row:
        raise refuse(f"which are not whole rows of its tensor {tensor.name!r}")
    shape = (piece.length // ITEM_SIZES[dtype],)
    return Stored(tensor.file, tensor.name, dtype, shape, piece.offset)


def _refuse(folder: Path, name: str, dtype: str, piece: Piece, why: str) -> CheckpointError:
    end = piece.offset + piece.length
    return CheckpointError(
        f"{folder}: the weight {name!r} is said to be {dtype} at bytes {piece.offset} to {end} of "
        f"{piece.location}, {why}; graph and weights do not belong together"
    )
