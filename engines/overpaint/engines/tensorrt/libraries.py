"""TensorRT's Python packages, imported when they are asked for.

`tensorrt` builds plans and runs them; `tensorrt_lean` only runs those that are version-compatible,
in a fraction of the space. They offer the same classes under the same names.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Final

from overpaint.bundle.errors import MissingExtraError, SessionError
from overpaint.bundle.installed import install_command

OLDEST_MAJOR: Final = 11  # strongly typed networks only, and the calls that are made here
LEAN: Final = "tensorrt_lean"
FULL: Final = "tensorrt"
EXTRAS: Final = {LEAN: "tensorrt-lean", FULL: "tensorrt"}


@dataclass(frozen=True, slots=True)
class Library:
    """A TensorRT that is installed here."""

    module: ModuleType
    name: str
    version: str

    @property
    def lean(self) -> bool:
        return self.name == LEAN

    def __str__(self) -> str:
        return f"TensorRT {short_version(self.version)}{' (lean)' * self.lean}"


def library(name: str) -> Library:
    """Import `tensorrt` or `tensorrt_lean`.

    Raises:
        MissingExtraError: it is not installed.
        SessionError: it is installed and does not load, or is too old.
    """
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise SessionError(f"{name} is installed, but does not load: {error}") from error
        raise MissingExtraError(EXTRAS[name], name) from None
    except (ImportError, OSError) as error:
        raise SessionError(f"{name} is installed, but does not load: {error}") from error
    version: str = module.__version__
    if version_tuple(version)[0] < OLDEST_MAJOR:
        raise SessionError(
            f"{name} {version} is too old: expected {OLDEST_MAJOR} or later. "
            f"Upgrade it with: {install_command(EXTRAS[name])}"
        )
    return Library(module, name, version)


def import_cudart() -> ModuleType:
    """Import CUDA's runtime calls (cuda-python).

    Raises:
        MissingExtraError: it is not installed.
        SessionError: it is installed and does not load.
    """
    try:
        return importlib.import_module("cuda.bindings.runtime")
    except ModuleNotFoundError:
        raise MissingExtraError(EXTRAS[LEAN], "cuda-python") from None
    except (ImportError, OSError) as error:
        raise SessionError(f"cuda-python is installed, but does not load: {error}") from error


def version_tuple(version: str) -> tuple[int, ...]:
    """ "11.4.0.106" -> (11, 4, 0, 106); what is not a number ends it."""
    numbers = []
    for part in version.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers) or (0,)


def short_version(version: str) -> str:
    """ "11.4.0.106" -> "11.4"."""
    return ".".join(version.split(".")[:2])
