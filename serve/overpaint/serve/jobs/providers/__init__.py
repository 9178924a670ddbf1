"""Who can run a job: one module a kind of provider, told apart by the schemes of their URLs.

A module that defines SCHEMES and make(url, resources) is found; nothing else to do. It is imported
with the server, so what the `serve` extra does not install is imported in its `make`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules
from typing import TypeAlias

from overpaint.bundle.errors import UsageError
from overpaint.serve.jobs.protocol import Provider
from overpaint.serve.jobs.resources import Resources

Make: TypeAlias = Callable[[str, Resources], Provider]

REGISTRY: dict[str, Make] = {
    scheme: module.make
    for found in sorted(iter_modules(__path__), key=lambda found: found.name)
    for module in [import_module(f"{__name__}.{found.name}")]
    for scheme in module.SCHEMES
}
"""How a provider is made, by the scheme of its URL."""


def make_of(url: str) -> Make:
    """How the provider at `url` is made; a scheme that has one place only is a URL by itself.

    Raises UsageError for a scheme that no module here declares.
    """
    scheme = url.partition("://")[0]
    if scheme not in REGISTRY:
        known = ", ".join(REGISTRY)
        raise UsageError(f"expected a URL with one of the schemes {known}, got {url}")
    return REGISTRY[scheme]
