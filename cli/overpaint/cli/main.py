"""The command `overpaint`: where it begins, and where whatever goes wrong ends.

Nothing is imported here that takes time, so that Ctrl-C finds somebody to hear it.
"""

from __future__ import annotations

import errno
import os
import sys
from itertools import takewhile

RAY = "--ray"


def main() -> None:
    """Run the command line: exit code 1 for what went wrong, 2 for what was asked wrongly."""
    try:
        _let_every_name_be_written()
        if RAY in sys.argv:
            sys.argv[1:] = with_cluster(sys.argv[1:])
        from .app import app

        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        sys.exit(_tell(error))


def with_cluster(arguments: list[str]) -> list[str]:
    """`--ray` without an address is a cluster begun here. typer has no option whose value may be
    left out."""
    from overpaint.scale.cluster import HERE

    pairs = zip(arguments, [*arguments[1:], "-"], strict=True)
    alone = (one == RAY and following.startswith("-") for one, following in pairs)
    return [f"{RAY}={HERE}" if bare else one for one, bare in zip(arguments, alone, strict=True)]


def _tell(error: Exception) -> int:
    """Say in one line what went wrong, behind the traceback with --debug. The exit code."""
    import contextlib

    import typer

    from overpaint.bundle.errors import OverpaintError, UsageError

    debug = _debug_is_asked_for()
    if debug:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, OverpaintError):
        line = str(error)
    elif isinstance(error, OSError) and _is_a_streams(error):
        line = f"the output cannot be written: {error.strerror}"
        _give_up_stdout()
    else:
        from .unexpected import described

        line = described(error, debug=debug)
    with contextlib.suppress(OSError):  # there is nowhere else to say it
        typer.echo(f"overpaint: {line}", err=True)
    return 2 if isinstance(error, UsageError) else 1


def _debug_is_asked_for() -> bool:
    """Before the command's name stand the options that concern all of them."""
    return "--debug" in takewhile(lambda one: one.startswith("-"), sys.argv[1:])


def _let_every_name_be_written() -> None:
    """A file's name or a prompt that the terminal's encoding lacks is written as \\u6d77."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _is_a_streams(error: OSError) -> bool:
    """Whether it was no file that could not be written: those are named."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
    return error.filename is None and error.errno in full


def _give_up_stdout() -> None:
    """What is still to be written there would be tried again at the end, and told of again."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
