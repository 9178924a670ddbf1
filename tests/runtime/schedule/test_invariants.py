"""What holds for every schedule, whatever it is asked for."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from overpaint.bundle.errors import UsageError
from overpaint.runtime.choices import SIGMAS
from overpaint.runtime.schedule import (
    SAMPLERS,
    Row,
    Schedule,
    advance,
    begin,
    make_schedule,
    read_scheduler_config,
)
from overpaint.runtime.schedule.options import Options
from overpaint.runtime.schedule.training import training_schedule

TRAINED: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}
FLOW_SAMPLERS = ("flow-euler", "dpmpp-2m", "dpmpp-3m", "dpmpp-2m-sde", "unipc")
STRAIGHT = ("euler", "heun", "ddim", "tcd", "dpmpp-2m", "dpmpp-3m", "unipc", "flow-euler")
"""Deterministic, and their history is of x₀."""

strengths = st.floats(0, 1)
steps_counts = st.integers(1, 60)


@st.composite
def requests(draw: st.DrawFn, samplers: tuple[str, ...] = SAMPLERS[1:]) -> dict[str, Any]:
    """Arguments of make_schedule."""
    sampler = draw(st.sampled_from(samplers))
    flow = sampler == "flow-euler" or (sampler in FLOW_SAMPLERS and draw(st.booleans()))
    spacing = draw(st.sampled_from(["linspace", "leading", "trailing"]))
    fields: dict[str, Any] = {"_class_name": "PNDMScheduler", **TRAINED}
    fields |= {"timestep_spacing": spacing, "steps_offset": draw(st.sampled_from([0, 1]))}
    fields |= {"prediction_type": draw(st.sampled_from(["epsilon", "v_prediction"]))}
    if flow:
        fields = {"_class_name": "FlowMatchEulerDiscreteScheduler"}
        fields |= {"shift": draw(st.floats(0.5, 8))}
    curves = SIGMAS if sampler in ("euler", "heun", "dpmpp-sde", "flow-euler") else ("default",)
    if sampler.startswith(("dpmpp", "unipc")) and not flow:
        curves = SIGMAS
    return {
        "config": read_scheduler_config(fields),
        "sampler": sampler,
        "sigmas": draw(st.sampled_from(curves)),
        "steps": draw(steps_counts) if sampler not in ("lcm", "tcd") else draw(st.integers(1, 50)),
        "rounding": draw(st.sampled_from(["down", "up"])),
    }


def made(request: dict[str, Any], strength: float | None) -> Schedule:
    try:
        return make_schedule(**request, strength=strength)
    except UsageError as error:
        assume("not distinct" not in str(error))
        raise


@given(requests(), strengths)
@settings(max_examples=300, deadline=None)
def test_noise_never_rises_and_falls_from_one_level_of_the_denoiser_to_the_next(
    request: dict[str, Any], strength: float
) -> None:
    rows = made(request, strength).rows
    levels = [row.sigma for row in rows]
    assert all(after <= before for before, after in pairwise(levels))
    repeats = {"heun": len(levels) // 2, "pndm": 1}.get(request["sampler"], 0)
    assert len(set(levels)) >= len(levels) - repeats
    timesteps = [row.timestep for row in rows]
    assert all(after <= before for before, after in pairwise(timesteps))


@given(requests(), strengths)
@settings(max_examples=200, deadline=None)
def test_every_number_is_finite_and_the_same_request_gives_the_same_table(
    request: dict[str, Any], strength: float
) -> None:
    schedule = made(request, strength)
    for row in schedule.rows:
        numbers = (row.timestep, row.sigma, row.scale_in, row.p, row.q, row.a, *row.b, *row.c)
        assert np.isfinite(numbers).all()
    assert schedule == made(request, strength)


@given(requests(), strengths, strengths)
@settings(max_examples=200, deadline=None)
def test_more_strength_never_runs_fewer_steps(
    request: dict[str, Any], one: float, other: float
) -> None:
    less, more = (made(request, strength) for strength in sorted((one, other)))
    assert less.executed <= more.executed
    assert less.executed + less.skipped == less.requested
    assert len(less.rows) <= len(more.rows)


@given(requests(samplers=STRAIGHT), st.floats(0.01, 1), st.integers(0, 2**32 - 1))
@settings(max_examples=300, deadline=None)
def test_a_constant_picture_is_reproduced_along_its_straight_path(
    request: dict[str, Any], strength: float, seed: int
) -> None:
    """x = α·x₀ + σ·ε with x₀ and ε constant solves the ODE of a denoiser that always says x₀. With
    leading spacing, DDIM's and TCD's levels meet; they end at σ = 0 but for TCD, at ᾱ of t = 0."""
    if request["sampler"] in ("ddim", "tcd"):
        written = dict(request["config"].written) | {"timestep_spacing": "leading"}
        fields = {"_class_name": "DDIMScheduler", **written, "set_alpha_to_one": True}
        request = request | {"config": read_scheduler_config(fields)}
    schedule = made(request, strength)
    picture, noise = np.random.default_rng(seed).standard_normal((2, 1, 4, 2, 2))
    state = begin(schedule, schedule.signal * picture + schedule.noise * noise)
    for row in schedule.rows:
        advance(state, row, output_for(row, state.x, picture))
    if request["sampler"] == "tcd" and schedule.rows:
        alpha = training_schedule(Options(**TRAINED), finite=False).alphas_cumprod[0]
        picture = np.sqrt(alpha) * picture + np.sqrt(1 - alpha) * noise
    np.testing.assert_allclose(state.x, picture, rtol=0, atol=1e-12 * max(1.0, schedule.noise))


def output_for(row: Row, x: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """The denoiser's output that says `picture`."""
    return (picture - row.p * x) / row.q


@given(requests(samplers=("euler", "ddim", "euler-a", "ddpm", "heun")), st.floats(0.01, 1))
@settings(max_examples=100, deadline=None)
def test_strength_takes_the_tail_of_a_table_without_history(
    request: dict[str, Any], strength: float
) -> None:
    whole, tail = made(request, 1.0), made(request, strength)
    assert tail.rows == whole.rows[len(whole.rows) - len(tail.rows) :]
