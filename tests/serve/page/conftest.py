"""A real Chromium, one for each module of tests, and a server whose engines are NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright
from tests.programs import needed
from tests.serve.engine import Knobs, fake_served
from tests.serve.page.easel import SECONDS, Easel
from tests.serve.running import Running, serving

from overpaint.serve.config import Config

QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
Open = Callable[..., Easel]
KNOBS = Knobs()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = needed("chromium")
    expect.set_options(timeout=SECONDS * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*QUIET], headless=True)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of one bundle, which obeys `knobs`."""
    folder = tmp_path_factory.mktemp("page")
    with serving(Config(port=0), [fake_served(folder, "fake", KNOBS)]) as running:
        yield running


@pytest.fixture
def knobs() -> Iterator[Knobs]:
    """The module's engine: fast and well at the start of each test, and again after it."""
    yield KNOBS
    KNOBS.step_seconds = 0.0
    KNOBS.failures.clear()
    KNOBS.gate.set()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Open]:
    """Open the page at a URL. No visit may leave a complaint in the browser's console."""
    visits = []

    def open_page(url: str, *, picture: bool = True, **context: Any) -> Easel:
        context = {"viewport": {"width": 1100, "height": 760}, "reduced_motion": "reduce"} | context
        easel = Easel(browser.new_context(**context).new_page(), url)
        visits.append(easel)
        return easel.open(picture=picture)

    yield open_page
    for easel in visits:
        easel.page.context.close()
    assert [easel.complaints for easel in visits] == [[] for _ in visits]


@pytest.fixture
def easel(server: Running, visit: Open) -> Easel:
    """The page, opened, with the example picture on it."""
    return visit(server.url)
