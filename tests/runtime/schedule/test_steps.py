"""One `advance` for every sampler: buffers, dtypes, clipping, noise."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from overpaint.runtime.schedule import (
    SAMPLERS,
    Clip,
    Row,
    Schedule,
    advance,
    begin,
    make_schedule,
    model_input,
    preview,
    read_scheduler_config,
)
from overpaint.runtime.schedule.step import apply_clip

SD = read_scheduler_config(
    {"_class_name": "PNDMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}
)
SHAPE = (1, 4, 64, 64)
LATENTS = np.random.default_rng(0).standard_normal(SHAPE, np.float32)


def schedule(sampler: str, steps: int = 12) -> Schedule:
    return make_schedule(SD, steps=steps, strength=1.0, sampler=sampler)


def zeros(out: np.ndarray) -> None:
    out.fill(0)


@pytest.mark.parametrize("sampler", sorted(set(SAMPLERS) - {"flow-euler"}))
def test_a_run_allocates_nothing_of_the_latents_size(sampler: str) -> None:
    rows = schedule(sampler)
    state, out = begin(rows, LATENTS), np.empty((2, *SHAPE), np.float32)
    seen = np.empty(SHAPE, np.float32)
    tracemalloc.start()
    for row in rows.rows:
        model_input(state.x, row, out)
        advance(state, row, out[0], zeros)
        preview(state, row, seen)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < LATENTS.nbytes / 4


def test_begin_copies_and_leaves_the_callers_latents_alone() -> None:
    before = LATENTS.copy()
    rows = schedule("dpmpp-2m")
    state = begin(rows, LATENTS)
    for row in rows.rows:
        advance(state, row, LATENTS)
    np.testing.assert_array_equal(LATENTS, before)
    assert not np.shares_memory(state.x, LATENTS)


def test_the_denoiser_sees_both_branches_scaled() -> None:
    rows = schedule("euler")
    out = np.empty((2, *SHAPE), np.float16)
    model_input(LATENTS, rows.rows[0], out)
    expected = (LATENTS * rows.rows[0].scale_in).astype(np.float16)
    np.testing.assert_array_equal(out, np.stack([expected, expected]))


def test_a_half_precision_output_is_widened_before_it_is_scaled() -> None:
    rows = schedule("euler", 4)
    output = LATENTS.astype(np.float16)
    half, single = begin(rows, LATENTS), begin(rows, LATENTS)
    advance(half, rows.rows[0], output)
    advance(single, rows.rows[0], output.astype(np.float32))
    np.testing.assert_array_equal(half.x, single.x)


def test_noise_is_drawn_exactly_where_a_row_says_so() -> None:
    for sampler, draws in (("euler-a", 12), ("lcm", 11), ("ddpm", 12), ("euler", 0)):
        rows, calls = schedule(sampler), 0

        def counted(out: np.ndarray) -> None:
            nonlocal calls
            calls += 1
            out.fill(0)

        state = begin(rows, LATENTS)
        for row in rows.rows:
            advance(state, row, LATENTS, counted)
        assert calls == draws
    with pytest.raises(ValueError, match="pass `draw`"):
        advance(begin(rows := schedule("euler-a"), LATENTS), rows.rows[0], LATENTS)


def test_a_clip_holds_the_prediction_in_the_history_and_the_preview() -> None:
    row = Row(timestep=1, alpha=0, sigma=1, scale_in=1, p=0, q=1, a=0, b=(1.0,))
    rows = Schedule(
        rows=(row,), signal=1, noise=1, initial=1, requested=1, skipped=0, executed=1,
        sampler="euler", clip=Clip(kind="range", limit=0.5),
    )  # fmt: skip
    state, out = begin(rows, LATENTS), np.empty(SHAPE, np.float32)
    advance(state, row, LATENTS)
    preview(state, row, out)
    np.testing.assert_array_equal(out, LATENTS.clip(-0.5, 0.5))
    np.testing.assert_array_equal(state.x, out)


def test_dynamic_clipping_is_by_image_and_never_below_one() -> None:
    images = np.stack([LATENTS[0], 0.1 * LATENTS[0], 10 * LATENTS[0]])
    clipped = images.copy()
    apply_clip(clipped, Clip(kind="dynamic", limit=2.0, ratio=0.9))
    assert np.abs(clipped).max() <= 1
    np.testing.assert_allclose(clipped[1], images[1])  # its quantile is below 1: left alone
    share = np.abs(images[0]) < np.quantile(np.abs(images[0]), 0.9)
    np.testing.assert_allclose(
        clipped[0][share], images[0][share] / np.quantile(np.abs(images[0]), 0.9), rtol=1e-5
    )
