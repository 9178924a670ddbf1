"""What was measured of a bundle once, kept in the user's cache: one number a file."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable
from pathlib import Path

from .user_folders import cache_folder


def figure_path(kind: str, depends_on: Iterable[str]) -> Path | None:
    """The file of a figure, named by all that it depends on; None without a cache folder."""
    if (folder := cache_folder()) is None:
        return None
    key = "\n".join(depends_on).encode("utf-8", "surrogateescape")
    return Path(folder, kind, hashlib.sha256(key).hexdigest())


def read_figure(path: Path | None) -> float | None:
    """The figure; None where none is kept."""
    try:
        return None if path is None else float(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def keep_figure(path: Path | None, figure: float) -> None:
    """Keep it to two decimals; does nothing where it cannot."""
    if path is not None:
        with contextlib.suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_text(f"{figure:.2f}\n", encoding="ascii")
