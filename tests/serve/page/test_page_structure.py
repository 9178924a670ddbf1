"""Where a server has control networks, the picture's structure can be kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from playwright.sync_api import expect
from tests.serve.engine import fake_served
from tests.serve.page.conftest import Open
from tests.serve.page.easel import Easel, halves
from tests.serve.running import Running, serving

from overpaint.serve.config import Config


def asked(easel: Easel) -> dict[str, Any]:
    """What the page asked for last."""
    return dict(easel.jobs[-1].request.post_data_json)


def test_each_network_is_shown_what_was_chosen(tmp_path: Path, visit: Open) -> None:
    served = replace(fake_served(tmp_path), controls={"canny": None, "second": None, "union": 6})
    with serving(Config(port=0), [served]) as running:
        easel = visit(running.url)
        easel.at("#words").click()
        expect(easel.at("#structure")).to_be_hidden()
        easel.bring(halves())
        expect(easel.at("#structure")).to_be_visible()
        assert easel.at("#structure-list span").all_text_contents() == ["canny", "second"]
        row = easel.at("#structure-list li").first
        expect(row.locator("input")).to_be_hidden()
        row.locator("select").select_option("canny")
        row.locator("input").fill("0.7")
        easel.at("#run").click()
        expect(easel.at("#notice")).to_be_visible()  # this server's engine has none of them
        assert asked(easel)["control"] == {"canny": {"preprocessor": "canny", "scale": 0.7}}
        row.locator("select").select_option("")
        easel.at("#run").click()
        easel.page.wait_for_timeout(200)
        assert "control" not in asked(easel)


def test_a_server_without_networks_says_nothing_of_them(server: Running, visit: Open) -> None:
    easel = visit(server.url)
    easel.bring(halves())
    expect(easel.at("#structure")).to_be_hidden()
