"""What goes wrong is mended in silence where it can be, and told in a plain sentence where not."""

from __future__ import annotations

import re
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from playwright.sync_api import Route, expect
from tests.serve.engine import Knobs, fake_served
from tests.serve.page.conftest import Open
from tests.serve.page.easel import SECONDS, Easel, halves
from tests.serve.process import started
from tests.serve.running import serving

from overpaint.serve.config import Config
from overpaint.serve.jobs.engines.worker import Pipeline

SOCKETS = """window.sockets = [];
window.WebSocket = class extends WebSocket {
    constructor(...given) {
        super(...given);
        window.sockets.push(this);
        this.addEventListener('message', () => { this.heard = true; });
    }
};"""


def test_an_expired_upload_is_uploaded_again_in_silence(tmp_path: Path, visit: Open) -> None:
    with serving(Config(port=0, upload_seconds=1), [fake_served(tmp_path)]) as server:
        easel = visit(server.url)
        easel.bring(halves())
        easel.repaint("red")
        easel.page.wait_for_timeout(1100)
        easel.repaint("blue")
        assert len(easel.uploads) == 2
        assert len(easel.media) == 2
        easel.quiet()


def test_a_picture_is_uploaded_once_for_several_runs(easel: Easel) -> None:
    easel.bring(halves())
    easel.repaint("red")
    easel.repaint("blue")
    assert len(easel.uploads) == 1


def test_a_lost_connection_is_taken_up_again(easel: Easel, knobs: Knobs) -> None:
    easel.page.add_init_script(SOCKETS)
    easel.open()
    knobs.gate.clear()
    easel.at("#run").click()
    easel.says("#progress-text", "Reading the picture and the prompt…")
    easel.page.wait_for_function("() => window.sockets[0]?.heard")
    easel.page.evaluate("window.sockets[0].close()")
    easel.page.wait_for_function("() => window.sockets[1]?.readyState === 1")
    knobs.gate.set()
    easel.see("result")
    opened = easel.page.evaluate("window.sockets.map(socket => socket.url)")
    assert len(opened) == 2
    assert opened[0].endswith("?after=0")
    assert not opened[1].endswith("?after=0")  # it says what it has seen
    easel.quiet()


def test_a_finished_picture_is_fetched_again_when_the_connection_broke(easel: Easel) -> None:
    broken = []

    def break_once(route: Route) -> None:
        if broken:
            route.continue_()
        else:
            broken.append(route.request.url)
            route.abort()

    easel.page.route("**/v1/media/*", break_once)
    made = easel.repaint("red")
    np.testing.assert_array_equal(easel.shown(), made)
    assert "The connection was lost. Reconnecting…" in easel.told()
    easel.quiet()


def test_a_restarted_server_is_found_again_and_the_lost_job_is_told(
    tmp_path: Path, visit: Open
) -> None:
    knobs = Knobs(step_seconds=0.5)
    with ExitStack() as first:
        old = first.enter_context(
            serving(Config(port=0), [fake_served(tmp_path / "a", "fake", knobs)])
        )
        port = old.port
        easel = visit(old.url)
        easel.bring(halves())
        easel.choose_steps(10)
        easel.at("#prompt").fill("red")
        easel.at("#run").click()
        expect(easel.at("#bar")).to_have_attribute("aria-valuenow", re.compile("[1-9]"))
    easel.says("#progress-text", "The connection was lost. Reconnecting…")
    with serving(Config(port=port), [fake_served(tmp_path / "b")]) as new:
        easel.says("#notice", "The server was restarted, and this job was lost with it.")
        made = easel.repaint(None)  # the picture is still in the page, and goes up again
        assert len(easel.uploads) == 2
        np.testing.assert_array_equal(easel.shown(), made)
        assert new.job(easel.jobs[-1].json()["id"])["status"] == "completed"


def test_a_killed_server_goes_on_with_the_job_that_the_page_watches(
    tmp_path: Path, visit: Open
) -> None:
    with started(tmp_path, step_seconds=1) as server:
        easel = visit(server.url)
        easel.bring(halves())
        easel.choose_steps(10)
        easel.at("#run").click()
        easel.says("#progress-text", re.compile("Step [1-9] of 10"))
        server.kill()
        easel.says("#progress-text", "The connection was lost. Reconnecting…")
    with started(tmp_path, port=httpx.URL(easel.url).port or 0):
        made = easel.finished()
        np.testing.assert_array_equal(easel.shown(), made)
    assert len(easel.jobs) == 1
    easel.quiet()


def test_results_on_the_page_outlive_the_server(tmp_path: Path, visit: Open) -> None:
    with serving(Config(port=0), [fake_served(tmp_path)]) as server:
        easel = visit(server.url)
        made = easel.repaint("red")
        file = easel.file()
    np.testing.assert_array_equal(easel.shown(), made)
    easel.at("#run").click()
    easel.says("#notice", "The server does not answer. Is it still running?")
    easel.at("#results button").click()
    np.testing.assert_array_equal(easel.shown(), made)
    with easel.page.expect_download() as download:
        easel.at("#download").click()
    assert download.value.path().read_bytes() == file


def test_an_engine_that_fails_is_told_and_the_form_stays(easel: Easel, knobs: Knobs) -> None:
    knobs.failures = [RuntimeError("a secret of the engine")]
    easel.at("#prompt").fill("red")
    easel.at("#run").click()
    easel.says("#notice", "The engine failed")
    assert "secret" not in easel.text("#notice")
    assert easel.at("#prompt").input_value() == "red"
    easel.repaint(None)
    easel.quiet()


def test_a_full_queue_is_waited_for(tmp_path: Path, visit: Open) -> None:
    knobs = Knobs()
    with serving(Config(port=0, queue=1), [fake_served(tmp_path, "fake", knobs)]) as server:
        server.ended(server.submit(size="64x64")["id"])  # now the server knows how long one takes
        knobs.gate.clear()
        server.until(server.submit(size="64x64")["id"], "running")
        server.submit(size="64x64")
        easel = visit(server.url)
        easel.at("#run").click()
        easel.says("#progress-text", "The queue is full. Trying again in")
        knobs.gate.set()
        easel.see("result")


def test_a_model_that_is_still_loading_is_waited_for(tmp_path: Path, visit: Open) -> None:
    loaded, served = threading.Event(), fake_served(tmp_path)

    def open_late() -> Pipeline:
        loaded.wait(SECONDS)
        return served.open()

    with serving(Config(port=0), [replace(served, open=open_late)], ready=False) as server:
        easel = visit(server.url)
        easel.at("#run").click()
        easel.says("#progress-text", "The model is still loading.")
        loaded.set()
        easel.see("result")


def test_a_server_that_is_not_there_yet_is_waited_for(server: object, easel: Easel) -> None:
    easel.page.route("**/v1/capabilities", lambda route: route.abort())
    easel.open(picture=False)
    easel.says("#progress-text", "The server does not answer. Trying again…")
    expect(easel.at("#run")).to_be_disabled()
    easel.page.unroute("**/v1/capabilities")
    easel.see("picture")
    easel.repaint("red")


def test_an_empty_prompt_is_asked_for(easel: Easel) -> None:
    easel.at("#prompt").fill("  ")
    easel.at("#run").click()
    easel.says("#notice", "Say in a few words what it should become.")
    expect(easel.at("#prompt")).to_be_focused()
    assert easel.jobs == []


def test_a_value_out_of_range_is_not_sent(easel: Easel) -> None:
    easel.settings()
    easel.at("#steps").fill("100000")
    easel.at("#run").click()
    expect(easel.at("#steps")).to_be_focused()
    assert easel.jobs == []


def test_a_seed_that_a_browser_cannot_hold_is_not_sent(easel: Easel) -> None:
    easel.at("#seed").fill("99999999999999999999")
    easel.at("#run").click()
    expect(easel.at("#seed")).to_be_focused()
    assert easel.jobs == []


def test_a_refusal_of_the_server_is_told_in_its_words(easel: Easel) -> None:
    easel.settings()
    # A sampler that this model was not trained for, and which is therefore not offered.
    easel.at("#sampler").evaluate("select => select.add(new Option('flow-euler'))")
    easel.at("#sampler").select_option("flow-euler")
    easel.at("#run").click()
    easel.says("#notice", "flow")
    easel.see("picture")


@pytest.mark.parametrize("way", ["dialog", "link"])
def test_a_server_with_a_token_asks_for_it(tmp_path: Path, visit: Open, way: str) -> None:
    token = "a token with +/= in it"
    with serving(Config(port=0, token=token), [fake_served(tmp_path)]) as server:
        if way == "link":
            easel = visit(f"{server.url}", picture=False)
            easel.page.goto("about:blank")
            easel.page.goto(f"{server.url}/#token={token.replace('+', '%2B')}")
        else:
            easel = visit(server.url, picture=False)
            easel.at("#token").fill("not the right one")
            easel.at("#sign-in button").click()
            easel.says("#sign-in-why", "That was not it.")
            easel.at("#token").fill(token)
            easel.at("#sign-in button").click()
        easel.see("picture")
        assert token not in easel.page.url
        easel.token = token
        easel.repaint("red")


def test_words_from_people_are_never_markup(easel: Easel) -> None:
    nasty = "<img src=x onerror=\"document.title='taken'\"><b>red</b>"
    easel.repaint(nasty)
    assert nasty in easel.text("#made-of")
    assert easel.at("#made-of img").count() == 0
    assert easel.page.title() == "overpaint"
