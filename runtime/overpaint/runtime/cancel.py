"""How a caller asks a run to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeAlias

from overpaint.bundle.errors import CancelledError

Cancel: TypeAlias = Callable[[], bool] | threading.Event


def check(cancel: Cancel | None) -> None:
    """Raise CancelledError if `cancel` says so: an event that is set, or a function's True."""
    if cancel is None:
        return
    if cancel.is_set() if isinstance(cancel, threading.Event) else cancel():
        raise CancelledError("stopped, as asked; nothing was written")
