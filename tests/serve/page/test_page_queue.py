"""Several jobs at a time: asked for one after the other, watched, cancelled."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from playwright.sync_api import expect
from tests.serve.engine import Knobs, fake_served
from tests.serve.page.conftest import Open
from tests.serve.page.easel import Easel, decoded, flat, halves
from tests.serve.running import Running, serving

from overpaint.serve.config import Config


def ask(easel: Easel, prompt: str) -> None:
    jobs = easel.at("#jobs li").count()
    easel.at("#prompt").fill(prompt)
    easel.at("#run").click()
    expect(easel.at("#jobs li")).to_have_count(jobs + 1)


def words(easel: Easel) -> list[str]:
    """What the tiles of the jobs under way say, the oldest first."""
    return easel.at("#jobs .name").all_inner_texts()[::-1]


def test_run_while_one_runs_adds_another(easel: Easel, knobs: Knobs) -> None:
    knobs.gate.clear()
    easel.bring(halves())
    ask(easel, "red")
    easel.says("#progress-text", "Reading the picture and the prompt…")
    ask(easel, "blue")
    easel.bring(flat((0, 90, 0)))  # what is under way keeps its own picture
    ask(easel, "green")
    expect(easel.at("#jobs .name")).to_have_text(["1 before", "next", "reading"])
    labels = [one.get_attribute("aria-label") for one in easel.at("#jobs .watch").all()]
    assert labels == ["Watch: green, 1 before", "Watch: blue, next", "Watch: red, reading"]
    easel.at("#jobs .watch").nth(1).click()
    easel.says("#progress-text", "In the queue: yours is next.")
    np.testing.assert_array_equal(easel.shown("#before"), decoded(halves()))
    knobs.gate.set()
    expect(easel.at("#results button")).to_have_count(3)
    expect(easel.at("#jobs li")).to_have_count(0)
    prompts = [one.get_attribute("aria-label") for one in easel.at("#results button").all()]
    assert [re.findall(": (.*),", str(one))[0] for one in prompts] == ["green", "blue", "red"]
    easel.see("result")
    assert easel.at("#after").get_attribute("alt") == "Repainted: blue"  # which was watched
    easel.quiet()


def test_each_of_several_jobs_is_cancelled_by_itself(
    easel: Easel, server: Running, knobs: Knobs
) -> None:
    knobs.gate.clear()
    for prompt in ("red", "blue", "green"):
        ask(easel, prompt)
    expect(easel.at("#jobs .name")).to_have_text(["1 before", "next", "reading"])
    easel.page.get_by_role("button", name="Cancel: blue").click()
    expect(easel.at("#jobs .name")).to_have_text(["next", "reading"])
    easel.says("#notice", "“blue”: Cancelled. Nothing was kept of it.")
    expect(easel.at("#run")).to_be_focused()
    easel.page.keyboard.press("Escape")  # the one on the easel
    easel.says("#notice", "“red”: Cancelled.")
    knobs.gate.set()
    expect(easel.at("#results button")).to_have_count(1)
    ended = [server.ended(job.json()["id"])["status"] for job in easel.jobs]
    assert ended == ["cancelled", "cancelled", "completed"]


def test_jobs_wait_in_their_order_for_room_in_the_queue(tmp_path: Path, visit: Open) -> None:
    knobs = Knobs()
    with serving(Config(port=0, queue=1), [fake_served(tmp_path, "fake", knobs)]) as server:
        server.ended(server.submit(size="64x64")["id"])  # now the server knows how long one takes
        knobs.gate.clear()
        easel = visit(server.url)
        for prompt in ("red", "blue", "green", "black"):
            ask(easel, prompt)
        expect(easel.at("#jobs .name")).to_have_text(["waiting", "waiting", "next", "reading"])
        easel.at("#jobs .watch").first.click()
        easel.says("#progress-text", "Sent after the one before it.")
        easel.at("#cancel").click()
        expect(easel.at("#jobs li")).to_have_count(3)
        knobs.gate.set()
        expect(easel.at("#results button")).to_have_count(3)
        asked = [job.request.post_data_json["prompt"] for job in easel.jobs]
        assert asked == ["red", "blue", "green"]


def test_a_double_click_asks_for_one_picture(easel: Easel, knobs: Knobs) -> None:
    knobs.gate.clear()
    easel.at("#run").dblclick()
    easel.says("#progress-text", "Reading the picture and the prompt…")
    assert words(easel) == ["reading"]
    knobs.gate.set()
    easel.see("result")
    assert len(easel.jobs) == 1
