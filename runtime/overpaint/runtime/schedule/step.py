"""One `advance` for every sampler: a row of the table, applied to preallocated buffers.

    state = begin(schedule, x)
    for row in schedule.rows:
        model_input(state.x, row, out)                   x·scale_in, once per guidance branch
        m = denoise(out, row.timestep)
        advance(state, row, m, draw)                     state.x is now xᵢ₊₁
        preview(state, row, out)                         the predicted x₀

Nothing is allocated between `begin` and the end, unless the schedule clips by quantile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .table import Clip, Row, Schedule

Array = NDArray[np.floating[Any]]
Draw = Callable[[Any], object]
"""Fills an array with standard normal noise."""


@dataclass(slots=True)
class State:
    """The buffers of one run: x, and the h and z that rows look back on, newest first. All have
    the shape of the latents, (B, C, H, W), and their dtype: float32 (float64 works as well)."""

    x: Array
    h: list[Array]
    z: list[Array]
    scratch: Array
    clip: Clip | None


def begin(schedule: Schedule, x: Array) -> State:
    """The state before the first row. `x`, noised latents (z if there are no rows), is copied."""
    return State(
        x=np.array(x, order="C"),
        h=[np.zeros(x.shape, x.dtype) for _ in range(schedule.depth)],
        z=[np.zeros(x.shape, x.dtype) for _ in range(schedule.noise_depth)],
        scratch=np.empty(x.shape, x.dtype),
        clip=schedule.clip,
    )


def model_input(x: Array, row: Row, out: Array) -> None:
    """What the denoiser sees: x·scale_in, written to `out` (shaped as x, or broadcast to it)."""
    if row.scale_in == 1.0:
        np.copyto(out, x)
    else:
        np.multiply(x, row.scale_in, out=out)


def advance(state: State, row: Row, m: Array, draw: Draw | None = None) -> None:
    """Take x from this row to the next: m is the denoiser's output after guidance, of any float
    dtype (half precision is widened before it is scaled).

    `draw` is called once where `row.draws`, after the denoiser and before the update, as the
    reference draws.
    """
    x, scratch = state.x, state.scratch
    h = state.h.pop()
    state.h.insert(0, h)
    np.multiply(m, row.q, out=h, dtype=h.dtype)
    if row.p == 1.0:
        np.add(h, x, out=h)
    elif row.p:
        _add(h, row.p, x, scratch)
    if row.a != 1.0:
        np.multiply(x, row.a, out=x)
    if row.unclipped:
        _add(x, row.unclipped, h, scratch)
    if state.clip is not None:
        apply_clip(h, state.clip)
    for weight, past in zip(row.b, state.h, strict=False):
        if weight:
            _add(x, weight, past, scratch)
    if row.draws:
        if draw is None:
            raise ValueError(f"the row at timestep {row.timestep} draws noise: pass `draw`")
        state.z.insert(0, state.z.pop())
        draw(state.z[0])
    for weight, noise in zip(row.c, state.z, strict=False):
        if weight:
            _add(x, weight, noise, scratch)


def preview(state: State, row: Row, out: Array) -> None:
    """The predicted x₀ after `row` was applied, written to `out`."""
    u, v = row.preview
    np.multiply(state.h[0], v, out=out)
    if u:
        _add(out, u, state.x, state.scratch)


def apply_clip(h: Array, clip: Clip) -> None:
    """Hold the predicted x₀, in place, to the range or to its own quantile (see `Clip`)."""
    if clip.kind == "range":
        np.clip(h, -clip.limit, clip.limit, out=h)
        return
    images = h.reshape(len(h), -1)
    extent = np.quantile(np.abs(images), clip.ratio, axis=1)
    extent = np.minimum(np.maximum(extent, 1), clip.limit).astype(h.dtype)[:, None]
    np.clip(images, -extent, extent, out=images)
    np.divide(images, extent, out=images)


def _add(to: Array, weight: float, term: Array, scratch: Array) -> None:
    np.multiply(term, weight, out=scratch)
    np.add(to, scratch, out=to)
