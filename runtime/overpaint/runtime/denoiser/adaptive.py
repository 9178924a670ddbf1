"""Guidance until it has nothing left to say: then its negative half is not computed any more."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from overpaint.runtime.schedule import Row

from . import Array, Branches


def adaptive(both: Branches, alone: Branches, first: Row, threshold: float) -> Branches:
    """`both` branches until they point the same way, and from the next row on the positive one
    `alone`. `threshold`: the least cosine between them that counts as the same. `first`: the row
    with which a run begins.

    Each image is judged by itself, so that none depends on its batch: one that is done has the
    positive branch twice while its neighbours are not.

    Castillo et al. 2023, "Adaptive Guidance: Training-free Acceleration of Conditional Diffusion
    Models" (2312.12487), section 4.
    """
    done: npt.NDArray[np.bool_] = np.zeros(0, bool)

    def predicted(x: Array, row: Row) -> Array:
        nonlocal done
        if row is first:
            done = np.zeros(len(x), bool)
        if done.all():
            return alone(x, row)
        found = both(x, row)
        if len(found) == 1:
            return found
        negative, positive = found
        told = np.where(done[:, None, None, None], positive, negative)
        done |= cosine(negative, positive) >= threshold
        return np.stack([told, positive])

    return predicted


def cosine(one: Array, other: Array) -> npt.NDArray[np.float64]:
    """Of the angle between two predictions (B,C,h,w), image by image: (B,)."""
    a, b = (np.asarray(side, np.float64).reshape(len(side), -1) for side in (one, other))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(axis=1) / np.maximum(lengths, 1e-30))
