"""Live: the pictures that calls make, frame after frame, with what stays the same fixed once."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from overpaint.bundle.errors import ImageError, UsageError
from overpaint.runtime import Img2Img
from overpaint.runtime.denoiser.residual import residual
from overpaint.runtime.schedule import Row
from overpaint.runtime.schedule.prediction import x0_from

PROMPT = "winter mountains at night"
ASKED: dict[str, Any] = {"strength": 0.6, "steps": 2, "seed": 5}


@pytest.fixture(scope="module")
def pipe() -> Iterator[Img2Img]:
    with Img2Img.open() as opened:
        yield opened


@pytest.fixture(scope="module")
def frames() -> list[Image.Image]:
    """A picture that moves to the left."""
    picture = np.asarray(Image.open("examples/summer.png").convert("RGB"))
    return [Image.fromarray(np.roll(picture, -4 * k, axis=1)) for k in range(5)]


def called(pipe: Img2Img, frame: Image.Image, prompt: str = PROMPT, **asked: Any) -> Image.Image:
    """The same by a call."""
    few = {"sampler": "tcd", "steps_mode": "lcm", "guidance_scale": 1.0}
    return pipe(frame, prompt, **{**few, **ASKED, **asked}).images[0]


def same(a: Image.Image, b: Image.Image) -> bool:
    return a.size == b.size and a.tobytes() == b.tobytes()


def test_a_frame_is_the_picture_that_a_call_makes(pipe: Img2Img, frames: list[Image.Image]) -> None:
    with pipe.live(PROMPT, **ASKED) as live:
        assert all(same(live(frame), called(pipe, frame)) for frame in frames[:3])


def test_frames_that_overlap_are_the_same_and_in_order(
    pipe: Img2Img, frames: list[Image.Image]
) -> None:
    with pipe.live(PROMPT, **ASKED) as live:
        shown = list(live.over(frames))
    assert len(shown) == len(frames)
    assert all(same(one, called(pipe, frame)) for one, frame in zip(shown, frames, strict=True))


@pytest.mark.parametrize("ahead", [1, 2, 3])
def test_so_many_frames_are_under_way_as_are_asked_for(
    pipe: Img2Img, frames: list[Image.Image], ahead: int
) -> None:
    taken = []

    def coming() -> Iterator[Image.Image]:
        for frame in frames:
            taken.append(frame)
            yield frame

    with pipe.live(PROMPT, **ASKED) as live:
        for shown, _ in enumerate(live.over(coming(), ahead=ahead), 1):
            assert len(taken) == min(shown - 1 + ahead, len(frames))


def test_no_frame_under_way_is_refused(pipe: Img2Img, frames: list[Image.Image]) -> None:
    with (
        pipe.live(PROMPT, **ASKED) as live,
        pytest.raises(UsageError, match="ahead: expected 1 or more frames under way, got 0"),
    ):
        list(live.over(frames, ahead=0))


@pytest.mark.parametrize("sampler", ["lcm", "euler", "dpmpp-2m"])
def test_every_step_that_is_asked_for_is_run(
    pipe: Img2Img, frames: list[Image.Image], sampler: str
) -> None:
    mode = "lcm" if sampler == "lcm" else "exact"
    with pipe.live(PROMPT, sampler=sampler, **ASKED) as live:
        wanted = called(pipe, frames[0], sampler=sampler, steps_mode=mode)
        assert same(live(frames[0]), wanted)


def test_prompt_and_strength_change_with_the_next_frame(
    pipe: Img2Img, frames: list[Image.Image]
) -> None:
    with pipe.live(PROMPT, **ASKED) as live:
        live(frames[0])
        live.prompt = "desert at noon"
        assert same(live(frames[0]), called(pipe, frames[0], "desert at noon"))
        live.strength = 0.3
        assert (live.prompt, live.strength) == ("desert at noon", 0.3)
        assert same(live(frames[0]), called(pipe, frames[0], "desert at noon", strength=0.3))


def test_a_still_scene_does_not_flicker_without_a_seed(
    pipe: Img2Img, frames: list[Image.Image]
) -> None:
    with pipe.live(PROMPT, strength=0.6, steps=2) as live:
        first = live(frames[0])
        live.prompt = "desert at noon"
        live.prompt = PROMPT
        assert same(live(frames[0]), first)


def test_the_size_is_the_first_frames_and_stays(pipe: Img2Img, frames: list[Image.Image]) -> None:
    with pipe.live(PROMPT, **ASKED) as live:
        assert live(frames[0]).size == (128, 128)
        assert live(frames[0].resize((200, 100))).size == (128, 128)
        live.prompt = "desert at noon"
        assert live(frames[0].resize((64, 64))).size == (128, 128)
    with pipe.live(PROMPT, size=(64, 96), **ASKED) as live:
        assert live(frames[0]).size == (64, 96)


def test_similar_frames_are_shown_as_the_one_before(
    pipe: Img2Img, frames: list[Image.Image]
) -> None:
    pixels = np.array(frames[0])
    pixels[0, 0] = 255 - pixels[0, 0]
    nearly = Image.fromarray(pixels)
    with pipe.live(PROMPT, similar=0.5, **ASKED) as live:
        shown = [live(frame) for frame in (frames[0], nearly, frames[1], frames[0])]
        assert shown[1] is shown[0]
        assert live.pace.similar == 1
        assert live.pace.frames == 4
        live.prompt = "desert at noon"
        assert same(live(frames[0]), called(pipe, frames[0], "desert at noon"))
    with pipe.live(PROMPT, **ASKED) as live:
        assert not same(live(frames[0]), live(nearly))


def test_latency_is_kept(pipe: Img2Img, frames: list[Image.Image]) -> None:
    with pipe.live(PROMPT, **ASKED) as live:
        assert live.pace.percentile(50) == 0
        list(live.over(frames))
        assert len(live.pace.seconds) == len(frames)
        assert 0 < live.pace.percentile(50) <= live.pace.percentile(99) < 60


def test_a_frame_that_is_no_picture_ends_in_one_line_and_costs_itself_alone(
    pipe: Img2Img, frames: list[Image.Image]
) -> None:
    with pipe.live(PROMPT, **ASKED) as live:
        shown = []
        with pytest.raises(ImageError, match="not a picture"):
            shown += list(live.over([frames[0], b"no picture", frames[1]]))
        assert same(live(frames[1]), called(pipe, frames[1]))


def test_one_run_at_a_time(pipe: Img2Img, frames: list[Image.Image]) -> None:
    with pipe.live(PROMPT, **ASKED) as live:
        coming = live.over(frames)
        next(coming)
        with pytest.raises(UsageError, match="already running"):
            called(pipe, frames[0])
        coming.close()  # type: ignore[attr-defined]
        called(pipe, frames[0])
    assert not [one for one in threading.enumerate() if one.name.startswith("live")]


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "flow"])
def test_residual_guidance_leads_what_is_foreseen_away_from_the_frame(prediction: str) -> None:
    """At x = alpha·x0 + sigma·noise, the guided output foresees z + scale·(x0 - z)."""
    rng = np.random.default_rng(0)
    x, m, z = rng.standard_normal((3, 1, 4, 8, 8)).astype(np.float32)
    sigma = 0.6
    alpha = 1 - sigma if prediction == "flow" else math.sqrt(1 - sigma**2)
    row = Row(timestep=400, alpha=alpha, sigma=sigma, scale_in=1, p=0, q=1, a=0, b=(1,))
    kind = "flow_prediction" if prediction == "flow" else prediction
    p, q = x0_from(kind, alpha, sigma)
    guided = residual(lambda x, row: m, z, prediction, 1.7)(x, row)
    wanted = z + 1.7 * ((p * x + q * m) - z)
    assert np.abs(p * x + q * guided - wanted).max() < 1e-5


def test_residual_guidance_costs_no_call_and_changes_the_picture(
    pipe: Img2Img, frames: list[Image.Image]
) -> None:
    def shown(guidance: float) -> Image.Image:
        with pipe.live(PROMPT, residual_guidance=guidance, **ASKED) as live:
            return live(frames[0])

    assert same(shown(1.0), called(pipe, frames[0]))
    assert not same(shown(1.4), shown(1.0))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"n": 2}, "one picture of each"),
        ({"steps_mode": "diffusers"}, "exact or lcm"),
        ({"strength": 2}, "strength"),
        ({"steps": 0}, "steps"),
        ({"residual_guidance": 1.5, "guidance_scale": 3.0}, "residual_guidance"),
        ({"residual_guidance": -1.0}, "residual_guidance"),
    ],
)
def test_what_cannot_be_live_is_said(pipe: Img2Img, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        pipe.live(PROMPT, **asked)


def test_a_closed_run_and_closed_engines_are_said(frames: list[Image.Image]) -> None:
    with Img2Img.open() as pipe:
        live = pipe.live(PROMPT, **ASKED)
        live.close()
        with pytest.raises(UsageError, match="closed"):
            live(frames[0])
    with (
        Img2Img.open(low_memory=True) as pipe,
        pipe.live(PROMPT, **ASKED) as live,
        pytest.raises(UsageError, match="low_memory"),
    ):
        live(frames[0])


def test_flow_models_and_guidance_are_live_too(
    tiny_sd3_bundle: Path, frames: list[Image.Image]
) -> None:
    with Img2Img.open(tiny_sd3_bundle) as pipe:
        asked: dict[str, Any] = {**ASKED, "guidance_scale": 3.0}
        with pipe.live(PROMPT, size=(64, 64), **asked) as live:
            wanted = pipe(
                frames[0], PROMPT, size=(64, 64), steps_mode="exact", sampler="default", **asked
            )
            assert same(live(frames[0]), wanted.images[0])
