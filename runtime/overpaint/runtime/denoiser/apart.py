"""Both branches of guidance one after the other, for prompts that cannot share a call."""

from __future__ import annotations

import numpy as np

from overpaint.runtime.schedule import Row

from . import Array, Branches


def apart(negative: Branches, positive: Branches) -> Branches:
    """What `negative` and `positive` give, each a branch of its own, as two branches."""

    def predicted(x: Array, row: Row) -> Array:
        first = np.array(negative(x, row))  # the next call may overwrite it
        return np.concatenate([first, positive(x, row)])

    return predicted
