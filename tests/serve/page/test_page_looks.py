"""How the page looks and feels: narrow, dark, by keyboard, still."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect
from tests.serve.page.conftest import Open
from tests.serve.page.easel import Easel, halves
from tests.serve.running import Running

CONTRAST = """selector => {
    const numbers = colour => {
        const canvas = new OffscreenCanvas(1, 1).getContext('2d');
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
        .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const element = document.querySelector(selector);
    let behind = element;
    const background = () => getComputedStyle(behind).backgroundColor;
    while (numbers(background())[3] < 255) behind = behind.parentElement;
    const pair = [getComputedStyle(element).color, background()];
    const [low, high] = pair.map(numbers).map(light).sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
}"""
ANIMATED = """() => ['.bar span', '#run']
    .map(one => parseFloat(getComputedStyle(document.querySelector(one)).transitionDuration))
    .reduce((sum, seconds) => sum + seconds)"""
UNDER = """selector => {
    const box = document.querySelector(selector).getBoundingClientRect();
    return document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2).id;
}"""
TEXTS = (
    "h1",
    "#device",
    "#prompt",
    "#ideas button",
    "#reading",
    "legend",
    ".hint",
    "#run",
    "summary",
)


@pytest.mark.parametrize("width", [320, 390])
def test_nothing_scrolls_sideways_on_a_phone(server: Running, visit: Open, width: int) -> None:
    phone = {"viewport": {"width": width, "height": 720}, "has_touch": True, "is_mobile": True}
    easel = visit(server.url, **phone)
    assert _overflow(easel) == 0
    box = easel.at("#run").bounding_box()
    assert box is not None
    assert 0 <= box["y"] <= 720 - box["height"]  # the button is in reach at once
    easel.at("#prompt").fill("red" + "a" * 200)
    easel.settings()
    easel.repaint(None)
    assert _overflow(easel) == 0
    stage = easel.at("#stage").bounding_box()
    assert stage is not None
    assert stage["y"] > -1  # the result came into sight


@pytest.mark.parametrize(("width", "height"), [(1366, 768), (1280, 720)])
def test_the_button_is_in_sight_on_a_laptop(
    server: Running, visit: Open, width: int, height: int
) -> None:
    easel = visit(server.url, viewport={"width": width, "height": height})
    assert easel.page.evaluate("document.documentElement.scrollHeight") <= height  # all of it is
    expect(easel.at("#run")).to_be_in_viewport(ratio=1)
    easel.settings()
    easel.bring(b"not a picture", "letter.pdf", "application/pdf")
    expect(easel.at("#notice")).to_be_visible()
    expect(easel.at("#run")).to_be_in_viewport(ratio=1)
    assert easel.page.evaluate("scrollY") == 0
    easel.at("#seed").focus()
    under = easel.page.evaluate(UNDER, "#seed")
    assert under == "seed"  # what is typed in is not hidden by the button


def _overflow(easel: Easel) -> int:
    return int(easel.page.evaluate("document.documentElement.scrollWidth - innerWidth"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_can_be_read_by_day_and_by_night(
    server: Running, visit: Open, scheme: str
) -> None:
    easel = visit(server.url, color_scheme=scheme)
    weak = {
        text: ratio
        for text in TEXTS
        if (ratio := easel.page.evaluate(CONTRAST, text)) < 4.5  # WCAG 2.2, AA
    }
    assert weak == {}
    background = easel.page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(one) for one in background[4:-1].split(","))
    assert (brightness > 600) if scheme == "light" else (brightness < 120)


def test_a_whole_run_needs_no_pointer(easel: Easel) -> None:
    keys = easel.page.keyboard
    reached = []
    for _ in range(40):
        keys.press("Tab")
        focused = easel.page.evaluate("document.activeElement.id || document.activeElement.type")
        reached.append(focused)
        if focused == "run":
            break
    for stop in ("pick", "words", "prompt", "strength", "seed", "run"):
        assert stop in reached, (stop, reached)
    assert easel.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    keys.press("Enter")
    easel.finished()
    easel.at("#prompt").focus()
    keys.type(" and blue")
    keys.press("Control+Enter")
    easel.finished()
    assert len(easel.media) == 2
    easel.at("#again").focus()
    keys.press("Enter")
    easel.finished()
    expect(easel.at("#run")).to_be_focused()  # not lost, though the pressed button was hidden


def test_everything_that_can_be_pressed_has_a_name(easel: Easel) -> None:
    easel.bring(halves())
    easel.repaint("red")
    easel.settings()
    nameless = easel.page.evaluate(
        """() => [...document.querySelectorAll('button, a, input, select, textarea')]
            .filter(one => !one.ariaHidden)
            .filter(one => one.checkVisibility())
            .filter(one => !(one.innerText?.trim() || one.ariaLabel || one.labels?.length))
            .map(one => one.outerHTML)"""
    )
    assert nameless == []


def test_nothing_moves_for_those_who_ask_for_stillness(server: Running, visit: Open) -> None:
    moving = visit(server.url, reduced_motion="no-preference")
    moving.at("#run").click()
    moving.see("result")
    assert moving.page.evaluate(ANIMATED) > 0.3
    still = visit(server.url, reduced_motion="reduce")
    still.at("#run").click()
    still.see("result")
    assert still.page.evaluate(ANIMATED) < 0.001


def test_the_result_fills_the_screen_when_asked(easel: Easel) -> None:
    easel.repaint("red")
    easel.at("#full").click()
    easel.page.wait_for_function("() => document.fullscreenElement?.id === 'stage'")
    expect(easel.at("#compare")).to_be_visible()
