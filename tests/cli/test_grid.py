"""`overpaint grid`: every pair of values, labelled, by one engine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from overpaint.bundle.errors import UsageError
from overpaint.cli.app import app
from overpaint.cli.axes import read_axis
from overpaint.cli.sheet import GAP, sheet
from overpaint.runtime import Img2Img

SUMMER = Path(__file__).parents[2] / "examples/summer.png"


def test_each_cell_is_the_picture_that_a_call_makes(tmp_path: Path) -> None:
    out = tmp_path / "grid.png"
    asked = ["grid", str(SUMMER), "winter", "-o", str(out), "--seed", "5", "--steps", "4"]
    asked += ["--x", "strength=0.3,0.6", "--y", "sampler=euler,ddim"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert "4 pictures, seed 5" in done.output
    made = Image.open(out)
    said = json.loads(made.info["overpaint"])
    assert said["grid"] == {"x": {"strength": [0.3, 0.6]}, "y": {"sampler": ["euler", "ddim"]}}
    assert [[c["strength"] for c in row] for row in said["cells"]] == [[0.3, 0.6]] * 2
    with Img2Img.open() as pipe:
        last = pipe(SUMMER, "winter", seed=5, steps=4, strength=0.6, sampler="ddim").images[0]
    right, bottom = made.width - GAP, made.height - GAP
    cell = made.crop((right - 128, bottom - 128, right, bottom))
    assert cell.tobytes() == last.tobytes()


def test_labels_stand_above_columns_and_beside_rows() -> None:
    black = Image.new("RGB", (40, 40))
    plain = sheet([[black, black]], [], [])
    assert plain.size == (2 * 40 + 3 * GAP, 40 + 2 * GAP)
    labelled = sheet([[black, black]], ["a", "b"], ["c"])
    left, above = labelled.width - plain.width, labelled.height - plain.height
    margins = np.asarray(labelled)
    assert margins[:above, left:].min() < 128  # ink
    assert margins[above:, :left].min() < 128


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("strenght=0.2", "expected OPTION=VALUE,VALUE"),
        ("strength", "expected OPTION=VALUE,VALUE"),
        ("strength=0.2,", "expected 1 to 32 values"),
        ("steps=many", "steps: expected a whole number"),
        ("strength=2", "strength: expected a number from 0 to 1, got 2"),
    ],
)
def test_what_is_no_axis_is_told(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        read_axis("--x", text)


def test_values_are_read_as_the_options_kind() -> None:
    assert read_axis("--x", "size=64x32,32x64").values == ((64, 32), (32, 64))
    assert read_axis("--x", "prompt-weights=on,off").values == (True, False)
    assert read_axis("--x", "guidance-scale=1,7.5").labels() == [
        "guidance_scale 1",
        "guidance_scale 7.5",
    ]
