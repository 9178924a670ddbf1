"""What --ray cannot do is refused by name, and a report has a line for each picture."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pyarrow.parquet
import pytest
from tests.cli.typed import Command
from tests.doubles.engines import FakeEngines

from overpaint.bundle.errors import BrokenExtraError, DiskFullError, MissingExtraError

ALL = ("a.png", "b.png", "c.png", "red")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("a.png", "red", "-o", "out.png", "--ray", "local"), "--ray: it spreads pictures"),
        (("-", "a.png", "red", "-o", "out", "--ray", "local"), "-: no worker of a cluster"),
        ((*ALL, "-o", "out", "--ray", "127.0.0.1:1"), "no Ray cluster at 127.0.0.1:1"),
        ((*ALL, "-o", "out", "--workers", 2), "--workers: it is for a cluster"),
        ((*ALL, "-o", "out", "--ray", "local", "--workers", 0), "--workers: expected 1 or more"),
        ((*ALL, "-o", "out", "--ray", "local", "--patience", 0), "--patience: expected seconds"),
        ((*ALL, "-o", "out", "--report", "report.txt"), "--report report.txt: expected a file"),
    ],
)
def test_what_a_cluster_cannot_do_is_refused_in_one_line(
    overpaint: Command, opened: list[FakeEngines], words: tuple[object, ...], says: str
) -> None:
    done = overpaint(*words)
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert says in done.err
    assert opened == []


def test_a_report_says_of_each_picture_what_became_of_it(overpaint: Command) -> None:
    Path("bad.png").write_text("no picture")
    words = ("a.png", "bad.png", "c.png", "red", "-o", "out", "--seed", 3, "--skip-existing")
    overpaint(*words, "--report", "out/report.jsonl")
    lines = [json.loads(line) for line in Path("out/report.jsonl").read_text().splitlines()]
    told = {line["image"]: (line["status"], line["outputs"], line["seeds"]) for line in lines}
    assert told["c.png"] == ("painted", ["out/c.png"], [3])
    assert told["bad.png"][0] == "failed"
    assert "not a picture" in lines[1]["error"]
    overpaint(*words, "--report", "report.parquet")
    [kept] = (
        pyarrow.parquet.read_table("report.parquet")
        .filter(pyarrow.compute.field("image") == "c.png")
        .to_pylist()
    )
    assert (kept["status"], kept["error"]) == ("there", None)


@pytest.mark.parametrize(
    "error",
    [
        DiskFullError("no room"),
        MissingExtraError("heif", "pillow_heif"),
        BrokenExtraError("heif", "pillow_heif", ImportError("libheif.so.1: cannot open")),
    ],
)
def test_an_error_comes_back_from_a_worker_as_it_was(error: Exception) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), vars(back)) == (type(error), str(error), vars(error))
