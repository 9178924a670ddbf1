"""A denoiser's session with all bound that stays: for all of the latents, or for each window."""

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
from .denoiser.engine import EngineCalls, Tally
from .denoiser.tiled import tiled
from .shown import Shown
from .stage import Stage
from .tiles.windows import Window

Array = npt.NDArray[Any]

_TIME_IDS: Final = "time_ids"
"""Where a picture's size and a crop's corner stand: (H, W, top, left, …), and of a base denoiser
the size of the crop behind them (Podell et al. 2023, section 2.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What a denoiser is called with beside latents of `shape` (B,C,h,w).

    branches: of guidance, 2 or 1. constants: inputs that stay the same, for all branches and images
    of the batch. networks: control networks, their hints of the whole picture. channels: what an
    inpainting denoiser sees behind the latents, (B,E,h,w). pictures: what it looks at. tally:
    counts the calls.
    """

    stage: Stage
    session: Session
    shape: tuple[int, ...]
    branches: int
    constants: Mapping[str, Array]
    networks: Sequence[Network]
    channels: Array | None
    pictures: Shown | None
    tally: Tally

    def predict(self, cancel: Cancel | None) -> Branches:
        """The engine's predictions: of all of the latents at once, or blended over windows."""
        windows = self.stage.job.windows(self.stage.engines.bundle.manifest.latents)
        if windows is None:
            return self._calls()
        seen = replace(self, shape=(*self.shape[:2], windows[0].height, windows[0].width))
        placed = self.channels is not None or self.pictures is not None
        if _TIME_IDS not in self.constants and not self.networks and not placed:
            calls = [seen._calls()] * len(windows)  # to whom one place is as another
        else:
            calls = [seen._in(window)._calls() for window in windows]
        return tiled(calls, windows, (self.shape[2], self.shape[3]), cancel)

    def _in(self, window: Window) -> Binding:
        """The same for one window."""
        constants = dict(self.constants)
        if _TIME_IDS in constants:
            constants[_TIME_IDS] = self._placed(constants[_TIME_IDS], window)
        return replace(
            self,
            constants=constants,
            networks=[replace(one, hint=one.hint[window.of()]) for one in self.networks],
            channels=None if self.channels is None else self.channels[window.of()],
            pictures=None if self.pictures is None else self.pictures.of(window),
        )

    def _placed(self, time_ids: Array, window: Window) -> Array:
        cell = self.stage.engines.bundle.manifest.latents.downscale
        placed = np.array(time_ids)
        placed[:, 2:4] = window.top * cell, window.left * cell
        if placed.shape[1] == 6:
            placed[:, 4:6] = window.height * cell, window.width * cell
        return placed

    def _calls(self) -> EngineCalls:
        stage, around = self.stage, (self.branches, *self.shape)
        pictures = {} if self.pictures is None else self.pictures.inputs(self.shape[1])
        return EngineCalls(
            self.session,
            FAMILIES[stage.engines.bundle.manifest.family].denoiser,
            {**self.constants, **pictures},
            stage.job.schedule,
            self.shape,
            branches=self.branches,
            channels=self.channels,
            further=steering(stage, self.session, self.networks, self.constants, around),
            tally=self.tally,
        )
