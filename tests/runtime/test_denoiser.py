"""A denoiser is composed of small parts, and what is held is put back after each row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from tests.doubles.engines import fake_pipeline

from overpaint.runtime import predicting
from overpaint.runtime.denoiser import Array, Branches, Denoiser
from overpaint.runtime.denoiser.guidance import guided, unguided
from overpaint.runtime.engines import Engines
from overpaint.runtime.loop import denoise
from overpaint.runtime.schedule import Row, Schedule, make_schedule, read_scheduler_config
from overpaint.runtime.stage import Stage

SHAPE = (2, 4, 6, 8)
CONFIG = {"_class_name": "EulerDiscreteScheduler", "beta_schedule": "scaled_linear"}
BLUE = Image.new("RGB", (64, 64), (20, 40, 200))


def schedule(steps: int = 6) -> Schedule:
    return make_schedule(read_scheduler_config(CONFIG), steps=steps, strength=1.0)


def latents(seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(SHAPE, np.float32)


def every_other(denoiser: Denoiser) -> Denoiser:
    """A toy forecast: the prediction before last is given again in place of every second call."""
    last: list[Array] = []

    def forecast(x: Array, row: Row) -> Array:
        if last:
            return last.pop()
        last.append(np.array(denoiser(x, row)))
        return last[0]

    return forecast


def test_a_part_around_the_engine_may_answer_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop, the engines and the schedule do not know of it: a few lines are the whole of it."""
    inner = predicting._composed

    def with_forecast(calls: Callable[[int], Branches], stage: Stage) -> Denoiser:
        return every_other(inner(calls, stage))

    pipe, engines = fake_pipeline(tmp_path)
    exact = pipe(BLUE, "red", strength=1, steps=8, seed=1).images[0]
    assert engines.runs("unet") == 8
    monkeypatch.setattr(predicting, "_composed", with_forecast)
    forecast = pipe(BLUE, "red", strength=1, steps=8, seed=1).images[0]
    assert engines.runs("unet") == 8 + 4
    difference = np.abs(np.asarray(exact, float) - np.asarray(forecast, float)).mean()
    assert 0 < difference < 40


def test_guidance_is_a_part_around_two_branches() -> None:
    negative, positive = latents(1), latents(2)
    denoiser = guided(lambda x, row: np.stack([negative, positive]), 7.5)
    row = schedule().rows[0]
    np.testing.assert_allclose(
        denoiser(latents(), row), negative + 7.5 * (positive - negative), rtol=1e-5, atol=1e-5
    )
    alone = unguided(lambda x, row: positive[None])
    assert (alone(latents(), row) == positive).all()


def test_what_is_held_is_as_it_was_put_and_the_rest_is_denoised() -> None:
    """A mask, in short: the left half stays, whatever the denoiser makes of it."""
    kept, rows = latents(3), schedule()
    seen: list[int] = []

    def hold(x: npt.NDArray[np.float32], done: int) -> None:
        seen.append(done)
        x[..., :4] = kept[..., :4]

    def towards_zero(x: Array, row: Row) -> Array:
        return x / max(row.sigma, 1)

    held = [
        done.state.x.copy() for done in denoise(towards_zero, latents(), rows, draw=len, hold=hold)
    ]
    free = [done.state.x.copy() for done in denoise(towards_zero, latents(), rows, draw=len)]
    assert seen == [1, 2, 3, 4, 5, 6]
    assert all((x[..., :4] == kept[..., :4]).all() for x in held)
    assert all((a[..., 4:] == b[..., 4:]).all() for a, b in zip(held, free, strict=True))


def test_engines_are_one_runs_at_a_time(tmp_path: Path) -> None:
    pipe, _ = fake_pipeline(tmp_path)
    assert isinstance(pipe.engines, Engines)
    with pipe.engines.alone(), pytest.raises(ValueError, match="already running"):
        pipe(BLUE, "red")
    assert pipe(BLUE, "red").images
