"""The engine inside a denoiser: latents scaled and fed, timesteps as its graph takes them."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from overpaint.bundle.arrays import NUMPY_DTYPES
from overpaint.bundle.errors import UsageError
from overpaint.engines.session.session import Session
from overpaint.runtime.feed import as_feed
from overpaint.runtime.schedule import Row, Schedule, model_input

from . import Array


class EngineCalls:
    """Calls a denoiser's session, all branches of guidance at once. `seconds`: spent in it so far.

    Inputs that stay the same are bound here; each call feeds the latents and the timestep.
    """

    def __init__(
        self,
        session: Session,
        constants: Mapping[str, npt.NDArray[Any]],
        schedule: Schedule,
        shape: tuple[int, ...],
        *,
        branches: int,
    ) -> None:
        """Bind `constants`, of batch B·branches with the negative ones first, for latents of
        `shape` (B,C,h,w). Raises UsageError where a row's timestep is none that the engine takes.
        """
        # A UNet calls its latents `sample`, SD 3's transformer `hidden_states`.
        self._name = "sample" if "sample" in session.inputs else "hidden_states"
        [self._output] = session.outputs
        dtype = NUMPY_DTYPES[session.inputs[self._name].dtype]
        self._branches = np.empty((branches, *shape), dtype)
        self._sample = self._branches.reshape(-1, *shape[1:])
        self._timesteps = _timesteps(session, schedule, len(self._sample))
        self._step = session.bind(as_feed(session, constants))
        self.seconds = 0.0

    def __call__(self, x: Array, row: Row) -> Array:
        """The branches' predictions, (branches,B,C,h,w)."""
        model_input(x, row, self._branches)
        feed = {self._name: self._sample, "timestep": self._timesteps[row.timestep]}
        called = perf_counter()
        output = self._step(feed)[self._output]
        self.seconds += perf_counter() - called
        return output.reshape(self._branches.shape)


def _timesteps(session: Session, schedule: Schedule, batch: int) -> dict[float, npt.NDArray[Any]]:
    """Each timestep of the schedule as the engine takes it: a scalar, or one for each image."""
    wanted = session.inputs["timestep"]
    dtype = NUMPY_DTYPES[wanted.dtype]
    shape = tuple(batch if isinstance(side, str) else side for side in wanted.shape)
    whole = np.issubdtype(dtype, np.integer)
    for row in schedule.rows:
        if whole and row.timestep != int(row.timestep):
            raise UsageError(
                f"sampler: this one visits timestep {row.timestep:g}, and the engine takes whole "
                "ones only; choose another sampler, or export the checkpoint again"
            )
    return {row.timestep: np.full(shape, row.timestep, dtype) for row in schedule.rows}
