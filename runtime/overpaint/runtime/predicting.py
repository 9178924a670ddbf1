"""A run's denoiser, its constants bound: for all of the latents, or for each window of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from overpaint.bundle.families import FAMILIES
from overpaint.engines.session.session import Session

from .cancel import Cancel
from .control.steering import Network
from .controlled import steering
from .denoiser import Branches
from .denoiser.engine import EngineCalls
from .denoiser.tiled import tiled
from .stage import Stage
from .tiles.tile import OVERLAP
from .tiles.windows import Window, cover

Array = npt.NDArray[Any]

_TIME_IDS: Final = "time_ids"
"""Where a picture's size and a crop's corner stand: (H, W, top, left, …), and of a base denoiser
the size of the crop behind them (Podell et al. 2023, section 2.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicting:
    """What a denoiser is called with beside latents, for all branches and images of a batch.

    networks: control networks, their hints of the whole picture. constants: inputs that stay the
    same. channels: what an inpainting denoiser sees behind the latents, (B,E,h,w).
    """

    stage: Stage
    session: Session
    networks: Sequence[Network]
    constants: Mapping[str, Array]
    channels: Array | None

    def calls(self, shape: tuple[int, ...]) -> list[EngineCalls]:
        """The engine for latents of `shape` (B,C,h,w): once, or for each of the run's windows."""
        windows = self.windows(shape)
        if windows is None:
            return [self._calls(shape)]
        seen = (*shape[:2], windows[0].height, windows[0].width)
        if _TIME_IDS not in self.constants and not self.networks and self.channels is None:
            return [self._calls(seen)] * len(windows)  # to whom one place is as another
        return [self._in(window)._calls(seen) for window in windows]

    def windows(self, shape: tuple[int, ...]) -> tuple[Window, ...] | None:
        """Of latents of `shape`; None where the denoiser sees them at once."""
        job, cell = self.stage.job, self.stage.engines.bundle.manifest.latents.downscale
        if job.tile is None:
            return None
        tile = job.tile[1] // cell, job.tile[0] // cell
        return cover((shape[2], shape[3]), tile, min(tile) // OVERLAP)

    def branches(
        self, calls: Sequence[EngineCalls], shape: tuple[int, ...], cancel: Cancel | None
    ) -> Branches:
        """The prediction that `calls`, made for `shape`, give together."""
        windows = self.windows(shape)
        if windows is None:
            return calls[0]
        return tiled(calls, windows, (shape[2], shape[3]), cancel)

    def _in(self, window: Window) -> Predicting:
        """The same for one window."""
        constants = dict(self.constants)
        if _TIME_IDS in constants:
            constants[_TIME_IDS] = self._placed(constants[_TIME_IDS], window)
        return replace(
            self,
            constants=constants,
            networks=[replace(one, hint=one.hint[window.of()]) for one in self.networks],
            channels=None if self.channels is None else self.channels[window.of()],
        )

    def _placed(self, time_ids: Array, window: Window) -> Array:
        cell = self.stage.engines.bundle.manifest.latents.downscale
        placed = np.array(time_ids)
        placed[:, 2:4] = window.top * cell, window.left * cell
        if placed.shape[1] == 6:
            placed[:, 4:6] = window.height * cell, window.width * cell
        return placed

    def _calls(self, shape: tuple[int, ...]) -> EngineCalls:
        stage, branches = self.stage, 2 if self.stage.job.guided else 1
        return EngineCalls(
            self.session,
            FAMILIES[stage.engines.bundle.manifest.family].denoiser,
            self.constants,
            stage.job.schedule,
            shape,
            branches=branches,
            channels=self.channels,
            further=steering(
                stage, self.session, self.networks, self.constants, (branches, *shape)
            ),
        )


def seconds(calls: Sequence[EngineCalls]) -> float:
    """Spent in them so far."""
    return sum(one.seconds for one in set(calls))
