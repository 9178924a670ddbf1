"""An option is declared once: whoever offers options then offers it, with no more to write."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import get_type_hints

import pytest
import typer
from pydantic import ValidationError, create_model
from tests.runtime.test_metadata import painting, parameters
from typer.testing import CliRunner

from overpaint.bundle.errors import UsageError
from overpaint.cli.flags import with_settings
from overpaint.cli.options_page import table
from overpaint.runtime import Img2Img
from overpaint.runtime.metadata import read_parameters
from overpaint.runtime.option import option
from overpaint.runtime.settings import Options, Settings, options
from overpaint.serve.api.native.schema import Job, job_fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Vignetting(Settings):
    """Settings with an option more, declared here and nowhere else."""

    vignette: float | None = option(None, "How dark the corners are", low=0, high=1)


def test_its_bounds_are_checked() -> None:
    assert Vignetting(vignette=0.5).vignette == 0.5
    with pytest.raises(UsageError, match="vignette: expected a number from 0 to 1, got 2"):
        Vignetting(vignette=2)


def test_the_command_line_has_a_flag_for_it() -> None:
    seen: list[Vignetting] = []

    @with_settings
    def paint(prompt: str, *, settings: Vignetting) -> None:
        """Paint."""
        seen.append(settings)

    app = typer.Typer()
    app.command()(paint)
    told = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "100"}).output
    assert "--vignette" in told
    assert "How dark the corners are." in " ".join(told.replace("│", "").split())
    done = CliRunner().invoke(app, ["a lake", "--vignette", "0.25", "--size", "64x32"])
    assert done.exit_code == 0, done.output
    assert (seen[0].vignette, seen[0].size, seen[0].strength) == (0.25, (64, 32), None)


def test_the_native_api_has_a_field_for_it() -> None:
    body = create_model("Body", __base__=Job, **job_fields(Vignetting))
    schema = body.model_json_schema()["properties"]["vignette"]
    assert schema["description"] == "How dark the corners are"
    assert {"type": "number", "minimum": 0, "maximum": 1} in schema["anyOf"]
    assert body(prompt="a lake", vignette=0.25).vignette == 0.25  # type: ignore[attr-defined]
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        body(prompt="a lake", vignette=2)


def test_the_picture_carries_it(tmp_path: Path) -> None:
    made = parameters(Vignetting(vignette=0.25))
    painting(made).save(tmp_path / "out.png")
    assert read_parameters(tmp_path / "out.png")["vignette"] == 0.25
    assert json.loads(made.as_json())["strength"] == 0.8


def test_the_documentation_lists_it() -> None:
    assert "| `--vignette` | 0..1 | | How dark the corners are |" in table(Vignetting)


def test_the_documentation_is_current() -> None:
    page = Path(__file__).parents[1] / "docs/options.md"
    assert table(Settings) in page.read_text("utf-8")


def test_callers_types_are_those_of_the_declarations() -> None:
    declared = {name: get_type_hints(Settings)[name] for name in options()}
    assert get_type_hints(Options) == declared


def test_python_takes_every_option_and_no_other() -> None:
    keywords = inspect.signature(Img2Img.__call__).parameters
    assert keywords["options"].annotation == "Unpack[Options]"
    with pytest.raises(TypeError, match="strenght"):
        Settings(strenght=0.5)  # type: ignore[call-arg]
