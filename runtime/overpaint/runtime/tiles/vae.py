"""A VAE over a picture of any size: part by part, and each part window by window.

Between two group norms a network sees a few pixels around each place, so windows that overlap give
what the whole would. A norm sees all of it: its mean and variance are taken of what came out of
every window before the next part begins. What passes from part to part lies in memory while that is
little, and in files of the temporary folder where it is much.

A VAE that attends in its middle (Stable Diffusion's) does so from a window to all of the picture:
small windows, for the scores grow with both.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import isqrt, prod
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from overpaint.bundle.errors import OverpaintError
from overpaint.bundle.format.manifest import Component
from overpaint.bundle.tiling.split import KEYS, STATISTICS
from overpaint.engines.session.session import Session
from overpaint.runtime.cancel import Cancel, check
from overpaint.runtime.feed import as_feed

from .windows import Window, blend, cover

Array: TypeAlias = npt.NDArray[Any]
Open: TypeAlias = Callable[[str], AbstractContextManager[Session]]

TILE: Final = 64
"""Cells a side of a window."""
OVERLAP: Final = 8
QUIET: Final = 2
"""Cells at a window's border whose surroundings are missing: a part has two convolutions at most.
docs/decisions/0024 has the figures."""
IN_MEMORY: Final = 1 << 28
"""Bytes of what passes from part to part; more of it lies in a file."""
_ROWS: Final = 64


@dataclass(frozen=True, slots=True)
class Grid:
    """Windows, and how many cells at their borders count for nothing."""

    windows: Sequence[Window]
    quiet: int


def _attending(cells: tuple[int, int]) -> Grid:
    """For what sees but its own place and, attending, the whole of so many cells."""
    side = max(8, min(TILE, isqrt(IN_MEMORY // (4 * prod(cells)))))
    return Grid(cover(cells, (side, side), 0), 0)


def largest_window(cell: int) -> tuple[int, int]:
    """(width, height) in pixels of what a part sees at a time, with so many pixels a cell."""
    return TILE * cell, TILE * cell


def run_parts(
    parts: Mapping[str, Component],
    open_: Open,
    given: Array,
    cells: tuple[int, int],
    cancel: Cancel | None = None,
) -> dict[str, Array]:
    """What the last of `parts` gives, by name, for `given` (1,C,H,W), the first one's input;
    (rows, columns) of latent `cells` are the picture's.

    Raises CancelledError, SessionError; OverpaintError where the temporary folder is full.
    """
    [first] = next(iter(parts.values())).inputs
    there: dict[str, Array] = {first.name: given}
    left = list(parts.values())
    for name, part in parts.items():
        left.pop(0)
        feeds: dict[str, Array] = {}
        for tensor in part.inputs:
            if tensor.name.startswith(STATISTICS):
                groups = tensor.shape[1]
                assert isinstance(groups, int)
                of = there[tensor.name.removeprefix(STATISTICS)]
                feeds[tensor.name] = statistics(of, groups)
            elif tensor.name.startswith(KEYS):
                feeds[tensor.name] = there[tensor.name.removeprefix(KEYS)]
        attends = any(name.startswith(KEYS) for name in feeds)
        grid = _attending(cells) if attends else Grid(cover(cells, (TILE, TILE), OVERLAP), QUIET)
        read = [tensor.name for tensor in part.inputs if tensor.name in there]
        with open_(name) as session:
            made = _through(session, {one: there[one] for one in read}, feeds, grid, cells, cancel)
        needed = {tensor.name.removeprefix(KEYS) for later in left for tensor in later.inputs}
        there = {one: array for one, array in (there | made).items() if one in needed} or made
    return there


def statistics(x: Array, groups: int) -> Array:
    """Mean and variance of each group of channels of x (1,C,H,W): (1,groups,2) float32."""
    channels = x.reshape(groups, -1, *x.shape[2:])
    found = np.empty((1, groups, 2), np.float32)
    for at, group in enumerate(channels):
        rows = range(0, group.shape[1], _ROWS)
        mean = sum(group[:, row : row + _ROWS].sum(dtype=np.float64) for row in rows) / group.size
        found[0, at, 0] = mean
        squares = (
            np.square(group[:, row : row + _ROWS] - found[0, at, 0]).sum(dtype=np.float64)
            for row in rows
        )
        found[0, at, 1] = sum(squares) / group.size
    return found


def _through(
    session: Session,
    read: Mapping[str, Array],
    constants: Mapping[str, Array],
    grid: Grid,
    cells: tuple[int, int],
    cancel: Cancel | None,
) -> dict[str, Array]:
    """What a part gives for the whole picture."""
    made: dict[str, Array] = {}
    weights: dict[int, list[npt.NDArray[np.float32]]] = {}
    for at, window in enumerate(grid.windows):
        check(cancel)
        feed = {
            name: np.ascontiguousarray(array[window.of(array.shape[2] // cells[0])])
            for name, array in read.items()
        }
        for name, output in session.run(as_feed(session, {**feed, **constants})).items():
            scale = output.shape[2] // window.height
            if name not in made:
                made[name] = room((*output.shape[:2], cells[0] * scale, cells[1] * scale))
            if scale not in weights:
                weights[scale] = blend(grid.windows, cells, quiet=grid.quiet, scale=scale)
            made[name][window.of(scale)] += output * weights[scale][at]
    return made


def room(shape: tuple[int, ...]) -> Array:
    """Zeros (float32), in memory or, where they are many, in a file that goes with them."""
    size = 4 * prod(shape)
    if size <= IN_MEMORY:
        return np.zeros(shape, np.float32)
    try:
        with tempfile.TemporaryFile(prefix="overpaint-") as file:
            file.truncate(size)
            return np.memmap(file, np.float32, "r+", shape=shape)
    except OSError as error:
        raise OverpaintError(
            f"{tempfile.gettempdir()}: expected room for {size / 1e9:.1f} GB of a large picture's "
            f"layers ({error.strerror or error}); set TMPDIR to a folder that has it"
        ) from None
