"""Stopping a build: Ctrl-C asks for it, TensorRT's next step grants it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from overpaint.bundle.errors import CancelledError


def cancelled_error() -> CancelledError:
    return CancelledError("the build was cancelled; nothing was written")


@contextmanager
def stopped_by_ctrl_c(stop: threading.Event) -> Iterator[None]:
    """Let Ctrl-C set `stop`, and raise KeyboardInterrupt once what is inside was cancelled.

    Raised wherever Python happens to be, it would leave a thread of TensorRT's behind. A second
    Ctrl-C does just that.
    """
    former = signal.getsignal(signal.SIGINT)
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or former is not signal.default_int_handler:
        yield  # somebody else decides what Ctrl-C means
        return
    pressed = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        stop.set()
        signal.signal(signal.SIGINT, former)

    signal.signal(signal.SIGINT, ask)
    try:
        yield
    except CancelledError:
        if pressed:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, former)
