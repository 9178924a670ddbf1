"""Every error that overpaint raises on purpose.

    OverpaintError
    ├── UsageError              what the caller chose: strength, steps, size, a sampler
    ├── ImageError              a picture that cannot be read, or must not be
    ├── OutputExistsError       an output that is there already, and --force was not said
    ├── DiskFullError           an output that no room was left for
    ├── CheckpointError         a checkpoint that cannot be exported or imported
    │   └── ParityError         an exported graph whose numbers are not the checkpoint's
    ├── BundleError             a bundle that cannot be used
    │   ├── ManifestError       overpaint.json does not say what it must
    │   └── IntegrityError      a file is missing, changed, or points out of the bundle
    ├── SessionError            an engine that cannot be opened or run
    │   └── FeedError           arrays that are not what the engine's metadata asks for
    ├── MissingExtraError       an optional dependency is absent
    │   └── BrokenExtraError    it is installed, and does not load here
    └── CancelledError          the caller asked to stop

A message says what was expected, what came, which file or field, and how to mend it.
Anything else that escapes is a bug.
"""

from __future__ import annotations

from typing import Any

from .installed import install_command


def one_line(text: str) -> str:
    """Make text that holds a file's own words fit one line of a terminal."""
    plain = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return plain if len(plain) <= 400 else f"{plain[:397]}..."


class OverpaintError(Exception):
    """The base of all of them: `except OverpaintError` catches whatever the user can mend."""


class UsageError(OverpaintError, ValueError):
    """A value that the caller chose is out of range, unknown, or contradicts another."""


class ImageError(OverpaintError):
    """A picture is missing, truncated, not a picture, or larger than the limits allow."""


class OutputExistsError(OverpaintError):
    """The output is there already; nothing is overwritten unless the caller says so."""


class DiskFullError(OverpaintError):
    """The disk, or the user's share of it, is full; files that were written before are whole."""


class CheckpointError(OverpaintError):
    """A checkpoint is missing, incomplete, of an unknown family, or cannot be converted."""


class ParityError(CheckpointError):
    """An exported graph does not give the checkpoint's own numbers."""


class BundleError(OverpaintError):
    """A folder is not a bundle, or one that cannot be used as asked."""


class ManifestError(BundleError):
    """`overpaint.json` is absent, not JSON, of a future version, or has a wrong field."""


class IntegrityError(BundleError):
    """A file of the bundle is missing or changed, is a link, or points outside the folder."""


class SessionError(OverpaintError):
    """An engine cannot be opened, or failed while it ran."""


class FeedError(SessionError):
    """Arrays handed to a session differ from the engine's own metadata in name, dtype or shape."""


class MissingExtraError(OverpaintError, ImportError):
    """An optional dependency is absent; the message is the `pip install` line that brings it."""

    def __init__(self, extra: str, module: str) -> None:
        super().__init__(f"{module} is not installed. Install it with: {install_command(extra)}")
        self.extra = extra

    def __reduce__(self) -> tuple[Any, ...]:
        return _with_message, (type(self), str(self), self.extra)

    @classmethod
    def told_by(cls, error: ImportError, extra: str, module: str) -> MissingExtraError:
        """What `error`, raised by importing `module`, is: none is there, or it does not load."""
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            return cls(extra, module)
        return BrokenExtraError(extra, module, error)


class BrokenExtraError(MissingExtraError):
    """An optional dependency is installed and does not load: a system library is missing, say."""

    def __init__(self, extra: str, module: str, error: ImportError) -> None:
        why = " ".join(str(error).split())
        ImportError.__init__(self, f"{module} is installed, but does not load here: {why}")
        self.extra = extra


def _with_message(kind: type[MissingExtraError], message: str, extra: str) -> MissingExtraError:
    """An error that was raised in another process."""
    error = kind.__new__(kind)
    ImportError.__init__(error, message)
    error.extra = extra
    return error


class CancelledError(OverpaintError):
    """The caller asked to stop; nothing was written."""
