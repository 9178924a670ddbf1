"""The denoising loop: a generator of latents. The caller owns progress, previews and the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .cancel import Cancel, check
from .denoiser import Denoiser
from .schedule import Row, Schedule, State, advance, begin, preview
from .schedule.step import Draw

Array = npt.NDArray[np.float32]

Hold: TypeAlias = Callable[[Array, int], None]
"""Changes latents x (B,C,h,w) in place, after so many rows of the schedule are done."""


@dataclass(frozen=True, slots=True)
class Denoised:
    """`row` is done, in `seconds`. `state.x` are the latents now; the next row overwrites them."""

    row: Row
    state: State
    seconds: float

    def prediction(self) -> Array:
        """The picture's latents as they are foreseen now, (B,C,h,w); a copy."""
        predicted = np.empty_like(self.state.x)
        preview(self.state, self.row, predicted)
        return predicted


def denoise(
    denoiser: Denoiser,
    x: Array,
    schedule: Schedule,
    *,
    draw: Draw,
    hold: Hold | None = None,
    cancel: Cancel | None = None,
) -> Iterator[Denoised]:
    """Take latents x (B,C,h,w) through the rows of `schedule`, one call of `denoiser` a row.

    draw: fills (B,C,h,w) with noise, where a row asks for it. hold: acts on x after each row (a
    mask that keeps a part of the picture). cancel: asked before each row; CancelledError if it
    says yes.
    """
    state = begin(schedule, x)
    for done, row in enumerate(schedule.rows, 1):
        check(cancel)
        started = perf_counter()
        advance(state, row, denoiser(state.x, row), draw)
        if hold is not None:
            hold(state.x, done)
        yield Denoised(row, state, perf_counter() - started)
