"""TensorRT's log: warnings and errors go to `logging`, and the last errors into our messages."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from types import ModuleType

_LOG = logging.getLogger("overpaint.tensorrt")
KEPT = 3  # errors; the last one is often a consequence of the one before


class Log(Protocol):
    """A TensorRT logger that remembers what went wrong."""

    errors: list[str]


def make_log(trt: ModuleType) -> Any:
    """A new `Log`, of the class that this TensorRT's own calls take."""

    class Logger(trt.ILogger):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(" ".join(msg.split()))
                _LOG.debug("TensorRT: %s", msg)
            elif severity == trt.ILogger.WARNING:
                _LOG.info("TensorRT: %s", msg)
            else:
                _LOG.debug("TensorRT: %s", msg)

    return Logger()


def message_of(log: Log) -> str:
    """The errors that TensorRT logged last, on one line."""
    return "; ".join(log.errors[-KEPT:])[:600] or "TensorRT gave no reason"
