"""Where a user's own files are kept on this system."""

from __future__ import annotations

import os
import sys


def cache_folder() -> str | None:
    """Return this user's cache folder for overpaint, None where the environment names none."""
    if sys.platform == "win32":
        root = os.environ.get("LOCALAPPDATA", "")
    else:
        home = os.environ.get("HOME", "")
        usual = "Library/Caches" if sys.platform == "darwin" else ".cache"
        root = os.environ.get("XDG_CACHE_HOME", "") or (os.path.join(home, usual) if home else "")
    return os.path.join(root, "overpaint") if os.path.isabs(root) else None
