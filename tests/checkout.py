"""A copy of this checkout, for what installs from one: it may be written to, and is no older."""

from __future__ import annotations

import shutil
from pathlib import Path

HOUSE = Path(__file__).parents[1]


def copy_checkout(to: Path, ignored: str = ".gitignore") -> Path:
    """The checkout without git's own folder and without what the file `ignored` names."""
    lines = (HOUSE / ignored).read_text().splitlines()
    names = [line.removeprefix("**/").rstrip("/") for line in lines if not line.startswith("#")]
    return Path(shutil.copytree(HOUSE, to, ignore=shutil.ignore_patterns(".git", *names)))
