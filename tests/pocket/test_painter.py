"""The painter: the same picture from the same seed, in the colours and words that it says."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from pocket.captions import caption, known_words
from pocket.classify import edge_correlation, season_and_time, style
from pocket.painter import SIZE, paint
from pocket.palette import SKIES, palette
from pocket.scene import (
    HELD_OUT,
    LANDS,
    SEASONS,
    STYLES,
    THINGS,
    TIMES,
    Scene,
    held_out_scene,
    random_scene,
)

SCENES = tuple(held_out_scene(index) for index in range(200))


def season_after(scene: Scene) -> Scene:
    """The same place at another time of another season."""
    return replace(
        scene,
        season=SEASONS[(SEASONS.index(scene.season) + 1) % 4],
        time=TIMES[(TIMES.index(scene.time) + 1) % 3],
    )


def test_a_scene_is_painted_the_same_every_time() -> None:
    for scene in SCENES[:8]:
        assert paint(scene).tobytes() == paint(scene).tobytes()


def test_a_picture_has_the_size_asked_for() -> None:
    assert paint(SCENES[0]).shape == (SIZE, SIZE, 3)
    assert paint(SCENES[0], 64).shape == (64, 64, 3)


def test_another_seed_is_another_place() -> None:
    scene = SCENES[0]
    assert (paint(scene) != paint(replace(scene, seed=scene.seed + 1))).any()


def test_held_out_scenes_are_beyond_every_training_seed() -> None:
    assert min(scene.seed for scene in SCENES) >= HELD_OUT > 10**8


def test_every_word_for_a_scene_is_drawn_about_equally_often() -> None:
    scenes = [random_scene(seed) for seed in range(2000)]
    for values, name in (
        (SEASONS, "season"),
        (TIMES, "time"),
        (LANDS, "land"),
        (THINGS, "thing"),
        (STYLES, "style"),
    ):
        counts = Counter(getattr(scene, name) for scene in scenes)
        assert set(counts) == set(values)
        assert min(counts.values()) > 0.8 * 2000 / len(values)


def test_no_two_palettes_are_alike() -> None:
    looks = [
        np.concatenate([palette(season, time).sky, palette(season, time).land]).ravel()
        for season, time in SKIES
    ]
    for k, look in enumerate(looks):
        for other in looks[:k]:
            assert np.abs(look - other).mean() > 0.03


def test_the_classifier_reads_season_and_time_off_painted_scenes() -> None:
    right = [season_and_time(paint(scene)) == (scene.season, scene.time) for scene in SCENES]
    assert np.mean(right) >= 0.98


def test_the_classifier_reads_the_style_off_painted_scenes() -> None:
    assert np.mean([style(paint(scene)) == scene.style for scene in SCENES]) >= 0.98


def test_another_season_keeps_the_outlines_and_another_seed_does_not() -> None:
    same, other = [], []
    for scene in SCENES[:48]:
        picture, later = paint(scene), season_after(scene)
        same.append(edge_correlation(picture, paint(later), scene))
        elsewhere = paint(replace(later, seed=scene.seed + 1))
        other.append(edge_correlation(picture, elsewhere, scene))
    assert np.mean(same) > 0.6
    assert np.mean(other) < 0.3


def test_the_thing_changes_nothing_but_itself() -> None:
    scene = replace(SCENES[0], thing="nothing", style="poster")
    bare, housed = paint(scene), paint(replace(scene, thing="house"))
    changed = (bare != housed).any(axis=2)
    assert 0.01 < changed.mean() < 0.15
    assert not changed[: SIZE // 2].any()


@pytest.mark.parametrize("scene", SCENES[:12], ids=lambda s: f"{s.season}-{s.time}-{s.thing}")
def test_captions_hold_known_words_or_words_that_nobody_knows(scene: Scene) -> None:
    known = set(known_words())
    rng = np.random.default_rng(0)
    for _ in range(40):
        words = caption(scene, rng).replace(",", " ").replace("-", " ").split()
        unknown = [word for word in words if word not in known]
        assert len(unknown) <= 1
        assert len(words) <= 26


def test_captions_name_the_season_most_of_the_time() -> None:
    rng = np.random.default_rng(0)
    scene = replace(SCENES[0], season="autumn")
    texts = [caption(scene, rng) for _ in range(300)]
    assert 0.85 < np.mean(["autumn" in text or "fall" in text for text in texts]) < 0.99


def test_every_scene_has_a_caption_even_where_every_property_is_left_out() -> None:
    for index in range(3000):
        assert isinstance(caption(held_out_scene(index), np.random.default_rng(index)), str)
