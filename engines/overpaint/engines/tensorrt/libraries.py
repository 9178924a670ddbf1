"""TensorRT's Python packages, imported when they are asked for.

`tensorrt` builds plans and runs them; `tensorrt_lean` only runs those that are version-compatible,
in a fraction of the space; `tensorrt_rtx` builds its own and runs them. All offer the same classes
under the same names.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Final

from overpaint.bundle.errors import MissingExtraError, SessionError
from overpaint.bundle.installed import install_command

from .edition import FULL, LEAN, RTX_PACKAGE


@dataclass(frozen=True, slots=True)
class Package:
    """A Python package. `oldest` knows strongly typed networks only, and the calls made here."""

    title: str
    extra: str
    oldest: tuple[int, ...]


PACKAGES: Final = {
    LEAN: Package("TensorRT", "tensorrt-lean", (11,)),
    FULL: Package("TensorRT", "tensorrt", (11,)),
    RTX_PACKAGE: Package("TensorRT for RTX", "tensorrt-rtx", (1, 7)),
}


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
        title = PACKAGES[self.name].title
        return f"{title} {short_version(self.version)}{' (lean)' * self.lean}"


def library(name: str) -> Library:
    """Import one of PACKAGES.

    Raises:
        MissingExtraError: it is not installed.
        SessionError: it is installed and does not load, or is too old.
    """
    package = PACKAGES[name]
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise SessionError(f"{name} is installed, but does not load: {error}") from error
        raise MissingExtraError(package.extra, name) from None
    except (ImportError, OSError) as error:
        raise SessionError(f"{name} is installed, but does not load: {error}") from error
    version: str = module.__version__
    if version_tuple(version) < package.oldest:
        oldest = ".".join(map(str, package.oldest))
        raise SessionError(
            f"{name} {version} is too old: expected {oldest} or later. "
            f"Upgrade it with: {install_command(package.extra)}"
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
        raise MissingExtraError(PACKAGES[LEAN].extra, "cuda-python") from None
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
