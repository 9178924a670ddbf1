"""One module per backend. A module that defines BACKEND is found; nothing else to do.

Importing one costs nothing: libraries are imported by its functions, when they are called.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from overpaint.engines.backend import Backend

_FOUND: list[Backend] = [
    import_module(f"{__name__}.{module.name}").BACKEND for module in iter_modules(__path__)
]


def _place(backend: Backend) -> tuple[bool, int, str]:
    return backend.rank is None, backend.rank or 0, backend.name


BACKENDS: dict[str, Backend] = {backend.name: backend for backend in sorted(_FOUND, key=_place)}
"""By the name users give: those that "auto" takes, best first, then those on request."""
