"""Where a user's own files are kept on this system."""

from __future__ import annotations

import os
import sys


def cache_folder() -> str | None:
    """Return this user's cache folder for overpaint, None where the environment names none."""
    return _folder("XDG_CACHE_HOME", ".cache", "Library/Caches")


def state_folder() -> str | None:
    """Return where this user's overpaint keeps what should outlive a restart; None without one."""
    return _folder("XDG_STATE_HOME", ".local/state", "Library/Application Support")


def _folder(variable: str, in_home: str, on_macos: str) -> str | None:
    if sys.platform == "win32":
        root = os.environ.get("LOCALAPPDATA", "")
    else:
        home = os.environ.get("HOME", "")
        usual = on_macos if sys.platform == "darwin" else in_home
        root = os.environ.get(variable, "") or (os.path.join(home, usual) if home else "")
    return os.path.join(root, "overpaint") if os.path.isabs(root) else None
