"""What is outside of a mask stays the picture's, at the noise of the moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from overpaint.runtime.schedule import Schedule

from .cells import Cells

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """Latents z (B,C,h,w) that are kept where `cells` do not change, with `noise` of their shape.

    Hard: after each row x is z, noised as x is, outside of the mask, and z itself at the end
    (diffusers' inpainting with 4-channel denoisers); a cell of which a part may change is as much
    of both.

    Soft: a cell is kept until the part of the steps that its 1 - `cells` says is done, and is then
    the run's; nothing is put back at the end. `first` counts the steps that strength left out
    before the run (Levin & Fried 2023, "Differential Diffusion").
    """

    z: Array = field(repr=False)
    noise: Array = field(repr=False)
    cells: Cells = field(repr=False)
    schedule: Schedule = field(repr=False)
    soft: bool = False
    first: int = 0

    def hold(self, x: npt.NDArray[np.floating[Any]], done: int) -> None:
        """Put the kept part back into x (B,C,h,w), in place, after so many rows."""
        signal, amount = self.schedule.level_after(done)
        if self.soft and not amount:
            return
        kept = self.z * np.float32(signal)
        if amount:
            kept += self.noise * np.float32(amount)
        share = self.share(done)
        x *= 1 - share
        x += share * kept

    def share(self, done: int) -> Cells:
        """(1,1,h,w), from 0 to 1: how much of each cell is kept after so many rows."""
        if not self.soft:
            return 1 - self.cells
        schedule = self.schedule
        steps = done / len(schedule.rows) * schedule.executed
        kept = 1 - self.cells > (schedule.skipped - self.first + steps) / schedule.requested
        return kept.astype(np.float32)

    def shown(self, prediction: Array, done: int) -> Array:
        """A foreseen picture's latents (B,C,h,w) with the kept part as it is."""
        return np.where(self.share(done) > 0.5, self.z, prediction)
