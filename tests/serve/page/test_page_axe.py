"""axe-core finds nothing to complain of: by day and by night, on a desk and on a phone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from tests.serve.engine import Knobs
from tests.serve.page.conftest import Open
from tests.serve.page.easel import Easel, halves
from tests.serve.running import Running

DESK = {"viewport": {"width": 1366, "height": 768}}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}

SETTLED = """async () => {
    await new Promise(requestAnimationFrame);
    await Promise.allSettled(document.getAnimations().map(({ finished }) => finished));
    await new Promise(requestAnimationFrame);
}"""


def nothing(easel: Easel) -> None:
    """The page that stands there, further settings unfolded."""


def result(easel: Easel) -> None:
    easel.bring(halves())
    easel.repaint("red")


def running(easel: Easel) -> None:
    easel.at("#run").click()
    easel.at("#run").click()
    expect(easel.at("#jobs .name")).to_have_text(["next", "reading"])


def words_alone(easel: Easel) -> None:
    easel.at("#words").click()
    easel.see("empty")


def trouble(easel: Easel) -> None:
    easel.bring(b"%PDF-1.7 not a picture", "letter.pdf", "application/pdf")
    easel.says("#notice", "not a picture")


def several(easel: Easel) -> None:
    easel.at("#n").fill("3")
    easel.repaint("red")
    easel.see("sheet")


def offer(easel: Easel) -> None:
    easel.repaint("red")
    easel.drop(easel.file())
    expect(easel.at("#take")).to_be_visible()


def masking(easel: Easel) -> None:
    easel.at("#part").click()
    easel.at("#mask").click()
    expect(easel.at("#run-text")).to_have_text("Repaint this part")


def drawing(easel: Easel) -> None:
    easel.at("#live-switch").click()
    expect(easel.at("#live-snapshot")).to_be_visible()


STATES = [nothing, masking, drawing, result, running, several, words_alone, trouble, offer]


@pytest.mark.parametrize("device", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("come_to", STATES)
def test_axe_finds_nothing(
    server: Running,
    visit: Open,
    knobs: Knobs,
    come_to: Callable[[Easel], None],
    device: dict[str, object],
) -> None:
    if come_to is running:
        knobs.gate.clear()
    easel = visit(server.url, **device)
    easel.settings()
    come_to(easel)
    for scheme in SCHEMES:
        easel.page.emulate_media(color_scheme=scheme)
        easel.page.evaluate(SETTLED)
        assert _violations(easel) == [], scheme
    knobs.gate.set()
    expect(easel.at("#jobs li")).to_have_count(0)


def _violations(easel: Easel) -> list[str]:
    found = Axe().run(easel.page).response["violations"]
    return [
        f"{one['id']}: {node['html']}: {node['failureSummary']}"
        for one in found
        for node in one["nodes"]
    ]
