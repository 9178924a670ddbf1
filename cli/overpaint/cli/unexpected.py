"""What nobody foresaw: one line with an id, and the traceback in a file that can be sent."""

from __future__ import annotations

import os
import platform
import secrets
import time
import traceback
from importlib.metadata import version
from pathlib import Path

from overpaint.bundle.files.user_folders import state_folder


def described(error: Exception, *, debug: bool = False) -> str:
    """The line that tells of `error`. Its traceback goes into the user's errors.log, under an id;
    with `debug` the user has seen it already."""
    name = secrets.token_hex(4)
    what = " ".join(f"{type(error).__name__}: {error}".split())
    log = _write(name, error)
    where = f"the traceback is in {log}" if log else "its traceback could not be kept"
    hint = "" if debug else "; overpaint --debug COMMAND … shows it"
    return f"unexpected {what[:300]} (error {name}; {where}{hint})"


def _write(name: str, error: Exception) -> Path | None:
    """Append to the log; None where it cannot be. What was typed is not in it: it may be secret."""
    folder = state_folder()
    if folder is None:
        return None
    log = Path(folder, "errors.log")
    now = time.strftime("%Y-%m-%d %H:%M:%S %z")
    system = f"overpaint {version('overpaint')}, Python {platform.python_version()}"
    entry = f"{now}  error {name}  {system} on {platform.platform()}\n"
    entry += "".join(traceback.format_exception(error)) + "\n"
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(entry)
    except OSError:
        return None
    return log
