"""The weights of an engine that was built without, from the bundle's own safetensors.

All of a component's weights are proven (names, shapes, dtypes, places in the files) before the
first is read. Then each is read, converted where the graph computes in another dtype, and handed
over: as an input that stays on the GPU, or to NVIDIA's refitter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Final

import numpy as np

from overpaint.bundle.arrays import Array
from overpaint.bundle.checkpoint.bound import prove, read_as
from overpaint.bundle.checkpoint.safetensors import ITEM_SIZES
from overpaint.bundle.graph.weights import Slot

from .cuda import ALIGNMENT, Cuda, Pinned
from .loaded import LoadedPlan
from .record import Weights
from .refit import refit
from .weightless import Template

STAGING: Final = 16 << 20  # bytes of pinned memory that weights go to the GPU through


class Filled:
    """Weights that lie on the GPU beside an engine, in one block. `addresses`: of each input of
    the engine that is a weight; of none where the engine has them itself."""

    def __init__(self, cuda: Cuda, slots: Mapping[str, Slot]) -> None:
        """Make room for `slots`. Raises SessionError where there is none."""
        self._cuda = cuda
        offsets, end = {}, 0
        for name, slot in slots.items():
            offsets[name] = end
            end += -(-prod(slot.shape) * ITEM_SIZES[slot.dtype] // ALIGNMENT) * ALIGNMENT
        self._block = cuda.allocate(end) if end else 0
        self.addresses = {name: self._block + offset for name, offset in offsets.items()}

    def close(self) -> None:
        """Free them. May be repeated; nothing may run that has their addresses."""
        self.addresses = {}
        if self._block:
            self._cuda.free(self._block)
            self._block = 0


def fill(cuda: Cuda, loaded: LoadedPlan, how: Weights, template: Template, folder: Path) -> Filled:
    """Give an engine without weights those of the graph in `folder`. The caller holds the lock.

    Raises:
        CheckpointError: a weight is not what the graph or its file says; nothing was handed over.
        SessionError: TensorRT refuses one, or the GPU's memory is short.
    """
    places = prove(folder, template.slots, template.weights)

    def weights() -> Iterator[tuple[str, Array]]:
        for name, slot in template.slots.items():
            yield name, read_as(name, places[name], slot.dtype)

    if how == "refit":
        refit(loaded, template.slots, weights())
        return Filled(cuda, {})
    filled = Filled(cuda, template.slots)
    try:
        staging = Pinned(cuda, STAGING)
        for name, data in weights():
            _upload(cuda, staging, filled.addresses[name], data)
    except BaseException:
        filled.close()
        raise
    return filled


def _upload(cuda: Cuda, staging: Pinned, address: int, data: Array) -> None:
    for start in range(0, data.size, STAGING):
        part = data[start : start + STAGING]
        np.copyto(staging.array(0, part.shape, part.dtype), part)
        cuda.upload(address + start, staging.address, part.nbytes)
        cuda.wait()  # before the next takes its place
