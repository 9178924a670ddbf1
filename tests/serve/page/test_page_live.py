"""Drawing live: what is drawn on the left is repainted on the right, while it is drawn."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect
from tests.serve.engine import Knobs, fake_served
from tests.serve.page.conftest import Open
from tests.serve.page.easel import SECONDS, Easel, Pixels, halves
from tests.serve.page.test_page_axe import DESK, PHONE
from tests.serve.running import Running, serving

from overpaint.serve.config import Config
from overpaint.serve.http.limits import Limits

LEFT, RIGHT, MIDDLE = (0.2, 0.5), (0.8, 0.5), (0.5, 0.5)


@pytest.fixture
def easel(server: Running, visit: Open) -> Easel:
    """The page, drawing live, its first picture there."""
    return begun(visit(server.url, **DESK))


def begun(easel: Easel) -> Easel:
    """Of low strength: what is made of a drawing looks like it."""
    easel.choose_steps(1)
    easel.at("#live-switch").click()
    settled(easel)
    return easel


def frames(easel: Easel) -> tuple[int, int]:
    """How many frames went up, and how many pictures came down."""
    up, down = (sum(isinstance(one, bytes) for one in way) for way in (easel.sent, easel.heard))
    return up, down


def settled(easel: Easel, more_than: int = 0) -> Pixels:
    """The picture on the right, once every frame that went up has come back."""
    for _ in range(SECONDS * 5):
        up, down = frames(easel)
        if up == down > more_than:
            easel.page.wait_for_timeout(150)
            if frames(easel) == (up, down):
                return easel.shown("#live-out")
        easel.page.wait_for_timeout(100)
    raise AssertionError(f"{frames(easel)} frames, {easel.text('#live-said')}")


def draw(easel: Easel, *way: tuple[float, float]) -> None:
    """With the mouse, in shares of the drawing's sides."""
    box = easel.at("#live-canvas").bounding_box()
    assert box is not None
    mouse = easel.page.mouse
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in way]
    mouse.move(*places[0])
    mouse.down()
    for place in places[1:]:
        mouse.move(*place, steps=5)
    mouse.up()


def take(easel: Easel, colour: str) -> None:
    easel.at("#live-colours button").filter(has_text=colour).click()


def opaque(easel: Easel) -> float:
    """The share of the drawing that has been drawn on."""
    read = """canvas => [...canvas.getContext('2d')
        .getImageData(0, 0, canvas.width, canvas.height).data].filter((_, i) => i % 4 === 3)"""
    return float(np.mean(np.array(easel.at("#live-canvas").evaluate(read)) > 127))


def changed(one: Pixels, other: Pixels, place: tuple[float, float]) -> float:
    """Mean difference around a place."""
    height, width = one.shape[:2]
    x, y, by = int(place[0] * width), int(place[1] * height), max(2, width // 16)
    parts = [pixels[y - by : y + by, x - by : x + by].astype(int) for pixels in (one, other)]
    return float(np.abs(parts[0] - parts[1]).mean())


def asked(easel: Easel) -> list[dict[str, Any]]:
    """What was said beside frames, in order."""
    return [json.loads(one) for one in easel.sent if isinstance(one, str)]


def test_the_picture_differs_where_something_was_drawn(easel: Easel) -> None:
    before = settled(easel)
    take(easel, "roof")
    draw(easel, LEFT, (0.25, 0.55))
    after = settled(easel, frames(easel)[1])
    assert after.shape == before.shape == (64, 64, 3)
    assert changed(before, after, LEFT) > 10
    assert changed(before, after, LEFT) > 5 * changed(before, after, RIGHT)


def test_it_is_repainted_before_the_pen_is_lifted(easel: Easel) -> None:
    before = settled(easel)
    known = frames(easel)[1]
    take(easel, "roof")
    box = easel.at("#live-canvas").bounding_box()
    assert box is not None
    easel.page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.5 * box["height"])
    easel.page.mouse.down()
    assert changed(before, settled(easel, known), LEFT) > 10
    known = frames(easel)[1]
    easel.page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.5 * box["height"], steps=30)
    assert changed(before, settled(easel, known), RIGHT) > 10
    easel.page.mouse.up()
    expect(easel.at("#live-said")).to_have_text(re.compile(r"^\d+ pictures? · .*\d+ ms$"))
    assert int(easel.text("#live-said").split()[0]) == frames(easel)[1]


def test_no_more_than_two_frames_are_under_way(easel: Easel, knobs: Knobs) -> None:
    up, down = frames(easel)
    knobs.gate.clear()
    draw(easel, LEFT, RIGHT, MIDDLE, LEFT, RIGHT)
    easel.page.wait_for_timeout(500)
    assert frames(easel) == (up + 2, down)
    knobs.gate.set()
    last = settled(easel, down + 2)  # what was drawn last is there all the same
    draw(easel, (0.5, 0.9))
    easel.at("#live-undo").click()
    assert np.array_equal(settled(easel, frames(easel)[1]), last)


def test_prompt_and_strength_change_it_at_once(easel: Easel) -> None:
    first = settled(easel)
    known = frames(easel)[1]
    easel.at("#prompt").fill("red and something else")
    other = settled(easel, known)
    assert not np.array_equal(other, first)
    assert asked(easel)[-1]["prompt"] == "red and something else"
    known = frames(easel)[1]
    easel.at("#strength").press("End")
    stronger = settled(easel, known)
    assert asked(easel)[-1]["strength"] == 1
    assert not np.array_equal(stronger, other)
    expect(easel.at("#reading")).to_have_text("100 %")


def test_eraser_undo_and_clear(easel: Easel) -> None:
    bare = settled(easel)
    draw(easel, LEFT, RIGHT)
    drawn = opaque(easel)
    easel.page.keyboard.press("e")
    expect(easel.at("#live-eraser")).to_have_attribute("aria-pressed", "true")
    draw(easel, RIGHT)
    assert 0 < opaque(easel) < drawn
    easel.page.keyboard.press("Control+z")
    assert opaque(easel) == drawn
    easel.at("#live-clear").click()
    assert opaque(easel) == 0
    assert np.array_equal(settled(easel, 1), bare)
    easel.at("#live-undo").click()
    assert opaque(easel) == drawn
    take(easel, "sun")
    expect(easel.at("#live-eraser")).to_have_attribute("aria-pressed", "false")


def test_the_keys_draw_too(easel: Easel) -> None:
    bare = settled(easel)
    keys = easel.page.keyboard
    easel.at("#live-canvas").focus()
    for key in ("ArrowLeft", "ArrowUp", "]"):
        keys.press(key)
    expect(easel.at("#live-ring")).to_be_visible()
    assert opaque(easel) == 0
    keys.press(" ")
    dot = opaque(easel)
    for _ in range(3):
        keys.press("ArrowRight")
    assert opaque(easel) > 1.5 * dot > 0
    keys.press(" ")
    line = opaque(easel)
    keys.press("ArrowDown")
    assert opaque(easel) == line  # the brush is up
    assert changed(bare, settled(easel, 1), (0.5, 0.45)) > 10


def test_a_finger_draws_and_the_page_does_not_scroll(server: Running, visit: Open) -> None:
    easel = begun(visit(server.url, **PHONE))
    box = easel.at("#live-canvas").bounding_box()
    assert box is not None
    bare = settled(easel)
    touch = easel.page.context.new_cdp_session(easel.page)

    def finger(kind: str, *places: tuple[float, float]) -> None:
        points = [
            {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]} for x, y in places
        ]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    finger("touchStart", LEFT)
    for share in (0.3, 0.6, 0.9):
        finger("touchMove", (0.2, share))
    finger("touchEnd")
    expect(easel.at("#live-undo")).to_be_enabled()
    assert easel.page.evaluate("scrollY") == 0
    assert changed(bare, settled(easel, 1), (0.2, 0.8)) > 10
    assert easel.page.evaluate("document.documentElement.scrollWidth - innerWidth") == 0
    colours = easel.at("#live-colours").bounding_box()
    assert colours is not None
    assert colours["y"] + colours["height"] < 844  # drawing, picture and colours are in sight


def test_a_picture_is_a_start_and_what_is_made_becomes_one(easel: Easel) -> None:
    easel.bring(halves(96, 64))
    expect(easel.at("#live")).to_contain_text("96 by 64")
    sky = settled(easel)
    easel.at("#live-picture").click()
    over = settled(easel, frames(easel)[1])
    assert changed(sky, over, (0.5, 0.2)) > 10
    shown = easel.shown("#live-out")
    with easel.page.expect_download() as saved:
        easel.at("#live-download").click()
    assert saved.value.suggested_filename == "overpaint-live.jpg"
    assert Path(saved.value.path()).read_bytes()[:2] == b"\xff\xd8"
    easel.at("#live-use").click()
    easel.see("picture")
    assert np.array_equal(easel.shown("#before"), shown)
    expect(easel.at("#live-panel")).to_be_hidden()
    easel.repaint("red")


def test_a_camera_is_a_start_where_there_is_one(easel: Easel) -> None:
    known = frames(easel)[1]
    easel.at("#live-camera").click()
    settled_at = known + 5
    easel.page.wait_for_function(
        "n => parseInt(document.querySelector('#live-said').textContent) >= n", arg=settled_at
    )
    easel.at("#live-camera").click()
    settled(easel, settled_at - 1)


def test_the_session_ends_with_the_switch_and_with_the_tab(server: Running, easel: Easel) -> None:
    assert server.state.live == 1
    known = frames(easel)[1]
    draw(easel, LEFT)
    settled(easel, known)  # a frame under way when the switch is pressed never comes down
    easel.at("#live-switch").click()
    expect(easel.at("#stage")).to_be_visible()
    wait(easel, lambda: server.state.live == 0)
    known = frames(easel)[1]
    easel.at("#live-switch").click()
    settled(easel, known)
    assert opaque(easel) > 0  # the drawing is still there
    other = easel.page.context.new_page()
    easel.page.close()
    wait(easel, lambda: server.state.live == 0, other)


def wait(easel: Easel, true: Any, page: Any = None) -> None:
    for _ in range(SECONDS * 10):
        if true():
            return
        (page or easel.page).wait_for_timeout(100)
    raise AssertionError


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Running]:
    """A server with one seat, on which nobody may be idle."""
    config = Config(port=0, live_sessions=1, limits=Limits(live_idle_seconds=1.5))
    with serving(config, [fake_served(tmp_path)]) as server:
        yield server


def test_a_refusal_is_told_and_a_seat_that_becomes_free_is_taken(
    small: Running, visit: Open
) -> None:
    first = visit(small.url)
    second = visit(small.url)
    small.state.live += 1  # somebody draws
    second.at("#live-switch").click()
    second.says("#live-said", "No more than 1 may draw live here at once. Trying again…")
    expect(second.at("#live")).to_contain_text("No more than 1")
    small.state.live -= 1
    settled(second)
    expect(second.at("#live-said")).to_contain_text("picture")
    assert first.at("#live-panel").is_hidden()


def test_who_draws_nothing_is_paused_and_goes_on_with_a_stroke(small: Running, visit: Open) -> None:
    easel = begun(visit(small.url))
    easel.says("#live-said", "Paused")
    assert small.state.live == 0
    known = frames(easel)[1]
    draw(easel, LEFT, MIDDLE)
    settled(easel, known)


def test_a_server_that_goes_is_told_and_found_again(tmp_path: Path, visit: Open) -> None:
    served = [fake_served(tmp_path)]
    with serving(Config(port=0), served) as server:
        easel = begun(visit(server.url))
        port = server.port
    easel.says("#live-said", "The connection was lost. Reconnecting…")
    draw(easel, LEFT, MIDDLE)
    known = frames(easel)[1]
    with serving(Config(port=port), served):
        settled(easel, known)


def test_a_server_without_live_offers_none(tmp_path: Path, visit: Open) -> None:
    with serving(Config(port=0, live_sessions=0), [fake_served(tmp_path)]) as server:
        easel = visit(server.url)
        expect(easel.at("#run")).to_be_enabled()
        expect(easel.at("#live-switch")).to_be_hidden()
