"""What the documentation and the sources say lies somewhere lies there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
ROOTS = "export|bundle|engines|runtime|serve|bench|cli|pocket|tests|docs|examples"
NAMED = re.compile(rf"(?<![\w/.-])((?:{ROOTS})/[\w./-]*\w\.(?:py|md|sh|json|c|png))\b")
# What a command would write.
MADE = re.compile(r"bench/results/|docs/pictures/|bundle/overpaint\.json")
SPEAKING = ("*.md", "*.py", "Makefile", "Dockerfile*", ".ci/run", "pyproject.toml")


def speaking() -> list[Path]:
    """Every file that people read, as git has them; the changelog tells of former days."""
    listed = subprocess.run(
        ["git", "ls-files", *SPEAKING], cwd=HOUSE, capture_output=True, text=True, check=True
    )
    return [HOUSE / name for name in listed.stdout.split() if name != "CHANGELOG.md"]


@pytest.mark.parametrize("path", speaking(), ids=lambda path: str(path.relative_to(HOUSE)))
def test_every_file_that_is_named_is_there(path: Path) -> None:
    named = {match[1] for match in NAMED.finditer(path.read_text("utf-8"))}
    gone = sorted(name for name in named if not MADE.match(name) and not (HOUSE / name).exists())
    assert not gone
