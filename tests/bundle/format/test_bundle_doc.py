"""docs/bundle.md specifies every field that the schema has."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from overpaint.bundle.families import FAMILIES
from overpaint.bundle.files import names
from overpaint.bundle.format import manifest

TEXT = (Path(__file__).parents[3] / "docs" / "bundle.md").read_text("utf-8")
RECORDS = [
    record
    for record in vars(manifest).values()
    if isinstance(record, type) and issubclass(record, manifest.Record)
]
FIELDS = [(record, f.name) for record in RECORDS for f in msgspec.structs.fields(record)]


@pytest.mark.parametrize(("record", "name"), FIELDS, ids=[f"{r.__name__}.{n}" for r, n in FIELDS])
def test_every_field_is_specified(record: Any, name: str) -> None:
    assert f"`{name}`" in TEXT


@pytest.mark.parametrize("choices", [manifest.DenoiserName, manifest.Prediction, manifest.DType])
def test_every_value_of_a_closed_choice_is_specified(choices: Any) -> None:
    assert [value for value in get_args(choices) if f'`"{value}"`' not in TEXT] == []


def test_every_family_is_specified() -> None:
    assert [name for name in FAMILIES if f'`"{name}"`' not in TEXT] == []


def test_the_version_and_the_refused_suffixes_are_the_programs_own() -> None:
    assert f"Version {manifest.VERSION}." in TEXT
    assert f"`{' '.join(names.PICKLE_SUFFIXES)}`" in TEXT
    assert f"at most {names.LONGEST} characters" in TEXT
