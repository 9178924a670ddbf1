"""Where a schedule begins and ends is defined, not left to chance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats

from overpaint.bundle.errors import UsageError
from overpaint.runtime.choices import STEPS_MODES
from overpaint.runtime.schedule import SAMPLERS, Schedule, make_schedule
from overpaint.runtime.schedule import read_scheduler_config as read
from overpaint.runtime.schedule.sigmas import beta_quantile
from overpaint.runtime.schedule.strength import steps_to_skip

SD = read(
    {
        "_class_name": "EulerDiscreteScheduler",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "timestep_spacing": "leading",
        "steps_offset": 1,
    }
)
SD3 = read({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0})
NAMED = sorted(set(SAMPLERS) - {"default", "flow-euler"})
TWO_ROWS = ("heun", "dpmpp-sde")


def spaced(spacing: str, **more: Any) -> Any:
    return read({"_class_name": SD.scheduler, **SD.written, "timestep_spacing": spacing, **more})


def run(steps: int, strength: float | None, sampler: str = "euler", **more: Any) -> Schedule:
    config = more.pop("config", SD)
    return make_schedule(config, steps=steps, strength=strength, sampler=sampler, **more)


@pytest.mark.parametrize("sampler", NAMED)
@pytest.mark.parametrize(("steps", "strength"), [(20, 0.0), (10, 0.09), (1, 0.99)])
def test_no_steps_leave_the_latents_alone(sampler: str, steps: int, strength: float) -> None:
    schedule = run(steps, strength, sampler)
    assert schedule.rows == ()
    assert (schedule.signal, schedule.noise, schedule.executed) == (1.0, 0.0, 0)
    assert schedule.skipped == steps


@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
@pytest.mark.parametrize("sampler", NAMED)
def test_one_step_is_one_row_of_finite_numbers(sampler: str, spacing: str) -> None:
    (row,) = run(1, 1.0, sampler, config=spaced(spacing)).rows
    assert np.isfinite([row.p, row.q, row.a, *row.b, *row.c]).all()


def test_strength_one_still_sees_the_picture_with_sd_and_not_with_sd3() -> None:
    sd, sd3 = run(50, 1.0), run(28, 1.0, "default", config=SD3, rounding="up")
    assert (sd.rows[0].timestep, sd.signal) == (981, 1.0)
    assert sd.noise == pytest.approx(13.0, abs=0.5)
    assert (sd3.signal, sd3.noise) == (0.0, 1.0)
    assert not sd3.discards_image  # asked for, so no surprise


def test_a_flow_schedule_of_few_steps_that_starts_at_pure_noise_says_so() -> None:
    few = run(4, 0.8, "default", config=SD3, rounding="up")
    assert (few.skipped, few.signal, few.discards_image) == (0, 0.0, True)
    kept = run(4, 0.75, "default", config=SD3, rounding="up")
    assert (kept.skipped, kept.executed, kept.discards_image) == (1, 3, False)
    assert kept.signal > 0
    assert not run(4, 0.8).discards_image
    assert not run(4, None, "default", config=SD3, rounding="up").discards_image


def test_strength_is_cut_with_the_references_float_traps() -> None:
    for steps, strength, kept in [
        (50, 0.58, 28), (90, 0.7, 62), (100, 0.29, 28), (100, 0.57, 56), (100, 0.58, 57),
        (20, 0.6, 12), (50, 0.8, 40),
    ]:  # fmt: skip
        assert steps - steps_to_skip(steps, strength, "down") == kept
    for steps, strength, kept in [(25, 0.56, 15), (50, 0.56, 29), (28, 0.6, 17), (28, 1.0, 28)]:
        assert steps - steps_to_skip(steps, strength, "up") == kept


@pytest.mark.parametrize("strength", [-0.1, 1.1, math.nan, math.inf, "0.5", True])
def test_a_strength_outside_0_to_1_is_refused(strength: Any) -> None:
    with pytest.raises(UsageError, match="strength: expected a number from 0"):
        run(20, strength)


@pytest.mark.parametrize("skipped", range(0, 100, 3))
def test_strength_cuts_by_position_though_karras_timesteps_repeat(skipped: int) -> None:
    """Of 100 steps five share a timestep with the one before: by value, they would be lost."""
    config = read({**SD.written, "_class_name": "DPMSolverMultistepScheduler"})
    whole = run(100, 1.0, "dpmpp-2m", config=config, sigmas="karras").rows
    assert len(whole) - len({row.timestep for row in whole}) == 5
    part = run(100, 1 - skipped / 100, "dpmpp-2m", config=config, sigmas="karras")
    kept = [row.timestep for row in part.rows]
    assert kept == [row.timestep for row in whole[-len(kept) :]]
    assert len(kept) == 100 - steps_to_skip(100, 1 - skipped / 100, "down")


@pytest.mark.parametrize("steps", [0, -1, 1001, 2.5, True, "20"])
def test_steps_outside_the_trainings_are_refused(steps: Any) -> None:
    with pytest.raises(UsageError, match="steps: expected a whole number from 1 to 1000"):
        run(steps, 0.5)


@pytest.mark.parametrize("sampler", ["dpmpp-2m", "unipc", "dpmpp-2m-sde"])
def test_steps_that_would_visit_a_level_twice_are_refused(sampler: str) -> None:
    with pytest.raises(UsageError, match="Take fewer"):
        run(1000, 1.0, sampler, config=spaced("linspace"))
    assert run(999, 1.0, sampler, config=spaced("linspace")).executed == 999


def test_an_offset_beyond_the_training_is_refused() -> None:
    with pytest.raises(UsageError, match=r"timestep 1000.*Take fewer"):
        run(1000, 1.0)
    assert run(999, 1.0).rows[0].timestep == 999


def test_trailing_spacing_has_n_timesteps_and_none_below_zero() -> None:
    surplus = 0
    for steps in range(1, 1001):
        timesteps = [row.timestep for row in run(steps, 1.0, config=spaced("trailing")).rows]
        assert len(timesteps) == steps
        assert timesteps[0] == 999
        assert timesteps[-1] >= 0
        surplus += len(np.arange(1000, 0, -1000 / steps)) != steps
    assert surplus == 62  # where the reference has one more, t = −1


@pytest.mark.parametrize("sampler", [*NAMED, "default"])
@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.8, 0.81])
def test_a_start_runs_the_rows_that_the_same_end_leaves_out(sampler: str, fraction: float) -> None:
    whole = run(20, None, sampler)
    base = run(20, None, sampler, denoising_end=fraction)
    refiner = run(20, 0.3, sampler, denoising_start=fraction)
    assert [row.timestep for row in base.rows + refiner.rows] == [r.timestep for r in whole.rows]
    assert base.rows == whole.rows[: len(base.rows)]
    assert (refiner.signal, refiner.noise) == (1.0, 0.0)
    assert base.end == (refiner.rows[0].alpha, refiner.rows[0].sigma)
    assert refiner.end == whole.end == (1.0, 0.0)
    assert base.executed + refiner.executed == len(whole.rows) - sum(
        sampler in TWO_ROWS for _ in range(whole.executed - 1)
    )


@pytest.mark.parametrize("sampler", TWO_ROWS)
def test_a_cut_never_falls_between_the_two_rows_of_a_step(sampler: str) -> None:
    for thousandth in range(1, 1000, 7):
        base = run(10, None, sampler, denoising_end=thousandth / 1000)
        refiner = run(10, 1.0, sampler, denoising_start=thousandth / 1000)
        assert len(base.rows) % 2 == 0
        assert len(base.rows) + len(refiner.rows) == 19
        assert len(refiner.rows[0].b) == 1  # begins with a step's first row


def test_denoising_fractions_are_checked() -> None:
    for name in ("denoising_start", "denoising_end"):
        for value in (0.0, 1.0, -1, math.nan):
            with pytest.raises(UsageError, match=f"{name}: expected a number between 0 and 1"):
                run(20, 0.5, **{name: value})
    with pytest.raises(UsageError, match="must come before"):
        run(20, 0.5, denoising_start=0.8, denoising_end=0.8)


def test_an_end_before_the_strengths_start_runs_nothing() -> None:
    schedule = run(20, 0.3, denoising_end=0.5)
    assert (schedule.rows, schedule.signal, schedule.noise) == ((), 1.0, 0.0)


@pytest.mark.parametrize("sampler", NAMED)
def test_exact_mode_runs_the_steps_that_were_asked_for(sampler: str) -> None:
    schedule = run(12, 0.4, sampler, steps_mode="exact")
    assert (schedule.requested, schedule.skipped, schedule.executed) == (30, 18, 12)
    assert run(12, 1.0, sampler, steps_mode="exact") == run(12, 1.0, sampler)
    assert run(12, 0.0, sampler, steps_mode="exact").rows == ()


def test_exact_mode_gives_copy_mode_its_fifteen_steps() -> None:
    schedule = run(15, 0.05, steps_mode="exact")
    assert (schedule.requested, schedule.executed) == (300, 15)
    assert run(15, 0.05).rows == ()


def test_exact_mode_schedules_no_more_than_the_training() -> None:
    schedule = run(15, 0.01, steps_mode="exact", config=spaced("trailing"))
    assert (schedule.requested, schedule.executed) == (1000, 15)


def test_consistency_samplers_have_fifty_steps_to_choose_from() -> None:
    for sampler in ("lcm", "tcd"):
        assert run(50, 1.0, sampler).executed == 50
        with pytest.raises(UsageError, match="Take 50 or fewer"):
            run(51, 1.0, sampler)
        with pytest.raises(UsageError, match="Take 50 or fewer"):
            run(8, 0.1, sampler, steps_mode="exact")
        with pytest.raises(UsageError, match="Take 5 or fewer, or raise the strength"):
            run(8, 0.1, sampler, steps_mode="lcm")
    with pytest.raises(UsageError, match="'lcm' is for the samplers lcm and tcd"):
        run(8, 0.5, steps_mode="lcm")
    assert STEPS_MODES == ("diffusers", "exact", "lcm")


def test_eta_is_checked_and_belongs_to_ddim_and_tcd() -> None:
    assert not any(row.draws for row in run(8, 1.0, "ddim").rows)
    assert all(row.draws for row in run(8, 1.0, "ddim", eta=0.5).rows)
    for eta in (-0.1, 1.1, math.nan):
        with pytest.raises(UsageError, match="eta: expected"):
            run(8, 1.0, "ddim", eta=eta)
    with pytest.raises(UsageError, match="eta: euler has none"):
        run(8, 1.0, "euler", eta=0.5)


def test_a_start_without_signal_is_refused_where_the_prediction_needs_one() -> None:
    zero_snr = spaced("trailing", rescale_betas_zero_snr=True)
    with pytest.raises(UsageError, match=r"ddim has no finite step at timestep 999.*epsilon"):
        run(10, 1.0, "ddim", config=zero_snr)
    velocity = spaced("trailing", rescale_betas_zero_snr=True, prediction_type="v_prediction")
    assert run(10, 1.0, "ddim", config=velocity).signal == 0.0
    assert run(10, 1.0, "euler", config=velocity).noise == pytest.approx(4096, abs=0.01)


def test_what_the_reference_leaves_undefined_is_its_limit_here() -> None:
    """UniPC's bh1 ends in 0·∞ there; a stretched schedule of one step is 0/0."""
    unipc = {"_class_name": "UniPCMultistepScheduler", **SD.written}
    last = make_schedule(read({**unipc, "solver_type": "bh1"}), steps=8, strength=1.0).rows[-1]
    assert (last.a, last.b) == (0.0, (1.0,))
    flow = read({"_class_name": SD3.scheduler, "shift_terminal": 0.1})
    assert make_schedule(flow, steps=1, strength=1.0).noise == 1.0


def test_dynamic_shifting_needs_the_pictures_size() -> None:
    config = read({"_class_name": SD3.scheduler, "use_dynamic_shifting": True})
    with pytest.raises(UsageError, match="image_tokens must be given"):
        make_schedule(config, steps=8, strength=1.0)


def test_beta_quantiles_are_scipys() -> None:
    for shape in (0.6, 0.5, 0.9):
        probability = np.linspace(0, 1, 1001)
        ours = beta_quantile(probability, shape)
        theirs = scipy.stats.beta.ppf(probability, shape, shape)
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-15)


def test_beta_timesteps_are_scipys_after_truncation() -> None:
    sampler = "DPMSolverMultistepScheduler"
    config = read({"_class_name": sampler, **SD.written, "use_beta_sigmas": True})
    from tests.runtime.schedule.diffusers_reference import reference_scheduler

    reference = reference_scheduler(sampler, dict(config.written))
    for steps in range(1, 101):
        reference.set_timesteps(steps)
        rows = make_schedule(config, steps=steps, strength=1.0).rows
        assert [row.timestep for row in rows] == reference.timesteps.tolist()
