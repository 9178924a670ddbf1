"""Photograph the page for the documentation: `python -m tests.serve.page.pictures`.

The embedded model paints; seeds are fixed, so that the pictures change only where the page does.
"""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from tests.serve.page.conftest import QUIET
from tests.serve.page.easel import Easel
from tests.serve.running import serving

from overpaint.serve.command import styles_of
from overpaint.serve.config import Config
from overpaint.serve.jobs.engines.bundles import Opening, served_bundle

PICTURES = Path(__file__).parents[3] / "docs" / "pictures"
DESK: dict[str, Any] = {"viewport": {"width": 1360, "height": 860}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "has_touch": True,
    "is_mobile": True,
}


DRAWING = (
    ("grass", 34, ((0, 0.9), (1, 0.9))),
    ("grass", 30, ((0, 0.72), (0.3, 0.62), (0.6, 0.72), (1, 0.66))),
    ("rock", 12, ((0.05, 0.52), (0.22, 0.3), (0.4, 0.5))),
    ("snow", 6, ((0.18, 0.34), (0.22, 0.27), (0.27, 0.34))),
    ("sun", 12, ((0.78, 0.2), (0.79, 0.2))),
    ("water", 10, ((0.55, 0.85), (1, 0.9))),
    ("trees", 8, ((0.2, 0.7), (0.22, 0.75))),
)
"""(colour, size, way) of each stroke, in shares of the drawing's sides."""


def photograph(browser: Browser, url: str) -> None:
    easel = _visit(browser, url, "light", DESK)
    _save(easel, "page-light.png")
    easel.repaint(None)
    easel.at("#compare").fill("45")
    _save(easel, "page-compare.png")

    easel.at("#run").click()
    easel.at("#ideas button").last.click()
    easel.at("#run").click()
    easel.page.wait_for_function("() => document.querySelector('#preview.here')")
    _save(easel, "page-running.png")

    easel = _visit(browser, url, "light", DESK)
    _paint_the_sky(easel)
    _save(easel, "page-mask.png")

    easel = _visit(browser, url, "light", DESK)
    _draw(easel)
    _save(easel, "page-live.png")

    easel = _visit(browser, url, "dark", DESK)
    easel.repaint(None)
    _save(easel, "page-dark.png")

    easel = _visit(browser, url, "light", PHONE)
    _save(easel, "page-phone.png")
    easel.repaint(None)
    _save(easel, "page-phone-result.png")

    easel = _visit(browser, url, "light", PHONE)
    _paint_the_sky(easel)
    _save(easel, "page-phone-mask.png")


def _visit(browser: Browser, url: str, scheme: Any, device: dict[str, Any]) -> Easel:
    context = browser.new_context(reduced_motion="reduce", color_scheme=scheme, **device)
    easel = Easel(context.new_page(), url).open()
    easel.at("#seed").fill("7")
    easel.at("#seed").blur()
    easel.page.evaluate("scrollTo(0, 0)")  # typing the seed brought it into sight
    return easel


def _paint_the_sky(easel: Easel) -> None:
    """From side to side and back, down to the mountains."""
    easel.at("#part").click()
    easel.at("#brush-size").fill("22")
    easel.at("#feather").fill("2")
    easel.page.evaluate("scrollTo(0, 0)")
    box = easel.at("#mask").bounding_box()
    assert box is not None
    mouse = easel.page.mouse
    for number, (x, y) in enumerate([(0, 0.05), (1, 0.05), (1, 0.2), (0, 0.2), (0.05, 0.3)]):
        mouse.move(box["x"] + x * (box["width"] - 1), box["y"] + y * box["height"], steps=8)
        if number == 0:
            mouse.down()
    mouse.up()


def _draw(easel: Easel) -> None:
    """A mountain over meadows, a lake and the sun; live, at sunset."""
    easel.at("#prompt").fill("summer mountains at sunset")
    easel.at("#live-switch").click()
    box = easel.at("#live-canvas").bounding_box()
    assert box is not None
    mouse = easel.page.mouse
    for colour, size, way in DRAWING:
        easel.at("#live-colours button").filter(has_text=colour).click()
        easel.at("#live-size").fill(str(size))
        for number, (x, y) in enumerate(way):
            mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=8)
            if number == 0:
                mouse.down()
        mouse.up()
    easel.page.wait_for_timeout(3000)  # until the last of it is repainted


def _save(easel: Easel, name: str) -> None:
    easel.page.mouse.move(0, 0)
    easel.page.wait_for_timeout(300)
    photo = Image.open(io.BytesIO(easel.page.screenshot())).convert("RGB")
    photo.save(PICTURES / name, optimize=True)


def main() -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    with (
        serving(
            Config(port=0, styles=styles_of(None, embedded=True)),
            [served_bundle(None, Opening(device="cpu"))],
        ) as server,
        sync_playwright() as play,
    ):
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=[*QUIET])
        photograph(browser, server.url)
        browser.close()


if __name__ == "__main__":
    main()
