"""What goes into the log: where something broke, never what somebody asked for.

An exception's message may quote a prompt, so only messages that overpaint wrote about bundles and
engines are logged; of any other exception the type and the lines of code.
"""

from __future__ import annotations

import logging
import traceback

from overpaint.bundle.errors import BundleError, MissingExtraError, SessionError
from overpaint.serve.ids import new_id

log = logging.getLogger("overpaint.serve")


def describe(error: BaseException) -> str:
    """One line for people, with nothing of a request in it."""
    if isinstance(error, (BundleError, MissingExtraError, SessionError)):
        return f"{type(error).__name__}: {error}"
    return type(error).__name__


def note_error(error: BaseException, what: str, error_id: str | None = None) -> str:
    """Log `error` under an id, and return the id that its victim is told."""
    error_id = error_id or new_id()
    frames = traceback.extract_tb(error.__traceback__)
    where = "\n".join(f"  {one.filename}:{one.lineno} in {one.name}" for one in frames)
    log.error("%s [%s] %s\n%s", what, error_id, describe(error), where)
    return error_id
