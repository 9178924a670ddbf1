"""The arithmetic of a LoRA: what one update makes of one weight. All of it in float32.

LoRA (Hu et al., arXiv:2106.09685): W + s·B·A. For a convolution A has the kernel and B is 1x1, or
(LoCon's CP form) both are 1x1 around a middle factor that has the kernel. DoRA (Liu et al.,
arXiv:2402.09353): the rows of W + s·B·A are scaled to a learned magnitude.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from overpaint.bundle.checkpoint.safetensors import Stored, read_array
from overpaint.bundle.checkpoint.source import Source
from overpaint.bundle.errors import CheckpointError

from .file import Update

Floats = npt.NDArray[np.float32]


def apply(weight: Floats, update: Update, source: Source, strength: float) -> Floats:
    """`weight` with `update` fused at `strength`. `source` says which of its rows the weight is.

    Raises:
        CheckpointError: the factors' shapes do not give the weight's.
    """
    try:
        change = _take(_product(update), source).reshape(weight.shape)
    except (ValueError, IndexError) as error:
        raise CheckpointError(
            f"{update.down.file}: {update.key} has the factors {list(update.up.shape)} and "
            f"{list(update.down.shape)}, which do not make a weight of {list(weight.shape)}; "
            "the LoRA was made for another architecture"
        ) from error
    changed = weight + change * np.float32(update.scale * strength)
    if update.magnitude is None:
        return changed
    rows = changed.reshape(len(changed), -1)
    magnitude = _take(_read(update.magnitude).reshape(-1, 1), source)
    if len(magnitude) != len(rows):
        raise CheckpointError(
            f"{update.down.file}: {update.key} has {magnitude.size} magnitudes for the "
            f"{len(rows)} rows of its weight; only DoRA by rows is supported"
        )
    factor = magnitude / np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Floats = (rows * factor).reshape(weight.shape).astype(np.float32)
    return scaled


def _product(update: Update) -> Floats:
    """up · [mid ·] down, as (out, everything else)."""
    down, up = with_middle(update), _read(update.up)
    product: Floats = up.reshape(len(up), -1) @ down.reshape(len(down), -1)
    return product


def with_middle(update: Update) -> Floats:
    """down, or mid · down (rank, in, …kernel) where there is a middle factor."""
    down = _read(update.down)
    if update.mid is None:
        return down
    product: Floats = np.einsum("rskl,si->rikl", _read(update.mid), down.reshape(len(down), -1))
    return product


def _take(array: Floats, source: Source) -> Floats:
    """The rows of a module's array that belong to one weight."""
    parts = []
    for rows in source.rows:
        size, rest = divmod(len(array), rows.of)
        if rest:
            raise ValueError("rows that cannot be divided")
        parts.append(array[rows.part * size : (rows.part + 1) * size])
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _read(stored: Stored) -> Floats:
    return np.asarray(read_array(stored), np.float32)
