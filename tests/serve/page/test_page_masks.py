"""A part is painted over with the brush; what comes back differs from the picture there alone."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from playwright.sync_api import expect
from tests.serve.page.conftest import Open
from tests.serve.page.easel import Easel, Pixels, decoded, halves
from tests.serve.page.test_page_axe import PHONE
from tests.serve.running import Running

WIDE = (97, 65)  # no multiple of anything: the result must have it all the same
PICTURE = decoded(halves(*WIDE))
LEFT, RIGHT, MIDDLE = (0.2, 0.5), (0.8, 0.5), (0.5, 0.5)


@pytest.fixture
def easel(server: Running, visit: Open) -> Easel:
    """The page, ready for a part of a picture to be painted over."""
    return begun(visit(server.url))


def begun(easel: Easel) -> Easel:
    easel.bring(halves(*WIDE))
    expect(easel.at("#live")).to_contain_text("97 by 65")
    easel.at("#part").click()
    expect(easel.at("#mask")).to_be_visible()
    return easel


def paint(easel: Easel, *way: tuple[float, float]) -> None:
    """Draw with the mouse along `way`, in shares of the picture's sides."""
    box = easel.at("#mask").bounding_box()
    assert box is not None
    mouse = easel.page.mouse
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in way]
    mouse.move(*places[0])
    mouse.down()
    for place in places[1:]:
        mouse.move(*place, steps=5)
    mouse.up()


def overlay(easel: Easel) -> npt.NDArray[np.bool_]:
    """Where the mask lies over the picture, in the canvas' own pixels."""
    read = """canvas => [...canvas.getContext('2d')
        .getImageData(0, 0, canvas.width, canvas.height).data].filter((_, i) => i % 4 === 3)"""
    alpha = np.array(easel.at("#mask").evaluate(read))
    return np.asarray(alpha.reshape(WIDE[::-1]) > 127)


def asked(easel: Easel) -> dict[str, Any]:
    """What the page asked for last."""
    return dict(easel.jobs[-1].request.post_data_json)


def sent(server: Running, easel: Easel) -> Pixels:
    """The mask that went up with the last job, (H,W)."""
    file = server.state.uploads.get(asked(easel)["mask"])
    return np.asarray(Image.open(io.BytesIO(file)).convert("L"))


def at(pixels: Any, place: tuple[float, float]) -> Any:
    height, width = pixels.shape[:2]
    return pixels[int(place[1] * height), int(place[0] * width)]


def test_what_is_painted_over_is_repainted_and_nothing_else(server: Running, easel: Easel) -> None:
    expect(easel.at("#run-text")).to_have_text("Repaint")
    paint(easel, LEFT, (0.3, 0.4))
    expect(easel.at("#run-text")).to_have_text("Repaint this part")
    expect(easel.at("#mask-note")).to_be_hidden()
    painted = easel.repaint("red")
    mask = sent(server, easel)
    assert mask.shape == painted.shape[:2] == WIDE[::-1]
    assert (at(mask, LEFT), at(mask, (0.3, 0.4)), at(mask, RIGHT)) == (255, 255, 0)
    changed = (painted != PICTURE).any(axis=2)
    assert changed[mask == 255].mean() > 0.5
    assert not changed[mask == 0].any()
    easel.says("#made-of", "a part")


def test_the_mask_is_seen_through_over_the_picture(easel: Easel) -> None:
    paint(easel, LEFT)
    easel.page.mouse.move(0, 0)
    photo = decoded(easel.at("#frame").screenshot()).astype(int)
    bare, under = at(PICTURE, (0.9, 0.75)), at(PICTURE, (0.2, 0.45))
    assert np.abs(at(photo, (0.9, 0.75)) - bare).max() <= 3
    seen = at(photo, (0.2, 0.45))
    assert seen[0] > under[0] + 60  # reddish,
    assert np.abs(seen - (255, 77, 18)).max() > 20  # and the picture shines through


def test_the_result_is_compared_with_the_picture_inside_the_mask(easel: Easel) -> None:
    paint(easel, LEFT)
    easel.repaint("red")
    after, before = easel.shown("#after"), easel.shown("#before")
    differ = (after != before).any(axis=2)
    assert at(differ, LEFT)
    assert not differ[:, 50:].any()


def test_the_eraser_takes_away_and_each_act_can_be_undone(easel: Easel) -> None:
    paint(easel, LEFT, RIGHT)
    whole = overlay(easel)
    easel.page.keyboard.press("e")
    expect(easel.at("#eraser")).to_have_attribute("aria-pressed", "true")
    paint(easel, RIGHT)
    erased = overlay(easel)
    assert at(whole, RIGHT)
    assert not at(erased, RIGHT)
    assert at(erased, LEFT)
    easel.at("#invert").click()
    assert np.mean(overlay(easel) == erased) < 0.02
    easel.at("#clear").click()
    assert not overlay(easel).any()
    expect(easel.at("#run-text")).to_have_text("Repaint")
    easel.page.keyboard.press("Control+z")
    easel.at("#undo").click()
    assert np.array_equal(overlay(easel), erased)
    easel.page.keyboard.press("Control+z")
    assert np.array_equal(overlay(easel), whole)
    easel.page.keyboard.press("Control+z")
    assert not overlay(easel).any()
    expect(easel.at("#undo")).to_be_disabled()


def test_what_is_inverted_is_what_goes_to_the_server(server: Running, easel: Easel) -> None:
    paint(easel, LEFT)
    easel.at("#invert").click()
    painted = easel.repaint("red")
    mask = sent(server, easel)
    assert (at(mask, LEFT), at(mask, RIGHT)) == (0, 255)
    assert not (painted != PICTURE).any(axis=2)[mask == 0].any()


def test_brackets_change_the_brush_but_not_while_somebody_types(easel: Easel) -> None:
    size = easel.at("#brush-size")
    before = int(size.input_value())
    easel.page.keyboard.press("]")
    larger = int(size.input_value())
    easel.page.keyboard.press("[")
    easel.page.keyboard.press("[")
    smaller = int(size.input_value())
    assert smaller < before < larger
    for _ in range(40):
        easel.page.keyboard.press("[")
    assert int(size.input_value()) == 1
    paint(easel, MIDDLE)
    fine = overlay(easel).sum()
    size.fill("60")
    easel.at("#clear").click()
    paint(easel, MIDDLE)
    assert overlay(easel).sum() > 50 * fine
    easel.at("#prompt").fill("")
    easel.at("#prompt").press_sequentially("e]")
    assert easel.at("#prompt").input_value() == "e]"
    assert int(size.input_value()) == 60
    expect(easel.at("#eraser")).to_have_attribute("aria-pressed", "false")


def test_a_feather_is_asked_for_in_pixels_and_seen(easel: Easel) -> None:
    paint(easel, LEFT)
    easel.at("#feather").fill("6")
    assert "blur" in easel.at("#mask").evaluate("one => getComputedStyle(one).filter")
    easel.repaint("red")
    assert asked(easel)["mask_blur"] == 6
    easel.says("#made-of", "feather 6")


def test_a_part_that_is_not_wanted_any_more_is_not_asked_for(easel: Easel) -> None:
    paint(easel, LEFT)
    easel.at("#feather").fill("6")
    easel.at("#part").click()
    expect(easel.at("#mask")).to_be_hidden()
    expect(easel.at("#run-text")).to_have_text("Repaint")
    easel.repaint("red")
    assert not [name for name in asked(easel) if name.startswith("mask")]


def test_another_picture_begins_without_a_mask_and_the_first_keeps_its_own(easel: Easel) -> None:
    paint(easel, LEFT)
    painted = overlay(easel)
    easel.repaint("red")
    easel.at("#use").click()
    expect(easel.at("#mask")).to_be_visible()
    assert not overlay(easel).any()
    easel.at("#sources button").first.click()
    assert np.array_equal(overlay(easel), painted)


def test_further_words_about_a_mask_are_there_where_one_is(easel: Easel) -> None:
    easel.settings()
    fill = easel.at("#further-mask_fill")
    expect(fill).to_be_hidden()
    paint(easel, LEFT)
    fill.select_option("noise")
    easel.repaint("red")
    assert asked(easel)["mask_fill"] == "noise"
    easel.at("#sources button").first.click()
    easel.at("#clear").click()
    expect(fill).to_be_hidden()
    easel.repaint("red")
    assert "mask_fill" not in asked(easel)


def test_a_reload_keeps_the_mask_and_a_results_settings_bring_it_back(
    server: Running, easel: Easel
) -> None:
    paint(easel, LEFT, MIDDLE)
    painted = overlay(easel)
    first = easel.repaint("red")
    easel.page.reload()
    easel.see("result")
    expect(easel.at("#run-text")).to_have_text("Repaint this part")
    easel.at("#sources button").first.click()
    assert np.array_equal(overlay(easel), painted)
    easel.at("#part").click()
    easel.at("#results button").first.click()
    easel.at("#settings").click()
    expect(easel.at("#run-text")).to_have_text("Repaint this part")
    again = easel.repaint(None)
    assert np.array_equal(again, first)
    assert at(sent(server, easel), LEFT) == 255


def test_a_mask_whose_upload_is_gone_goes_up_again(server: Running, easel: Easel) -> None:
    paint(easel, LEFT)
    easel.at("#seed").fill("5")
    first = easel.repaint("red")
    server.state.uploads.drop(asked(easel)["mask"])
    assert np.array_equal(easel.repaint("red"), first)
    assert len(easel.uploads) == 4


def test_a_finger_paints_too(server: Running, visit: Open) -> None:
    easel = begun(visit(server.url, **PHONE))
    box = easel.at("#mask").bounding_box()
    assert box is not None
    touch = easel.page.context.new_cdp_session(easel.page)

    def finger(kind: str, *places: tuple[float, float]) -> None:
        points = [
            {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]} for x, y in places
        ]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    finger("touchStart", LEFT)
    for share in (0.3, 0.4):
        finger("touchMove", (share, 0.5))
    finger("touchStart", (0.4, 0.5), (0.8, 0.2))  # a second one, which paints nothing
    finger("touchMove", MIDDLE, (0.8, 0.5))
    finger("touchEnd")
    expect(easel.at("#undo")).to_be_enabled()
    drawn = overlay(easel)
    assert [bool(at(drawn, place)) for place in (LEFT, MIDDLE, RIGHT)] == [True, True, False]
    painted = easel.repaint("red")
    assert not (painted != PICTURE).any(axis=2)[sent(server, easel) == 0].any()
