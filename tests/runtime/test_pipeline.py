"""Img2Img on engines of a few lines: what the runtime itself decides."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image
from tests.doubles.engines import (
    FLOW,
    FUNCTIONS,
    SCALING,
    FakeEngines,
    fake_bundle,
    fake_pipeline,
    pipeline,
    vae_encoder,
)

from overpaint.bundle.errors import CancelledError, SessionError, UsageError
from overpaint.bundle.facts import Latents
from overpaint.bundle.tensor import Tensor
from overpaint.runtime import Complete, Settings, Step
from overpaint.runtime.prepare import prepare
from overpaint.runtime.request import Request

FOUR_STEPS = Settings(strength=0.8, steps=4, guidance_scale=1)
RED = Image.new("RGB", (64, 40), "red")
BLUE = Image.new("RGB", (64, 40), (20, 40, 200))


def mean(image: Image.Image) -> np.ndarray:
    return np.asarray(image, float).mean((0, 1))


@pytest.mark.parametrize("n", [1, 3])
def test_strength_zero_gives_the_picture_back(tmp_path: Path, n: int) -> None:
    pipe, engines = fake_pipeline(tmp_path)
    result = pipe(BLUE, "red", strength=0, n=n)
    assert result.steps_run == 0
    assert engines.runs("unet") == 0
    for image in result.images:
        assert np.abs(np.asarray(image, int) - np.asarray(BLUE, int)).max() <= 1


def test_the_prompt_takes_over_as_strength_grows(tmp_path: Path) -> None:
    pipe, _ = fake_pipeline(tmp_path)
    red = [
        mean(pipe(BLUE, "red", strength=s, seed=1, guidance_scale=1).images[0])[0]
        for s in (0, 0.3, 0.6, 0.9)
    ]
    assert red == sorted(red)
    assert red[-1] > red[0] + 100


def test_steps_run_are_what_strength_leaves_of_the_steps(tmp_path: Path) -> None:
    pipe, engines = fake_pipeline(tmp_path)
    result = pipe(BLUE, "red", strength=0.5, steps=9)
    assert result.steps_run == len(result.timings.steps) == engines.runs("unet") == 4


def test_copy_mode_runs_its_fifteen_steps_and_keeps_the_picture(tmp_path: Path) -> None:
    pipe, _ = fake_pipeline(tmp_path)
    copy, modified = (pipe(BLUE, "red", mode=mode, seed=3) for mode in ("copy", "modify"))
    assert copy.steps_run == 15
    near, far = (np.abs(mean(r.images[0]) - mean(BLUE)).max() for r in (copy, modified))
    assert near < far / 3


def test_a_strength_that_rounds_to_no_step_is_the_picture_with_a_warning(tmp_path: Path) -> None:
    pipe, _ = fake_pipeline(tmp_path)
    result = pipe(BLUE, "red", strength=0.05, steps=10)
    assert result.steps_run == 0
    assert "rounds to none" in result.warnings[0]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    pipe, _ = fake_pipeline(tmp_path)
    first, again, other = (pipe(BLUE, "red", seed=s).images[0].tobytes() for s in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.parametrize("sampler", ["default", "ddim", "pndm", "dpmpp-2m"])
@pytest.mark.parametrize("batch", [32, 4, 2])
def test_image_i_of_a_batch_is_the_single_image_with_seed_plus_i(
    tmp_path: Path, sampler: str, batch: int
) -> None:
    """Whether the engines take all of them at once, or some at a time."""
    pipe, engines = fake_pipeline(tmp_path, batch=batch)
    many = pipe(BLUE, "red", n=5, seed=11, sampler=sampler)
    assert many.seeds == (11, 12, 13, 14, 15)
    assert max(len(feed["sample"]) for feed in engines["unet"].fed) == min(10, batch)
    for seed, image in zip(many.seeds, many.images, strict=True):
        one = pipe(BLUE, "red", seed=seed, sampler=sampler).images[0]
        assert np.abs(np.asarray(image, int) - np.asarray(one, int)).max() <= 1
        assert image.parameters.seed == seed


def test_guidance_doubles_the_batch_with_the_negative_prompt_first(tmp_path: Path) -> None:
    pipe, engines = fake_pipeline(tmp_path)
    pipe(BLUE, "red", negative_prompt="green", n=2, guidance_scale=2)
    context = engines["unet"].fed[0]["encoder_hidden_states"][:, 0]
    assert context.tolist() == [[-1, 1, -1]] * 2 + [[1, -1, -1]] * 2


@pytest.mark.parametrize("scale", [0, 0.5, 1])
def test_guidance_of_one_or_less_is_off_and_costs_nothing(tmp_path: Path, scale: float) -> None:
    pipe, engines = fake_pipeline(tmp_path)
    pipe(BLUE, "red", negative_prompt="green", guidance_scale=scale)
    assert {len(feed["sample"]) for feed in engines["unet"].fed} == {1}
    assert engines.runs("text_encoder") == 1


def test_guidance_pushes_away_from_the_negative_prompt(tmp_path: Path) -> None:
    pipe, _ = fake_pipeline(tmp_path)
    options: dict[str, Any] = {"seed": 1, "strength": 0.8, "guidance_scale": 3}
    plain = mean(pipe(BLUE, "red", **options).images[0])
    away = mean(pipe(BLUE, "red", negative_prompt="green", **options).images[0])
    assert away[1] < plain[1] - 5


def test_a_second_picture_with_the_same_prompt_runs_no_text_encoder(tmp_path: Path) -> None:
    pipe, engines = fake_pipeline(tmp_path)
    pipe(BLUE, "red", negative_prompt="green")
    pipe(BLUE.rotate(90), "red", negative_prompt="green", seed=5)
    assert engines.runs("text_encoder") == 2


def test_text_to_image_and_image_to_image_share_one_session_each(tmp_path: Path) -> None:
    pipe, engines = fake_pipeline(tmp_path)
    pipe(BLUE, "red", seed=1)
    result = pipe.text_to_image("red", size=(72, 40), seed=1)
    assert result.images[0].size == (72, 40)
    assert result.parameters.resolved.strength is None
    assert sorted(session.name for session in engines.opened) == sorted(
        ["text_encoder", "vae_encoder", "unet", "vae_decoder"]
    )
    assert engines.runs("vae_encoder") == 1


def test_a_stream_tells_every_step_with_a_preview_and_ends_in_the_result(tmp_path: Path) -> None:
    pipe, _ = fake_pipeline(tmp_path)
    *steps, last = pipe.stream(BLUE, "red", strength=1, steps=6, guidance_scale=1)
    assert [(s.index, s.total) for s in steps if isinstance(s, Step)] == [
        (i, 6) for i in range(1, 7)
    ]
    assert isinstance(last, Complete)
    assert last.result.steps_run == 6
    assert all(isinstance(s, Step) and s.preview().size == (8, 5) for s in steps)


def test_previews_foresee_the_result(tmp_path: Path) -> None:
    factors = tuple(tuple(float(i == j) / SCALING for j in range(3)) for i in range(4))
    pipe, _ = fake_pipeline(tmp_path, preview=factors)
    for sampler in ("euler", "pndm", "ddim", "dpmpp-2m"):
        *steps, last = pipe.stream(BLUE, "red", seed=2, sampler=sampler, strength=0.8)
        assert isinstance(last, Complete)
        assert isinstance(steps[-1], Step)
        foreseen = np.asarray(steps[-1].preview(), int)
        finished = np.asarray(last.result.images[0].resize(foreseen.shape[1::-1], 0), int)
        assert np.abs(foreseen - finished).mean() < 12, sampler


def test_a_run_stops_between_two_steps_when_asked_and_decodes_nothing(tmp_path: Path) -> None:
    pipe, engines = fake_pipeline(tmp_path)
    stop = threading.Event()
    stream = pipe.stream(BLUE, "red", strength=1, steps=20, cancel=stop)
    for event in stream:
        assert isinstance(event, Step)
        if event.index == 3:
            stop.set()
            break
    with pytest.raises(CancelledError):
        next(stream)
    assert engines.runs("unet") == 3
    assert engines.runs("vae_decoder") == 0
    with pytest.raises(CancelledError):
        pipe(BLUE, "red", cancel=lambda: True)
    assert pipe(BLUE, "red").images


def test_two_runs_at_once_are_refused_and_a_closed_stream_frees_the_pipeline(
    tmp_path: Path,
) -> None:
    pipe, _ = fake_pipeline(tmp_path)
    stream = pipe.stream(BLUE, "red")
    next(stream)
    with pytest.raises(UsageError, match="already running"):
        pipe(BLUE, "red")
    stream.close()  # type: ignore[attr-defined]
    assert pipe(BLUE, "red").images


def test_low_memory_never_holds_two_engines_and_gives_the_same_picture(tmp_path: Path) -> None:
    pipe, _ = fake_pipeline(tmp_path / "usual")
    frugal, engines = fake_pipeline(tmp_path / "frugal", low_memory=True)
    usual = pipe(BLUE, "red", seed=4, n=2)
    result = frugal(BLUE, "red", seed=4, n=2)
    assert [i.tobytes() for i in result.images] == [i.tobytes() for i in usual.images]
    assert engines.most_at_once == 1
    assert all(session.closed for session in engines.opened)


def test_closing_closes_every_session_and_a_closed_pipeline_says_so(tmp_path: Path) -> None:
    pipe, engines = fake_pipeline(tmp_path)
    with pipe.wait():
        assert len(engines.opened) == 4
    assert all(session.closed for session in engines.opened)
    with pytest.raises(SessionError, match="closed"):
        pipe(BLUE, "red")


def test_an_engine_that_cannot_open_is_told_by_the_first_call(tmp_path: Path) -> None:
    from overpaint.runtime.components import Components

    bundle = fake_bundle(tmp_path)
    engines = FakeEngines(bundle.manifest)

    def open_session(name: str) -> Any:
        if name == "unet":
            raise SessionError("unet: no memory")
        return engines.open(name)

    with pipeline(bundle, Components(tuple(bundle.manifest.components), open_session)) as pipe:
        with pytest.raises(SessionError, match="no memory"):
            pipe(BLUE, "red")
        with pytest.raises(SessionError, match="no memory"):
            pipe.wait()
    assert all(session.closed for session in engines.opened)


def test_a_prompt_that_is_too_long_warns_with_the_text_that_was_cut(tmp_path: Path) -> None:
    pipe, _ = fake_pipeline(tmp_path)
    result = pipe(BLUE, "a red picture, the green", seed=0)
    assert any("'the green'" in warning for warning in result.warnings)


def test_a_size_that_is_not_a_multiple_is_refused_before_anything_runs(tmp_path: Path) -> None:
    pipe, engines = fake_pipeline(tmp_path)
    with pytest.raises(UsageError, match="8x8"):
        pipe(BLUE, "red", size=(7, 7))
    with pytest.raises(UsageError, match="prompt"):
        pipe(BLUE, "\ud800")
    assert engines.runs("text_encoder") == 0


def test_the_result_says_everything_needed_to_make_it_again(tmp_path: Path) -> None:
    pipe, _ = fake_pipeline(tmp_path)
    result = pipe(BLUE, "red", strength=0.7, steps=8, n=2, preset="fast")
    p = result.parameters
    assert result.device == "NumPy, by hand"
    assert result.devices.keys() == {"text_encoder", "vae_encoder", "unet", "vae_decoder"}
    run = p.resolved
    assert (run.strength, run.steps, p.steps_run, run.guidance_scale) == (0.7, 8, 5, 7.0)
    assert result.seeds == (p.seed, p.seed + 1)
    again = pipe(BLUE, "red", strength=0.7, steps=8, guidance_scale=7.0, seed=p.seed + 1)
    assert again.images[0].tobytes() == result.images[1].tobytes()


def test_timings_cover_the_run_and_leave_out_the_time_of_the_caller(tmp_path: Path) -> None:
    import time

    pipe, _ = fake_pipeline(tmp_path)
    for event in pipe.stream(BLUE, "red", steps=4, strength=1):
        time.sleep(0.05)
        if isinstance(event, Complete):
            timings = event.result.timings
    parts = timings.load + timings.read + timings.text + timings.encode + timings.denoise
    parts += timings.decode
    assert parts <= timings.total < 0.15


def test_latents_are_scaled_by_what_the_manifest_says(tmp_path: Path) -> None:
    shifted = Latents(channels=4, downscale=8, multiple=16, scaling=2.0, shift=0.25)
    pipe, _ = fake_pipeline(tmp_path, latents=shifted)
    result = pipe(BLUE, "red", strength=0)
    assert result.images[0].size == (64, 32)
    assert np.abs(mean(result.images[0]) - mean(BLUE)).max() <= 1


def test_a_huge_picture_is_repainted_smaller_and_that_is_said(tmp_path: Path) -> None:
    """A telephone's photograph at its own size would keep a machine busy for hours."""
    pipe, _ = fake_pipeline(tmp_path)
    huge = Image.new("RGB", (4000, 3000))
    result = pipe(huge, "red", steps=2)
    assert result.images[0].size == (1024, 768)
    [warning] = result.warnings
    assert "the picture is 4000x3000" in warning
    assert "repainted at 1024x768" in warning
    asked = pipe(huge, "red", size=(64, 48))
    assert (asked.images[0].size, asked.warnings) == ((64, 48), ())
    with pytest.raises(UsageError, match="from 8 to 1024"):
        pipe(huge, "red", size=(4000, 3000))


@pytest.mark.parametrize(
    ("own", "repainted"),
    [((1500, 1000), (1024, 680)), ((1000, 1500), (680, 1024)), ((1031, 8), (1024, 8))],
)
def test_a_picture_beyond_what_the_engines_take_keeps_its_proportions(
    own: tuple[int, int], repainted: tuple[int, int], tmp_path: Path
) -> None:
    pipe, _ = fake_pipeline(tmp_path)
    job = prepare(pipe.bundle, Request(Image.new("RGB", own), "red"))
    assert job.size == repainted
    assert bool(job.warnings) == (max(own) >= 1032)


def test_a_flow_schedule_that_discards_the_picture_says_so(tmp_path: Path) -> None:
    """Four steps at strength 0.8, as a turbo model is run, skip none and start at pure noise."""
    pipe, _ = fake_pipeline(tmp_path, family="sd3", scheduler=FLOW, prediction="flow")
    one, other = (prepare(pipe.bundle, Request(image, "red", FOUR_STEPS)) for image in (BLUE, RED))
    assert one.schedule.signal == other.schedule.signal == 0
    assert "picture is ignored" in one.warnings[0]
    kept = prepare(pipe.bundle, Request(BLUE, "red", replace(FOUR_STEPS, strength=0.75)))
    assert kept.schedule.signal > 0
    assert kept.warnings == ()


def test_an_encoder_that_samples_inside_its_graph_serves_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As optimum's early exports do: `latent_sample`, and no moments."""
    pipe, _ = fake_pipeline(tmp_path / "moments")
    components = dict(pipe.bundle.manifest.components)
    encoder = components["vae_encoder"]
    sample = Tensor(name="latent_sample", dtype="float32", shape=("batch", 4, "rows", "columns"))
    components["vae_encoder"] = msgspec.structs.replace(encoder, outputs=(sample,))
    monkeypatch.setitem(
        FUNCTIONS,
        "vae_encoder",
        lambda feed: {"latent_sample": vae_encoder(feed)["latent_parameters"][:, :4]},
    )
    sampling, _ = fake_pipeline(tmp_path / "sample", components=components)
    for strength in (0, 0.6):
        one, other = (p(BLUE, "red", strength=strength, seed=2) for p in (pipe, sampling))
        assert np.abs(mean(one.images[0]) - mean(other.images[0])).max() <= 1
