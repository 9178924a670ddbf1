"""The engine inside a denoiser: latents scaled and fed, timesteps as its graph takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from overpaint.bundle.arrays import NUMPY_DTYPES
from overpaint.bundle.errors import UsageError
from overpaint.bundle.families import family as families
from overpaint.engines.session.session import Session
from overpaint.runtime.feed import as_feed
from overpaint.runtime.schedule import Row, Schedule, model_input

from . import Array

Further: TypeAlias = Callable[[npt.NDArray[Any], Row], Mapping[str, npt.NDArray[Any]]]
"""What a denoiser's graph takes besides, in each call: for the scaled latents (branches,B,C,h,w)
and the row, inputs by name."""


@dataclass(slots=True)
class Tally:
    """What a denoiser's sessions have done: `seconds` in them, and `evaluations`, one for each
    branch of each image in each call."""

    seconds: float = 0.0
    evaluations: int = 0


class EngineCalls:
    """Calls a denoiser's session, all branches of guidance at once.

    Inputs that stay the same are bound here; each call feeds the latents and the timestep.
    """

    def __init__(
        self,
        session: Session,
        called: families.Denoiser,
        constants: Mapping[str, npt.NDArray[Any]],
        schedule: Schedule,
        shape: tuple[int, ...],
        *,
        branches: int,
        channels: npt.NDArray[Any] | None = None,
        further: Further | None = None,
        tally: Tally,
    ) -> None:
        """Bind `constants`, of batch B·branches with the negative ones first, for latents of
        `shape` (B,C,h,w). `called` says what its inputs are called; `channels` (B,E,h,w) are what
        an inpainting denoiser sees behind the latents; `further` gives what it takes besides, in
        each call; `tally` counts the calls. Raises UsageError where a row's timestep is none that
        the engine takes.
        """
        self._called = called
        [self._output] = session.outputs
        dtype = NUMPY_DTYPES[session.inputs[called.sample].dtype]
        seen = shape[1] + (0 if channels is None else channels.shape[1])
        whole = np.empty((branches, shape[0], seen, *shape[2:]), dtype)
        if channels is not None:
            whole[:, :, shape[1] :] = channels
        self._branches = whole[:, :, : shape[1]]
        self._sample = whole.reshape(-1, *whole.shape[2:])
        self._timesteps = timesteps_for(session, called, schedule, len(self._sample))
        self._step = session.bind(as_feed(session, constants))
        self._further = further
        self._tally = tally

    def __call__(self, x: Array, row: Row) -> Array:
        """The branches' predictions, (branches,B,C,h,w)."""
        model_input(x, row, self._branches)
        feed = {
            self._called.sample: self._sample,
            self._called.timestep: self._timesteps[row.timestep],
        }
        called = perf_counter()
        if self._further is not None:
            feed |= self._further(self._branches, row)
        output = self._step(feed)[self._output]
        self._tally.seconds += perf_counter() - called
        self._tally.evaluations += len(self._sample)
        return output.reshape(self._branches.shape)


def timesteps_for(
    session: Session, called: families.Denoiser, schedule: Schedule, batch: int
) -> dict[float, npt.NDArray[Any]]:
    """Each timestep of the schedule as the engine takes it: a scalar, or one for each image."""
    wanted = session.inputs[called.timestep]
    dtype = NUMPY_DTYPES[wanted.dtype]
    shape = tuple(batch if isinstance(side, str) else side for side in wanted.shape)
    whole = np.issubdtype(dtype, np.integer)
    times = {row.timestep: called.time(row.timestep) for row in schedule.rows}
    for time in times.values():
        if whole and time != int(time):
            raise UsageError(
                f"sampler: this one visits timestep {time:g}, and the engine takes whole "
                "ones only; choose another sampler, or export the checkpoint again"
            )
    return {timestep: np.full(shape, time, dtype) for timestep, time in times.items()}
