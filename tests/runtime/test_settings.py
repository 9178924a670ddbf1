"""What a caller may ask for, and what becomes of what was left open."""

from __future__ import annotations

import math
from typing import Any

import pytest

from overpaint.bundle.errors import UsageError
from overpaint.bundle.facts import Defaults
from overpaint.runtime.resolved import Resolved, resolve
from overpaint.runtime.settings import MAX_SEED, Settings

DEFAULTS = Defaults(steps=20, guidance_scale=7.5, strength=0.8, sampler="euler")


def resolved(**options: Any) -> Resolved:
    return resolve(Settings(**options), DEFAULTS, with_image=True)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("strength", math.nan),
        ("strength", -0.1),
        ("strength", 1.1),
        ("strength", "0.5"),
        ("strength", True),
        ("reference_strength", 1.5),
        ("guidance_scale", math.inf),
        ("guidance_scale", -1),
        ("steps", 0),
        ("steps", 2.5),
        ("n", 0),
        ("n", None),
        ("seed", -1),
        ("seed", MAX_SEED + 1),
        ("size", (512,)),
        ("size", (512, 0)),
        ("size", "512x512"),
        ("mode", "moddify"),
        ("preset", "slow"),
        ("resize", "squash"),
        ("rng", "cuda"),
        ("steps_mode", "comfy"),
        ("sigmas", "karass"),
        ("negative_prompt", 3),
        ("guidance_rescale", 1.5),
        ("guidance_rescale", None),
        ("eta", -0.1),
        ("eta", None),
        ("denoising_start", 0),
        ("denoising_end", 1),
        ("denoising_end", "0.8"),
        ("max_sequence_length", 513),
        ("prompt_chunks", 1),
        ("prompt_weights", None),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(option: str, value: object) -> None:
    with pytest.raises(UsageError, match=option) as refusal:
        Settings(**{option: value})
    assert "\n" not in str(refusal.value)


def test_an_unknown_sampler_is_answered_with_the_nearest_ones() -> None:
    with pytest.raises(UsageError, match="did you mean dpmpp-2m"):
        Settings(sampler="dpm++2m")


def test_what_was_not_said_comes_from_the_bundle() -> None:
    got = resolved()
    assert (got.strength, got.steps, got.guidance_scale, got.sampler) == (0.8, 20, 7.5, "euler")
    assert (got.steps_mode, got.rng, got.settings.negative_prompt) == ("diffusers", "torch", None)


def test_an_explicit_value_beats_a_preset_which_beats_a_mode_which_beats_the_bundle() -> None:
    modify = resolved(mode="modify")
    assert (modify.strength, modify.steps, modify.guidance_scale) == (0.5, 25, 7.5)
    fast = resolved(mode="modify", preset="fast")
    assert (fast.strength, fast.steps, fast.guidance_scale) == (0.5, 15, 7.0)
    own = resolved(mode="modify", preset="fast", steps=9, strength=0.3, guidance_scale=1.0)
    assert (own.strength, own.steps, own.guidance_scale) == (0.3, 9, 1.0)
    assert resolved(preset="high").strength == 0.8


def test_reference_strength_is_strength_seen_from_the_picture() -> None:
    for tenth in range(11):
        r, strength = tenth / 10, (10 - tenth) / 10
        assert resolved(reference_strength=r).strength == strength
    with pytest.raises(UsageError, match="same thing"):
        Settings(strength=0.3, reference_strength=0.7)


def test_copy_mode_stays_close_and_still_runs_its_steps() -> None:
    """15 steps at strength 0.05 the usual way would be no step at all."""
    copy = resolved(mode="copy")
    assert (copy.strength, copy.steps, copy.guidance_scale) == (0.05, 15, 1.0)
    assert copy.steps_mode == "exact"
    assert resolved(mode="copy", reference_strength=0.2).strength == 0.05
    assert resolved(mode="copy", reference_strength=0.98).strength == 0.02
    with pytest.raises(UsageError, match="copy mode"):
        Settings(mode="copy", strength=0.6)


def test_copy_mode_ignores_a_preset_and_says_so() -> None:
    copy = resolved(mode="copy", preset="high")
    assert (copy.steps, copy.guidance_scale) == (15, 1.0)
    assert "ignored" in copy.warnings[0]


def test_seeds_count_up_from_the_first_and_zero_is_a_seed() -> None:
    assert resolved(seed=0, n=3).seeds == (0, 1, 2)
    assert resolved(seed=MAX_SEED, n=2).seeds == (MAX_SEED, 0)


def test_an_absent_seed_is_a_new_one_each_time() -> None:
    assert len({resolved().seed for _ in range(20)}) > 1


@pytest.mark.parametrize("other", ["strength", "reference_strength", "mode"])
def test_what_denoising_start_decides_is_not_decided_twice(other: str) -> None:
    value: Any = "modify" if other == "mode" else 0.5
    with pytest.raises(UsageError, match=f"{other}: denoising_start says where to begin"):
        Settings(denoising_start=0.5, **{other: value})


def test_text_to_image_needs_a_size_and_knows_no_strength() -> None:
    with pytest.raises(UsageError, match="512x512"):
        resolve(Settings(), DEFAULTS, with_image=False)
    for option in ({"strength": 0.5}, {"mode": "copy"}, {"reference_strength": 0.1}):
        with pytest.raises(UsageError, match="needs an image"):
            resolve(Settings(size=(64, 64), **option), DEFAULTS, with_image=False)  # type: ignore[arg-type]
    assert resolve(Settings(size=(64, 64)), DEFAULTS, with_image=False).strength is None


DISTILLED = Defaults(steps=4, guidance_scale=1.0, strength=0.75, distilled=True)


@pytest.mark.parametrize("options", [{"mode": "modify"}, {"mode": "copy"}, {"preset": "high"}])
def test_modes_and_presets_leave_a_distilled_checkpoints_steps_and_guidance_alone(
    options: dict[str, Any],
) -> None:
    got = resolve(Settings(**options), DISTILLED, with_image=True)
    assert (got.steps, got.guidance_scale) == (4, 1.0)
    assert (resolved(**options).steps, resolved(**options).guidance_scale) != (4, 1.0)
    named = resolve(Settings(**options, steps=9, guidance_scale=2), DISTILLED, with_image=True)
    assert (named.steps, named.guidance_scale) == (9, 2)


def test_a_distilled_checkpoint_still_has_a_modes_strength_and_says_what_it_ignores() -> None:
    copied = resolve(Settings(mode="copy"), DISTILLED, with_image=True)
    assert (copied.strength, copied.steps_mode, copied.warnings) == (0.05, "exact", ())
    [warning] = resolve(Settings(preset="fast"), DISTILLED, with_image=True).warnings
    assert warning == (
        "preset fast is ignored: this checkpoint was distilled for 4 steps and guidance_scale 1, "
        "which stay"
    )
