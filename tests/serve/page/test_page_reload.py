"""A reload loses nothing: the jobs under way go on, and what was made is still there."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from playwright.sync_api import Route, expect
from tests.serve.engine import Knobs, fake_served
from tests.serve.page.conftest import Open
from tests.serve.page.easel import Easel, decoded, halves
from tests.serve.page.test_page_queue import ask
from tests.serve.running import Running, serving

from overpaint.serve.config import Config

FURTHER = "step => Number(document.querySelector('#bar').ariaValueNow) > step"


def test_a_running_job_goes_on_after_a_reload(easel: Easel, knobs: Knobs) -> None:
    knobs.step_seconds = 0.3
    easel.bring(halves())
    easel.choose_steps(10)
    easel.at("#prompt").fill("red")
    easel.at("#run").click()
    easel.says("#progress-text", "Step 2 of 10")
    knobs.gate.clear()
    easel.page.wait_for_timeout(400)  # what was under way is told
    easel.page.reload()
    easel.see("running")
    easel.says("#progress-text", "of 10")
    np.testing.assert_array_equal(easel.shown("#before"), decoded(halves()))
    assert easel.at("#prompt").input_value() == "red"
    step = int(easel.at("#bar").get_attribute("aria-valuenow") or 0)
    knobs.gate.set()
    easel.page.wait_for_function(FURTHER, arg=step)
    made = easel.finished()
    np.testing.assert_array_equal(easel.shown(), made)
    assert len(easel.jobs) == 1  # it was not asked for again
    easel.page.reload()
    expect(easel.at("#jobs li")).to_have_count(0)


def test_jobs_in_the_queue_are_still_there_and_can_be_cancelled(
    easel: Easel, server: Running, knobs: Knobs
) -> None:
    knobs.gate.clear()
    for prompt in ("red", "blue"):
        easel.at("#prompt").fill(prompt)
        easel.at("#run").click()
    expect(easel.at("#jobs .name")).to_have_text(["next", "reading"])
    ids = [job.json()["id"] for job in easel.jobs]
    easel.page.reload()
    expect(easel.at("#jobs .name")).to_have_text(["next", "reading"])
    easel.page.get_by_role("button", name="Cancel: blue").click()
    expect(easel.at("#jobs .name")).to_have_text(["reading"])
    knobs.gate.set()
    easel.see("result")
    ended = [server.ended(one)["status"] for one in ids]
    assert ended == ["completed", "cancelled"]


def test_jobs_that_wait_for_room_in_the_queue_are_handed_in_after_a_reload(
    tmp_path: Path, visit: Open
) -> None:
    knobs = Knobs()
    with serving(Config(port=0, queue=1), [fake_served(tmp_path, "fake", knobs)]) as server:
        server.ended(server.submit(size="64x64")["id"])  # now the server knows how long one takes
        knobs.gate.clear()
        easel = visit(server.url)
        easel.bring(halves())
        for prompt in ("red", "blue", "green", "black"):
            ask(easel, prompt)
        waiting = ["waiting", "waiting", "next", "reading"]
        expect(easel.at("#jobs .name")).to_have_text(waiting)
        easel.page.wait_for_timeout(300)  # it is written down
        easel.page.reload()
        expect(easel.at("#jobs .name")).to_have_text(waiting)
        easel.page.reload()
        expect(easel.at("#jobs .name")).to_have_text(waiting)
        other = Easel(easel.page.context.new_page(), server.url).open(picture=False)
        expect(other.at("#jobs li")).to_have_count(2)  # those that the server has
        knobs.gate.set()
        expect(easel.at("#results button")).to_have_count(4)
        asked = [job.request.post_data_json["prompt"] for job in easel.jobs]
        assert asked == ["red", "blue", "green", "black"]
        assert other.jobs == other.complaints == []
        easel.page.reload()
        expect(easel.at("#jobs li")).to_have_count(0)
        np.testing.assert_array_equal(easel.shown("#before"), decoded(halves()))


def test_a_job_that_was_taken_while_the_page_left_is_not_handed_in_twice(
    easel: Easel, server: Running, knobs: Knobs
) -> None:
    knobs.gate.clear()
    handed_in = []

    def leave_unanswered(route: Route) -> None:
        if route.request.method == "POST":
            handed_in.append(route.fetch().json()["id"])
        else:
            route.continue_()

    easel.page.route("**/v1/jobs", leave_unanswered)
    easel.bring(halves())
    easel.at("#run").click()
    easel.says("#progress-text", "Sending it…")
    easel.page.wait_for_timeout(500)
    easel.page.reload()
    easel.says("#progress-text", "Reading the picture and the prompt…")
    knobs.gate.set()
    easel.see("result")
    expect(easel.at("#jobs li")).to_have_count(0)
    assert len(handed_in) == 1
    assert server.job(handed_in[0])["status"] == "completed"


def test_what_was_made_is_there_after_a_reload_even_without_the_server(
    tmp_path: Path, visit: Open
) -> None:
    with serving(Config(port=0), [fake_served(tmp_path)]) as server:
        easel = visit(server.url)
        easel.bring(halves())
        first, told = easel.repaint("red"), easel.text("#made-of")
        easel.repaint("blue")
        port, file = server.port, easel.file(0)
    with serving(Config(port=port), [fake_served(tmp_path / "other")]):  # has none of them
        easel.page.reload()
        easel.see("result")
        expect(easel.at("#results button")).to_have_count(2)
        easel.at("#results button").nth(1).click()
        np.testing.assert_array_equal(easel.shown(), first)
        assert easel.text("#made-of") == told
        np.testing.assert_array_equal(easel.shown("#before"), decoded(halves()))
        with easel.page.expect_download() as download:
            easel.at("#download").click()
        assert download.value.path().read_bytes() == file
        easel.at("#settings").click()
        easel.results = 2
        np.testing.assert_array_equal(easel.repaint(None), first)


def test_a_job_that_ended_meanwhile_is_fetched(easel: Easel, server: Running, knobs: Knobs) -> None:
    knobs.gate.clear()
    easel.at("#run").click()
    easel.says("#progress-text", "Reading the picture and the prompt…")
    job_id = easel.jobs[0].json()["id"]
    easel.page.goto("about:blank")
    knobs.gate.set()
    server.ended(job_id)
    easel.page.goto(easel.url)
    easel.see("result")
    np.testing.assert_array_equal(easel.shown(), decoded(easel.file()))


def test_a_job_whose_time_is_over_is_told_once(tmp_path: Path, visit: Open) -> None:
    knobs = Knobs()
    with serving(Config(port=0, result_seconds=1), [fake_served(tmp_path, "a", knobs)]) as server:
        easel = visit(server.url)
        knobs.gate.clear()
        easel.at("#run").click()
        easel.says("#progress-text", "Reading the picture and the prompt…")
        easel.page.goto("about:blank")
        knobs.gate.set()
        while server.state.jobs.busy:
            time.sleep(0.01)
        time.sleep(1.1)
        easel.page.goto(easel.url)
        easel.says("#notice", "This job ended long ago and is forgotten.")
        easel.page.reload()
        easel.see("picture")
        easel.quiet()


def test_a_second_tab_shares_what_was_made_and_what_is_under_way(
    easel: Easel, server: Running, knobs: Knobs
) -> None:
    easel.repaint("red")
    knobs.gate.clear()
    easel.at("#prompt").fill("blue")
    easel.at("#run").click()
    easel.says("#progress-text", "Reading the picture and the prompt…")
    other = Easel(easel.page.context.new_page(), server.url).open(picture=False)
    expect(other.at("#results button")).to_have_count(1)
    expect(other.at("#jobs li")).to_have_count(1)
    knobs.gate.set()
    for tab in (easel, other):
        expect(tab.at("#results button")).to_have_count(2)
    other.page.reload()
    expect(other.at("#results button")).to_have_count(2)  # and not three
    assert other.complaints == []


def test_a_browser_that_keeps_nothing_paints_all_the_same(server: Running, visit: Open) -> None:
    easel = visit(server.url, picture=False)
    easel.page.add_init_script("IDBFactory.prototype.open = null")
    easel.open()
    easel.repaint("red")
    easel.quiet()
    easel.page.reload()
    easel.see("picture")
