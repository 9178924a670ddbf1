"""What strength, prompt, style, guidance and seed mean, measured on the bundle that ships.

Thirty-two held-out scenes go, each with its own seed, to another season at another time of day.
The bars stand below what the model reaches; docs/pocket.md has the figures and
`python -m pocket.journeys` prints them.
"""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from pocket import journeys
from pocket.classify import season_and_time
from pocket.journeys import JOURNEYS, pipe
from pocket.painter import paint
from pocket.scene import STYLES, Style


@pytest.mark.parametrize("style", STYLES)
def test_strength_0_is_the_autoencoders_round_trip_at_30_db_or_better(style: Style) -> None:
    assert journeys.round_trip(style) >= 30.0


def test_what_is_repainted_is_nearly_as_crisp_as_what_is_painted() -> None:
    """A summer's sunset, by its gradient energy; a decoder without a critic reached 70 %."""
    assert journeys.crispness("summer", "sunset", 0.5) >= 0.85


def test_the_distance_to_the_input_grows_with_strength() -> None:
    distances = [journeys.distance(strength) for strength in (0.0, 0.1, 0.3, 0.5, 0.7, 1.0)]
    assert all(farther > 1.02 * nearer for nearer, farther in pairwise(distances))


@pytest.mark.parametrize("strength", [0.5, 0.7])
def test_from_half_strength_on_the_season_is_the_prompts(strength: float) -> None:
    assert journeys.arrived(strength)[0] >= 0.90


@pytest.mark.parametrize("strength", [0.5, 0.7])
def test_from_half_strength_on_the_time_of_day_is_the_prompts(strength: float) -> None:
    assert journeys.arrived(strength)[1] >= 0.90


def test_at_full_strength_season_and_time_are_the_prompts() -> None:
    season, time = journeys.arrived(1.0)
    assert season >= 0.90
    assert time >= 0.90


def test_at_a_small_strength_season_and_time_are_still_the_pictures() -> None:
    season, time = journeys.arrived(0.1)
    assert season <= 0.25
    assert time <= 0.25


@pytest.mark.parametrize(("strength", "bar"), [(0.5, 0.40), (0.7, 0.25)])
def test_the_skyline_stays_while_the_season_changes(strength: float, bar: float) -> None:
    kept = journeys.outline(strength)
    assert kept >= bar
    assert kept >= journeys.outline(1.0) + 0.15


@pytest.mark.parametrize("style", STYLES)
def test_naming_a_style_gives_it_whatever_the_input_is_in(style: Style) -> None:
    assert journeys.styled(style, 0.5) >= 0.90


def test_naming_the_other_style_keeps_the_skyline() -> None:
    assert journeys.outline_in_other_style(0.5) >= 0.25


def test_guidance_raises_agreement_with_the_prompt() -> None:
    assert journeys.disagreement(0.3, 7.0) < 0.9 * journeys.disagreement(0.3, 1.0)


def test_a_negative_prompt_moves_the_picture_away_from_what_it_names() -> None:
    assert journeys.driven_away(0.6) >= 0.80


def test_the_same_seed_gives_the_same_bytes() -> None:
    image = Image.fromarray(paint(JOURNEYS[0].origin))
    first, again, other = (
        pipe()(image, JOURNEYS[0].prompt, seed=seed).images[0].tobytes() for seed in (5, 5, 6)
    )
    assert first == again
    assert first != other


def test_words_that_it_never_saw_do_no_harm() -> None:
    journey = JOURNEYS[1]
    image = Image.fromarray(paint(journey.origin))
    result = pipe()(image, f"{journey.prompt}, 日本 zxqv!", strength=0.6, seed=1)
    found = season_and_time(np.asarray(result.images[0].convert("RGB")))
    assert found == (journey.goal.season, journey.goal.time)
