"""What is told apart by family is a field of `Family`; no other file asks for one by name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from overpaint.bundle.families import FAMILIES

HOUSE = Path(__file__).parents[2]
ROOMS = ("bundle", "engines", "runtime", "serve", "cli", "bench", "export")
HOMES = (
    "bundle/overpaint/bundle/families",
    "runtime/overpaint/runtime/text",
    "export/overpaint/export/families",
)
MODULES = [family.module for family in FAMILIES.values()]
# As a whole word: no part of a path, of a release's name (sd1.5, sdxl-base), or of an address.
NAMES = re.compile(rf"(?<![\w/-])({'|'.join([*FAMILIES, *MODULES])})(?!\w|-\w|\.\d)")


def sources() -> Iterator[Path]:
    for room in ROOMS:
        for path in sorted((HOUSE / room / "overpaint").rglob("*")):
            if path.suffix in (".py", ".js", ".html"):
                yield path.relative_to(HOUSE)


def is_a_familys_own(path: Path) -> bool:
    return path.stem in MODULES and path.parent.as_posix() in HOMES


def mentions(path: Path) -> list[str]:
    lines = (HOUSE / path).read_text().splitlines()
    return [f"{path}:{n}: {line.strip()}" for n, line in enumerate(lines, 1) if NAMES.search(line)]


def test_no_other_file_names_a_family() -> None:
    others = [path for path in sources() if not is_a_familys_own(path)]
    found = [line for path in others for line in mentions(path)]
    assert found == []


@pytest.mark.parametrize("home", HOMES)
def test_every_family_has_its_file_in_each_room(home: str) -> None:
    assert [one for one in MODULES if not (HOUSE / home / f"{one}.py").is_file()] == []


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ('if family == "sd3":', True),
        ("from .sdxl_refiner import condition", True),
        ("    return sdxl(text)", True),
        ("overpaint info bundles/sdxl", False),
        ("like stabilityai/sdxl-turbo, or sd1.5", False),
        ("sdxl-base", False),
    ],
)
def test_what_counts_as_a_name(line: str, names: bool) -> None:
    assert bool(NAMES.search(line)) == names
