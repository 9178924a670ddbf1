"""Less to compute by choice: what is left out, what stays, and what says so."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from tests.doubles.engines import fake_pipeline

from overpaint.bundle.errors import CancelledError, UsageError
from overpaint.runtime import Control, Img2Img, Result, Step
from overpaint.runtime.denoiser import Array
from overpaint.runtime.denoiser.adaptive import adaptive
from overpaint.runtime.denoiser.forecast import (
    continued,
    forecast,
    foretold_rows,
    noise_to_signal,
)
from overpaint.runtime.denoiser.guidance import guided, unguided
from overpaint.runtime.denoiser.interval import interval
from overpaint.runtime.denoiser.zero_star import optimised
from overpaint.runtime.image.compare import psnr
from overpaint.runtime.metadata import read_parameters
from overpaint.runtime.schedule import Row, Schedule, make_schedule, read_scheduler_config

EXAMPLE = Path(__file__).parents[2] / "examples" / "summer.png"
EULER = {"_class_name": "EulerDiscreteScheduler", "beta_schedule": "scaled_linear"}
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}
BLUE = Image.new("RGB", (64, 64), (20, 40, 200))
SHAPE = (2, 4, 6, 8)


def schedule(
    steps: int = 10, sampler: str = "default", config: dict[str, object] = EULER
) -> Schedule:
    return make_schedule(read_scheduler_config(config), steps=steps, strength=1.0, sampler=sampler)


def noise(seed: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(SHAPE, np.float32)


class Counted:
    """Branches that answer what `told` says of a row, and remember which rows asked."""

    def __init__(self, told: Callable[[Row], Array], branches: int = 1) -> None:
        self.told, self.branches = told, branches
        self.rows: list[Row] = []

    def __call__(self, x: Array, row: Row) -> Array:
        self.rows.append(row)
        return np.stack([self.told(row)] * self.branches)


@pytest.fixture(scope="module")
def pipe() -> Img2Img:
    return Img2Img.open(device="cpu")


# --- the parts --------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [EULER, FLOW])
def test_a_forecast_continues_a_line_over_the_noise_exactly(config: dict[str, object]) -> None:
    rows = schedule(config=config)
    start, slope = noise(1), noise(2)
    engine = Counted(lambda row: start + np.float32(noise_to_signal(row)) * slope)
    predict = forecast(unguided(engine), foretold_rows(rows, 1))
    for row in rows.rows[1:]:
        exact = start + np.float32(noise_to_signal(row)) * slope
        np.testing.assert_allclose(predict(noise(0), row), exact, rtol=1e-4, atol=1e-3)
    assert len(engine.rows) == 9 - 3


def test_the_first_three_and_the_last_two_are_computed() -> None:
    rows = schedule(12)
    for each, expected in [(1, {3, 5, 7, 9}), (2, {3, 4, 6, 7, 9}), (8, set(range(3, 10)))]:
        foretold = foretold_rows(rows, each)
        assert {at for at, row in enumerate(rows.rows) if id(row) in foretold} == expected
    assert not foretold_rows(schedule(5), 1)
    assert not foretold_rows(rows, 0)


@pytest.mark.parametrize("sampler", ["euler-a", "dpmpp-sde", "dpmpp-2m-sde", "lcm", "ddpm"])
def test_a_forecast_is_refused_by_name_where_the_sampler_draws_noise(
    pipe: Img2Img, sampler: str
) -> None:
    with pytest.raises(UsageError, match=f"forecast: {sampler} draws fresh noise"):
        pipe(EXAMPLE, "winter", sampler=sampler, forecast=1, steps=8)


def test_guidance_in_an_interval_computes_the_negative_half_there_only() -> None:
    rows = schedule(10).rows
    both, alone = Counted(lambda row: noise(1), 2), Counted(lambda row: noise(1))
    predict = interval(both, alone, rows, 0.2, 0.6)
    told = [len(predict(noise(0), row)) for row in rows]
    assert told == [1, 1, 2, 2, 2, 2, 1, 1, 1, 1]
    assert (len(both.rows), len(alone.rows)) == (4, 6)


def test_a_forecast_trusts_a_line_as_far_as_it_held_image_by_image() -> None:
    """One image moves along a line; the other jumps, as where guidance ends: what it gave last is
    given again."""
    line = noise(1)
    jump = line * 2 + noise(2)
    points = [(3.0, line * 3), (2.0, line * 2), (1.0, line * 1)]
    points[2][1][1] = jump[1]
    told = continued(points, 0.5)
    np.testing.assert_allclose(told[0], line[0] * 0.5, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(told[1], jump[1], atol=1e-5)


def test_from_pure_noise_which_has_no_level_no_line_is_drawn() -> None:
    points = [(np.inf, noise(1)), (4.0, noise(2))]
    assert (continued(points, 2.0) == points[1][1]).all()


def test_guidance_ends_when_both_predictions_say_the_same_for_each_image_by_itself() -> None:
    rows = schedule(6).rows
    positive = noise(1)
    steps = iter(range(6))

    def both(x: Array, row: Row) -> Array:
        """The first image's branches agree from the second row on, the second's from the fourth."""
        at = next(steps)
        negative = noise(2)
        negative[0] = positive[0] if at >= 1 else negative[0]
        negative[1] = positive[1] if at >= 3 else negative[1]
        return np.stack([negative, positive])

    alone = Counted(lambda row: positive)
    predict = guided(adaptive(both, alone, rows[0], 0.99), 7.5)
    told = [np.array(predict(noise(0), row)) for row in rows]
    for image, last in [(0, 0), (1, 2)]:
        differs = [bool(np.abs(one[image] - positive[image]).max() > 1e-4) for one in told]
        assert differs == [at <= last for at in range(6)]
    assert alone.rows == list(rows[4:])


def test_cfg_zero_star_scales_the_negative_branch_to_its_part_of_the_positive_one() -> None:
    torch = pytest.importorskip("torch")
    from diffusers.guiders.classifier_free_zero_star_guidance import cfg_zero_star_scale

    negative, positive = noise(1), noise(1) * np.float32(0.6) + noise(2)
    row = schedule().rows[0]
    ours = guided(optimised(lambda x, row: np.stack([negative, positive])), 4.0)(noise(0), row)
    flat = [torch.from_numpy(one).flatten(1) for one in (positive, negative)]
    scale = cfg_zero_star_scale(*flat).numpy().reshape(-1, 1, 1, 1)
    reference = negative * scale + 4.0 * (positive - negative * scale)
    np.testing.assert_allclose(ours, reference, rtol=1e-4, atol=1e-5)


# --- whole runs -------------------------------------------------------------------------------

ASKED: dict[str, Any] = {"strength": 0.6, "steps": 12, "steps_mode": "exact", "seed": 3}
PROMPT = "winter mountains at night"


def paint(pipe: Img2Img, **more: Any) -> Result:
    return pipe(EXAMPLE, PROMPT, **{**ASKED, **more})


def pixels(pipe: Img2Img, **more: Any) -> npt.NDArray[np.uint8]:
    return np.asarray(paint(pipe, **more).images[0])


def test_exact_is_the_default_and_not_one_bit_of_it_changes(pipe: Img2Img) -> None:
    exact = pixels(pipe)
    assert (pixels(pipe, fidelity="exact") == exact).all()
    parts = {"forecast": 0, "guidance_start": 0.0, "guidance_end": 1.0}
    assert (pixels(pipe, fidelity="draft", **parts) == exact).all(), "what was said outdoes a level"


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_levels_compute_less_and_say_how_much(pipe: Img2Img, guidance: float) -> None:
    asked = {**ASKED, "guidance_scale": guidance}
    runs = [paint(pipe, **asked, fidelity=level) for level in ("exact", "balanced", "draft")]
    computed = [run.evaluations for run in runs]
    assert computed == sorted(set(computed), reverse=True)
    whole = 12 if guidance == 1 else 24
    assert computed[0] == runs[2].exact_evaluations == whole
    assert all(len(run.timings.steps) == run.steps_run == 12 for run in runs)
    exact, balanced, draft = (np.asarray(run.images[0]) for run in runs)
    assert psnr(balanced, exact) > 30
    assert psnr(draft, exact) > 25


def test_what_was_on_is_in_the_picture(pipe: Img2Img, tmp_path: Path) -> None:
    paint(pipe, fidelity="balanced", guidance_end=0.5).images[0].save(tmp_path / "out.png")
    told = read_parameters(tmp_path / "out.png")
    assert (told["fidelity"], told["forecast"], told["guidance_end"]) == ("balanced", 1, 0.5)
    assert "Fidelity: balanced" in Image.open(tmp_path / "out.png").info["parameters"]


def test_a_level_goes_without_its_forecast_where_the_sampler_draws_noise(pipe: Img2Img) -> None:
    result = paint(pipe, sampler="euler-a", fidelity="balanced")
    assert result.parameters.resolved.forecast == 0
    [warning] = [one for one in result.warnings if "fidelity" in one]
    assert "without its forecast, because euler-a draws fresh noise" in warning


@pytest.mark.parametrize("sampler", ["default", "heun", "pndm"])
def test_samplers_without_noise_of_their_own_foretell(pipe: Img2Img, sampler: str) -> None:
    """Heun asks twice at one level, PNDM twice for one step."""
    asked = {**ASKED, "sampler": sampler, "steps": 16, "guidance_scale": 1.5}
    exact = paint(pipe, **asked)
    less = paint(pipe, **asked, forecast=1, guidance_end=0.7)
    assert less.evaluations < 0.65 * exact.evaluations
    assert psnr(np.asarray(less.images[0]), np.asarray(exact.images[0])) > 30


def test_masks_keep_what_they_keep(pipe: Img2Img) -> None:
    picture = np.asarray(Image.open(EXAMPLE).convert("RGB"))
    mask = np.zeros(picture.shape[:2], np.uint8)
    mask[:64] = 255
    exact, less = pixels(pipe, mask=mask), pixels(pipe, mask=mask, fidelity="balanced")
    assert (less[64:] == picture[64:]).all()
    assert psnr(less, exact) > 30
    soft = pixels(pipe, mask=mask, mask_mode="soft", fidelity="balanced")
    assert psnr(soft, pixels(pipe, mask=mask, mask_mode="soft")) > 30


def test_pictures_of_a_batch_are_those_of_their_seeds(pipe: Img2Img) -> None:
    parts = {"fidelity": "balanced", "adaptive_guidance": 0.98, "guidance_scale": 3.0}
    both = paint(pipe, **parts, n=2).images
    second = pixels(pipe, **parts, seed=4)
    assert np.abs(np.asarray(both[1], int) - second).max() <= 1


def test_a_stream_shows_and_counts_foretold_steps_and_may_be_cancelled(pipe: Img2Img) -> None:
    cancel = threading.Event()
    stream = pipe.stream(EXAMPLE, PROMPT, **ASKED, fidelity="draft", cancel=cancel)
    for step in stream:
        assert isinstance(step, Step)
        assert step.total == 12
        assert step.preview().size == (32, 32)
        if step.index == 4:  # which was foretold
            cancel.set()
            break
    with pytest.raises(CancelledError):
        next(stream)
    assert paint(pipe).steps_run == 12, "free again"


def test_frames_of_a_live_run_are_the_calls_pictures(pipe: Img2Img) -> None:
    """The denoiser is bound once for all frames: what it remembers stays in one."""
    asked = {"strength": 0.6, "steps": 8, "sampler": "default", "seed": 3, "guidance_scale": 3.0}
    parts = {"forecast": 1, "guidance_end": 0.6, "adaptive_guidance": 0.99}
    with pipe.live(PROMPT, **asked, **parts) as live:
        frames = [np.asarray(live(frame)) for frame in (BLUE.resize((128, 128)), EXAMPLE)]
    asked["steps_mode"] = "exact"
    assert (frames[1] == pixels(pipe, **asked, **parts)).all()


def test_the_engine_is_called_less_often(tmp_path: Path) -> None:
    double, engines = fake_pipeline(tmp_path)
    double(BLUE, "red", strength=1, steps=12, seed=1)
    assert engines.runs("unet") == 12
    double(BLUE, "red", strength=1, steps=12, seed=1, forecast=2)
    assert engines.runs("unet") == 12 + 7


def test_control_and_loras_steer_what_is_foretold_and_either_half_of_guidance() -> None:
    asked = {**ASKED, "guidance_scale": 1.5, "lora": {"ink": 0.6}}
    asked["control"] = {"edges": Control(preprocessor="canny", end=0.7)}
    with Img2Img.open(control=["edges"], device="cpu") as steered:
        exact, foretold = paint(steered, **asked), paint(steered, **asked, forecast=1)
        alone = paint(steered, **asked, guidance_end=0.0)
        unguided = paint(steered, **{**asked, "guidance_scale": 1.0})
    assert psnr(np.asarray(foretold.images[0]), np.asarray(exact.images[0])) > 35
    assert alone.evaluations == unguided.evaluations == 12
    assert (np.asarray(alone.images[0]) == np.asarray(unguided.images[0])).all()


def test_a_flow_model_foretells_and_leaves_its_first_step_from_noise_out(
    tiny_sd3_bundle: Path,
) -> None:
    with Img2Img.open(tiny_sd3_bundle, device="cpu") as sd3:
        asked: dict[str, Any] = {"size": (32, 32), "steps": 12, "guidance_scale": 5.0, "seed": 2}
        exact = sd3.text_to_image("red", **asked)
        less = sd3.text_to_image("red", **asked, forecast=1, guidance_end=0.5)
        zero = sd3.text_to_image("red", **asked, cfg_zero_star=True)
    assert exact.evaluations == 24
    assert less.evaluations == 2 * 4 + 4, "of rows 0, 1, 2, 4 both halves, and one of 6, 8, 10, 11"
    assert psnr(np.asarray(less.images[0]), np.asarray(exact.images[0])) > 20
    assert zero.evaluations == 22
    assert zero.images[0] != exact.images[0]


def test_evaluations_are_counted_in_every_tile_and_in_both_passes(pipe: Img2Img) -> None:
    tiled = paint(pipe, size=(160, 128), tile="96x96", forecast=1)
    assert tiled.exact_evaluations > 12
    assert tiled.evaluations * 12 == tiled.exact_evaluations * 8
    asked: dict[str, Any] = {"size": (64, 64), "steps": 8, "upscale": 1.5, "upscale_steps": 8}
    twice = pipe.text_to_image(PROMPT, **asked, seed=1, forecast=1)
    assert len(twice.timings.steps) == 16
    assert (twice.evaluations, twice.exact_evaluations) == (12, 16)
