"""`overpaint run --prompts`: one row a picture."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from overpaint.bundle.errors import UsageError
from overpaint.cli.app import app
from overpaint.cli.rows import read_rows
from overpaint.runtime.metadata import read_parameters

SUMMER = Path(__file__).parents[2] / "examples/summer.png"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png"):
        shutil.copy(SUMMER, tmp_path / name)
    return tmp_path


CSV = """image,prompt,strength,size,seed
a.png,winter,0.5,64x64,
b.png,"summer, at noon",,,9
"""
JSONL = """
{"image": "a.png", "prompt": "winter", "strength": 0.5, "size": [64, 64]}
{"image": "b.png", "prompt": "summer, at noon", "seed": 9}
"""


@pytest.mark.parametrize(("name", "text"), [("rows.csv", CSV), ("rows.jsonl", JSONL)])
def test_each_row_is_painted_with_its_own(pictures: Path, name: str, text: str) -> None:
    (pictures / name).write_text(text)
    out = pictures / "out"
    asked = [
        "run",
        "--prompts",
        str(pictures / name),
        "-o",
        str(out),
        "--steps",
        "4",
        "--seed",
        "3",
    ]
    done = CliRunner().invoke(app, [*asked, "--json"])
    assert done.exit_code == 0, done.output
    first, second = (read_parameters(out / one) for one in ("a.png", "b.png"))
    assert (first["prompt"], first["strength"], first["size"]) == ("winter", 0.5, [64, 64])
    assert (second["prompt"], second["strength"], second["size"]) == (
        "summer, at noon",
        0.4,
        [128, 128],
    )
    assert (first["seed"], second["seed"], first["steps"]) == (3, 9, 4)
    assert len(json.loads(done.stdout)["results"]) == 2
    again = CliRunner().invoke(app, [*asked, "--skip-existing"])
    assert "2 of 2 pictures were there already" in again.output
    (pictures / name).write_text(text.replace("winter", "spring"))
    other = CliRunner().invoke(app, [*asked, "--skip-existing"])
    assert isinstance(other.exception, UsageError)
    assert "holds the pictures of another run" in str(other.exception)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("image,prompt\n", "expected rows, found none"),
        ("image,prompt,strenght\na.png,x,1\n", "line 2: 'strenght' is no column"),
        ("image,prompt\na.png,\n", "line 2: expected prompt, got None"),
        ("image,prompt,strength\na.png,x,much\n", "line 2: strength: expected a number"),
        ("image,prompt,strength\na.png,x,3\n", "line 2: strength: expected a number from 0 to 1"),
    ],
)
def test_a_row_that_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(UsageError, match=told):
        read_rows(tmp_path / "rows.csv")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected a file that ends in \.csv or \.jsonl"):
        read_rows(tmp_path / "rows.txt")
