"""The denoising loop: a generator of latents. The caller owns progress, previews and the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from overpaint.bundle.errors import UsageError
from overpaint.bundle.tensor import NUMPY_DTYPES
from overpaint.engines.session.session import Session
from overpaint.runtime.schedule.step import Draw

from .cancel import Cancel, check
from .feed import as_feed
from .guidance import guide, rescale
from .result import StepTime
from .schedule import Row, Schedule, State, advance, begin, model_input, preview

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Denoised:
    """`row` is done, and `state.x` are the latents now: the next row overwrites them."""

    row: Row
    state: State
    time: StepTime

    def prediction(self) -> Array:
        """The picture's latents as they are foreseen now, (B,C,h,w); a copy."""
        predicted = np.empty_like(self.state.x)
        preview(self.state, self.row, predicted)
        return predicted


def denoise(
    session: Session,
    x: Array,
    schedule: Schedule,
    constants: Mapping[str, npt.NDArray[Any]],
    *,
    guidance_scale: float | None,
    guidance_rescale: float = 0.0,
    draw: Draw,
    cancel: Cancel | None = None,
) -> Iterator[Denoised]:
    """Take latents x (B,C,h,w) through the rows of `schedule`, one call of `session` a row.

    constants: the denoiser's inputs that stay the same, of batch B, or with guidance 2B with the
    negative ones first. guidance_scale: None is no guidance. guidance_rescale: 0 to 1, with
    guidance. draw: fills (B,C,h,w) with noise, where a row asks for it. cancel: asked before
    each row; CancelledError if it says yes.
    """
    state = begin(schedule, x)
    # A UNet calls its latents `sample`, SD 3's transformer `hidden_states`.
    name = "sample" if "sample" in session.inputs else "hidden_states"
    [output_name] = session.outputs
    branches = np.empty(
        (1 if guidance_scale is None else 2, *x.shape), NUMPY_DTYPES[session.inputs[name].dtype]
    )
    sample = branches.reshape(-1, *x.shape[1:])
    guided = np.empty_like(state.x)
    step = session.bind(as_feed(session, constants))
    timesteps = _timesteps(session, schedule, len(sample))
    for row, timestep in zip(schedule.rows, timesteps, strict=True):
        check(cancel)
        started = perf_counter()
        model_input(state, row, branches)
        called = perf_counter()
        output = step({name: sample, "timestep": timestep})[output_name]
        returned = perf_counter()
        if guidance_scale is not None:
            negative, positive = output.reshape(branches.shape)
            guide(negative, positive, guidance_scale, out=guided)
            if guidance_rescale:
                rescale(guided, positive, guidance_rescale)
            output = guided
        advance(state, row, output, draw)
        ended = perf_counter()
        time = StepTime(engine=returned - called, host=called - started + ended - returned)
        yield Denoised(row, state, time)


def _timesteps(session: Session, schedule: Schedule, batch: int) -> list[npt.NDArray[Any]]:
    """Each row's timestep as the engine takes it: a scalar, or one for each image."""
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
    return [np.full(shape, row.timestep, dtype) for row in schedule.rows]
