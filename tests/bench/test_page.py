"""The documentation's figures are those of the reports."""

from __future__ import annotations

from pathlib import Path

import msgspec
from tests.bench.reports import report, run

from overpaint.bench.compare import is_report
from overpaint.bench.performance_page import markdown, overview, page, written
from overpaint.bench.records import Ratio
from overpaint.bench.sheets import Sheet

HOUSE = Path(__file__).parents[2]


def test_a_page_holds_each_reports_figures_under_its_title() -> None:
    text = "\n\n".join(page({"embedded-cpu": report(run([41.0, 42.0, 43.0]))}))
    assert "## The embedded model on a CPU" in text
    assert "| p50 ms | 42 [–, –] |" in text


def test_it_begins_with_every_contenders_median_on_the_same_work() -> None:
    ours, slower = run([40.0] * 9), run([50.0] * 9, peer="diffusers")
    slower = msgspec.structs.replace(slower, ratio=Ratio(value=1.25, interval=(1.2, 1.3)))
    table = overview({"embedded-cpu": report(ours, slower), "tiny-cpu": report(ours)})
    assert table.rows == [("The embedded model on a CPU", "5", "40", "50 (1.25x)", "", "", "", "")]


def test_a_bar_in_a_cell_does_not_break_the_table() -> None:
    sheet = Sheet(("a", "b"), [("x|y", "1")])
    assert markdown(sheet).splitlines() == ["| a | b |", "| :-- | --: |", "| x/y | 1 |"]


def test_the_page_in_the_repository_is_the_one_that_its_reports_make() -> None:
    results = HOUSE / "bench" / "results"
    assert any(map(is_report, results.glob("*.json")))
    assert (HOUSE / "docs" / "performance.md").read_text("utf-8") == written(results)
