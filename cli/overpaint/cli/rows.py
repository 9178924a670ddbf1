"""Prompts from a file, one row a picture: CSV with a head line, or JSONL.

image,prompt,strength
a.jpg,a lake in winter,0.4
b.jpg,"a harbour, at night",0.6
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from overpaint.bundle.errors import UsageError
from overpaint.runtime.settings import Settings, options
from overpaint.scale.places import place

from .axes import read_value

_OWN: Final = ("image", "prompt")
_SUFFIXES: Final = (".csv", ".jsonl")


@dataclass(frozen=True, slots=True)
class Row:
    """A picture, its prompt, and the options that it has of its own."""

    image: Path
    prompt: str
    options: Mapping[str, Any]

    def settings(self, shared: Settings) -> Settings:
        """`shared`, with this row's own. Raises UsageError for a value out of range."""
        return replace(shared, **self.options)

    def asked(self) -> dict[str, Any]:
        """Whatever of it decides about the pixels, for a folder run's record."""
        return {"prompt": self.prompt, **self.options}


def read_rows(path: Path) -> tuple[Row, ...]:
    """The rows of a CSV or JSONL file; pictures are named from the file's folder on.

    Raises UsageError for a file that is neither, has no rows, or a row that has no image or prompt,
    a column that is no option, or a value that an option does not take.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"--prompts {path}: expected a file that ends in {' or '.join(_SUFFIXES)}")
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"--prompts {path}: cannot be read: {why}") from None
    found = _csv(text) if path.suffix.lower() == ".csv" else _jsonl(text, path)
    rows = tuple(_row(path, number, row) for number, row in found)
    if not rows:
        raise UsageError(f"--prompts {path}: expected rows, found none")
    return rows


def _csv(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(text.splitlines(keepends=True), restkey="", restval="")
    for row in reader:
        if any(row.values()):
            yield reader.line_num, {name: value for name, value in row.items() if value}


def _jsonl(text: str, path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise UsageError(f"--prompts {path}: line {number}: expected a JSON object")
        yield number, row


def _row(path: Path, number: int, row: Mapping[str, Any]) -> Row:
    where = f"--prompts {path}: line {number}"
    known = [name for name in options() if name not in ("n", "seeds")]
    for name in row:
        if name not in (*_OWN, *known):
            raise UsageError(
                f"{where}: {name!r} is no column; expected image, prompt and options of a run"
            )
    for name in _OWN:
        if not isinstance(row.get(name), str) or not row[name].strip():
            raise UsageError(f"{where}: expected {name}, got {row.get(name)!r}")
    own = {
        name: _value(where, name, row[name])
        for name in known
        if name in row and row[name] is not None
    }
    image = row["image"]
    return Row(place(image) if "://" in image else path.parent / image, row["prompt"], own)


def _value(where: str, name: str, given: Any) -> Any:
    declared = options()[name]
    if isinstance(given, str) and declared.kind is not str:
        return read_value(where, declared, given)
    value = tuple(given) if isinstance(given, list) else given
    try:
        declared.check(value)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    return value
