"""LoRAs on the page: a slider each, and a picture that follows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.random_lora import random_lora
from tests.serve.engine import fake_served
from tests.serve.page.conftest import Open
from tests.serve.page.easel import Easel
from tests.serve.page.test_page_live import asked as told
from tests.serve.page.test_page_live import begun, frames, settled
from tests.serve.running import Running, serving

from overpaint.serve.config import Config
from overpaint.serve.jobs.engines.bundles import Opening, served_bundle

SLIDER = "#lora-rows label:has-text('ink') input"


@pytest.fixture(scope="module")
def inked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The embedded model, and a folder with two LoRAs for it."""
    folder = tmp_path_factory.mktemp("inked")
    for seed, name in enumerate(("ink", "wash")):
        random_lora(folder / f"{name}.safetensors", seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        served = served_bundle(None, Opening(device="cpu", lora_folder=folder))
        with serving(Config(port=0), [served]) as running:
            yield running


def asked(easel: Easel) -> dict[str, Any]:
    return dict(easel.jobs[-1].request.post_data_json)


def slide(easel: Easel, weight: float) -> None:
    """As a person who lets the slider go there."""
    easel.at(SLIDER).fill(str(weight))
    easel.at(SLIDER).dispatch_event("change")


def test_a_slider_repaints_with_the_same_seed(inked: Running, visit: Open) -> None:
    easel = visit(inked.url)
    assert {"ink", "wash"} <= set(easel.at("#lora-rows span").all_inner_texts())
    base = easel.repaint("winter mountains")
    assert "lora" not in asked(easel)
    seed = asked(easel)["seed"]
    slide(easel, 1)
    turned = easel.finished()
    assert (asked(easel)["lora"], asked(easel)["seed"]) == ({"ink": 1}, seed)
    assert easel.text("#lora-rows label:has-text('ink') output") == "1.00"
    assert not np.array_equal(base, turned)
    slide(easel, 0)
    back = easel.finished()
    assert "lora" not in asked(easel)
    assert np.array_equal(base, back)


def test_a_slider_turns_what_is_drawn_live(inked: Running, visit: Open) -> None:
    easel = begun(visit(inked.url))
    plain = settled(easel)
    known = frames(easel)[1]
    slide(easel, 2)
    assert not np.array_equal(plain, settled(easel, known))
    known = frames(easel)[1]
    slide(easel, 0)
    settled(easel, known)
    weights = [said["lora"] for said in told(easel)]
    assert (weights[0], weights[-1], {"ink": 2} in weights) == ({}, {}, True)
    assert easel.jobs == []


def test_a_slider_before_the_first_picture_paints_nothing(inked: Running, visit: Open) -> None:
    easel = visit(inked.url)
    slide(easel, -0.5)
    assert easel.jobs == []
    easel.repaint("winter mountains")
    assert asked(easel)["lora"] == {"ink": -0.5}


def test_a_painting_brings_its_weights_back(inked: Running, visit: Open) -> None:
    easel = visit(inked.url)
    slide(easel, 0.75)
    easel.repaint("winter mountains")
    file = easel.page.request.get(inked.url + easel.media[-1]).body()
    other = visit(inked.url)
    other.bring(file)
    other.at("#take").click()
    assert other.at(SLIDER).input_value() == "0.75"


def test_a_model_without_any_has_no_sliders(
    visit: Open, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("plain")
    with serving(Config(port=0), [fake_served(folder)]) as running:
        assert visit(running.url).at("#loras").is_hidden()
