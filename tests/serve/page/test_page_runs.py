"""A run, from the button to the picture on the screen."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect
from tests.serve.engine import Knobs, fake_served
from tests.serve.page.conftest import Open
from tests.serve.page.easel import Easel, decoded, difference, halves
from tests.serve.running import Running, serving

from overpaint.runtime.schedule.strength import Rounding, steps_to_skip
from overpaint.serve.config import Config

COUNTED = """async ([strengths, most, rounding]) => {
    const { stepsOf, strengthFor } = await import('/page/plan.js');
    return Array.from({ length: most }, (_, i) => i + 1).map(n => ({
        steps: strengths.map(strength => stepsOf(strength, n, rounding)),
        back: Array.from({ length: n }, (_, i) => i + 1)
            .map(k => stepsOf(strengthFor(k, n, rounding), n, rounding)),
    }));
}"""


def test_the_result_is_visible(easel: Easel) -> None:
    easel.bring(halves())
    easel.choose_steps(9)
    made = easel.repaint("red")
    np.testing.assert_array_equal(easel.shown(), made)  # what is decoded is what the server made
    assert difference(made, decoded(halves())) > 20  # which is another picture,
    upper = made[6:26, 29:67]
    assert difference(easel.seen(), upper) < 4  # and it is on the screen,
    assert difference(easel.seen(), decoded(halves())[6:26, 29:67]) > 20  # and the old one is not


@pytest.mark.parametrize(("executed", "percent"), [(1, 2), (14, 28), (29, 59)])
def test_as_many_steps_run_as_the_slider_says(
    easel: Easel, server: Running, executed: int, percent: int
) -> None:
    """29 of 50 is not 58 %: int(50 * 0.58) is 28."""
    easel.settings()
    easel.at("#steps").fill("50")
    easel.choose_steps(executed)
    assert easel.reading() == (executed, 50)
    assert easel.text("#reading").startswith(f"{percent} % · {executed} of 50 steps")
    easel.repaint("red")
    job = server.job(easel.jobs[0].json()["id"])
    assert job["result"]["steps_run"] == executed
    assert f"{executed} steps" in easel.text("#made-of")
    assert "about" in easel.text("#reading")  # now it knows how long that takes


def test_the_time_it_takes_follows_the_size_asked_for(easel: Easel, knobs: Knobs) -> None:
    knobs.step_seconds = 0.5
    easel.bring(halves(128, 64))
    easel.choose_steps(5)
    easel.repaint("red")
    few = _about(easel)
    easel.bring(halves(512, 256))  # 16 times as many pixels
    expect(easel.at("#reading")).not_to_contain_text(f"about {few} s")
    many = _about(easel)
    assert many == pytest.approx(16 * few, rel=0.2)
    easel.settings()
    easel.at("#n").fill("2")
    assert _about(easel) == pytest.approx(2 * many, abs=1)
    easel.at("#words").click()
    easel.at("#size").select_option("64x64")
    easel.at("#n").fill("1")
    easel.at("#steps").fill("5")
    assert _about(easel) == pytest.approx(few / 2, abs=1)


def test_the_servers_own_measure_follows_the_size_too(tmp_path: Path, visit: Open) -> None:
    knobs = Knobs(step_seconds=0.2)
    with serving(Config(port=0), [fake_served(tmp_path, "fake", knobs)]) as server:
        side = server.client.get("/v1/capabilities").json()["models"][0]["sizes"]["default"][
            "width"
        ]
        server.ended(server.submit(size=f"{side}x{side}", steps=10)["id"])
        easel = visit(server.url)
        easel.bring(halves(side, side))
        easel.choose_steps(10)
        few = _about(easel)
        easel.bring(halves(2 * side, 2 * side))
        expect(easel.at("#reading")).not_to_contain_text(f"about {few} s")
        assert _about(easel) == pytest.approx(4 * few, rel=0.3)


def _about(easel: Easel) -> int:
    """Seconds that a run is said to take."""
    found = re.search(r"about (a second|(\d+) s)", easel.text("#reading"))
    assert found is not None, easel.text("#reading")
    return int(found[2] or 1)


@pytest.mark.parametrize("rounding", ["down", "up"])
def test_the_page_counts_steps_as_the_engines_do(easel: Easel, rounding: Rounding) -> None:
    strengths, most = [percent / 100 for percent in range(1, 101)], 60
    counted = easel.page.evaluate(COUNTED, [strengths, most, rounding])
    for n in range(1, most + 1):
        ours = [n - steps_to_skip(n, strength, rounding) for strength in strengths]
        assert counted[n - 1] == {"steps": ours, "back": [*range(1, n + 1)]}


def test_the_presets_are_strengths_in_words(easel: Easel) -> None:
    for name, steps in (("Touch-up", 3), ("Restyle", 6), ("Reimagine", 8)):
        button = easel.page.get_by_role("button", name=name)
        button.click()
        assert easel.reading() == (steps, 10)
        expect(button).to_have_attribute("aria-pressed", "true")
    easel.at("#strength").press("ArrowLeft")
    assert easel.reading() == (7, 10)


def test_progress_is_live_and_a_preview_shows_what_is_coming(easel: Easel, knobs: Knobs) -> None:
    knobs.step_seconds = 0.3
    easel.bring(halves())
    easel.choose_steps(10)
    easel.at("#prompt").fill("red")
    easel.at("#run").click()
    expect(easel.at("#preview")).to_have_attribute("src", _JPEG)
    expect(easel.at("#bar")).to_have_attribute("aria-valuemax", "10")
    expect(easel.at("#progress-text")).to_contain_text("left")
    knobs.gate.clear()  # hold still, to look at it
    easel.page.wait_for_timeout(400)
    first = int(easel.at("#bar").get_attribute("aria-valuenow") or 0)
    preview = easel.shown("#preview")
    assert max(preview.shape[:2]) == 256
    assert difference(preview, decoded(halves())) > 10
    assert difference(easel.seen(), preview[17:68, 77:179]) < 4  # and it is on the screen
    knobs.gate.set()
    easel.see("result")
    assert 1 <= first < 10
    expect(easel.at("#live")).to_contain_text("Done in")
    expect(easel.at("#progress")).to_be_hidden()


def test_the_place_in_the_queue_is_told(easel: Easel, server: Running, knobs: Knobs) -> None:
    knobs.gate.clear()
    size = {"size": "64x64"}
    server.until(server.submit(**size)["id"], "running")
    server.submit(**size)
    easel.at("#run").click()
    easel.says("#progress-text", "In the queue: 1 is before yours.")
    knobs.gate.set()
    easel.see("result")


def test_the_slider_compares_before_and_after_by_keyboard(easel: Easel) -> None:
    easel.bring(halves())
    easel.choose_steps(9)
    made = easel.repaint("red")
    before, after = decoded(halves())[6:26], made[6:26]
    compare = easel.at("#compare")
    compare.focus()
    easel.page.keyboard.press("End")
    expect(compare).to_have_attribute("aria-valuetext", "100 % of the picture before")
    assert difference(easel.seen(), before[:, 29:67]) < 4
    easel.page.keyboard.press("Home")
    assert difference(easel.seen(), after[:, 29:67]) < 4
    for _ in range(50):
        easel.page.keyboard.press("ArrowRight")
    assert difference(easel.seen((0.05, 0.4)), before[:, 5:38]) < 4
    assert difference(easel.seen((0.6, 0.95)), after[:, 58:91]) < 4


def test_a_new_seed_makes_another_picture_and_a_kept_one_the_same(easel: Easel) -> None:
    easel.bring(halves())
    easel.choose_steps(9)
    first = easel.repaint("red")
    seed = easel.at("#seed").input_value()
    assert f"seed {seed}" in easel.text("#made-of")
    easel.at("#again").click()
    second = easel.finished()
    assert easel.at("#seed").input_value() != seed
    assert not np.array_equal(first, second)
    easel.at("#seed").fill(seed)
    expect(easel.at("#lock")).to_have_attribute("aria-pressed", "true")
    np.testing.assert_array_equal(easel.repaint("red"), first)
    easel.at("#lock").click()
    assert not np.array_equal(easel.repaint("red"), first)


@pytest.mark.parametrize("how", ["Escape", "the button"])
def test_a_run_is_cancelled(easel: Easel, server: Running, knobs: Knobs, how: str) -> None:
    knobs.gate.clear()
    calls = knobs.count("unet")
    easel.at("#run").click()
    easel.says("#progress-text", "Reading the picture and the prompt…")
    if how == "Escape":
        easel.page.keyboard.press("Escape")
    else:
        easel.at("#cancel").click()
        expect(easel.at("#run")).to_be_focused()  # not lost, though the pressed button was hidden
    easel.says("#notice", "Cancelled.")
    easel.see("picture")
    knobs.gate.set()
    assert server.ended(easel.jobs[0].json()["id"])["status"] == "cancelled"
    assert knobs.count("unet") - calls <= 1  # it ended within the step that it was in
    easel.repaint("red")


def test_copy_mode_keeps_to_the_picture(easel: Easel, server: Running) -> None:
    easel.bring(halves())
    easel.page.get_by_text("Copy", exact=True).click()
    expect(easel.at("#strength")).to_be_hidden()
    expect(easel.at("#styles")).to_be_hidden()
    assert easel.text("#reading").startswith("5 % · 15 steps")
    made = easel.repaint("red")
    result = server.job(easel.jobs[0].json()["id"])["result"]
    assert (result["settings"]["mode"], result["steps_run"]) == ("copy", 15)
    assert result["settings"]["prompt"] == "red"
    assert result["settings"]["strength"] <= 0.05
    easel.page.get_by_text("Modify", exact=True).click()
    easel.choose_steps(9)
    kept, changed = (difference(one, decoded(halves())) for one in (made, easel.repaint("red")))
    assert kept < changed / 1.5
    easel.at("#results button").nth(1).click()
    assert easel.text("#made-of").splitlines()[-1].startswith("copy · 15 steps")


def test_the_words_added_to_the_prompt_are_seen_edited_and_left_out(
    easel: Easel, server: Running
) -> None:
    easel.bring(halves())
    rows = easel.at("#style-rows tr")
    expect(rows).to_have_count(3)
    rows.nth(0).locator("input[type=text]").fill("moonlight")
    rows.nth(1).locator("input[type=checkbox]").uncheck()
    expect(rows.nth(1).locator("input[type=text]")).to_be_disabled()
    easel.settings()
    easel.at("#negative").fill("fog")
    easel.repaint("red")
    settings = server.job(easel.jobs[0].json()["id"])["result"]["settings"]
    assert settings["prompt"] == "red, moonlight, cinematic, highly detailed"
    assert settings["negative_prompt"] == "fog"
    assert settings["prompt"] in easel.text("#made-of")  # what was run is what is told


def test_what_the_server_would_avoid_is_not_asked_for_without_guidance(easel: Easel) -> None:
    easel.bring(halves())
    easel.settings()
    assert easel.at("#negative").input_value()
    easel.at("#guidance").fill("1")
    easel.repaint("red")
    assert "negative_prompt" not in easel.jobs[0].request.post_data_json
    easel.at("#negative").fill("fog")
    easel.repaint("red")
    assert easel.jobs[1].request.post_data_json["negative_prompt"] == "fog"


def test_what_was_asked_is_what_ran(easel: Easel, server: Running) -> None:
    easel.settings()
    easel.at("#steps").fill("12")
    easel.at("#guidance").fill("3.5")
    easel.at("#sampler").select_option("dpmpp-2m")
    easel.choose_steps(6)
    easel.repaint("blue")
    settings = server.job(easel.jobs[0].json()["id"])["result"]["settings"]
    ran = (settings["steps"], settings["guidance_scale"], settings["sampler"])
    assert ran == (12, 3.5, "dpmpp-2m")
    assert settings["strength"] == 0.5


def test_a_cut_prompt_is_told(easel: Easel) -> None:
    easel.repaint("red red red red red red red")
    easel.says("#warnings", "cut")


def test_one_of_several_models_is_chosen_by_name(tmp_path: Path, visit: Open) -> None:
    served = [fake_served(tmp_path, "first"), fake_served(tmp_path, "second")]
    with serving(Config(port=0), served) as server:
        easel = visit(server.url)
        easel.at("#model").select_option("second")
        easel.repaint("red")
        assert server.job(easel.jobs[0].json()["id"])["model"] == "second"


_JPEG = re.compile("^data:image/jpeg;base64,")
