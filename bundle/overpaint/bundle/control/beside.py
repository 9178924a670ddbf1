"""Which control networks a bundle can be controlled by: those that lie beside it, and fit."""

from __future__ import annotations

from pathlib import Path

from overpaint.bundle.errors import BundleError
from overpaint.bundle.files.looking import is_folder
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.manifest_file import read_controlnet

from .extend import misfit
from .open import is_controlnet


def fitting_networks(bundle: Bundle) -> tuple[Path, ...]:
    """The folders beside `bundle` that are control networks for denoisers like its own, by what
    their manifests say; none beside a bundle that cannot be extended."""
    if bundle.inferred:
        return ()
    try:
        around = sorted(bundle.folder.resolve().parent.iterdir())
    except OSError:
        return ()
    return tuple(folder for folder in around if is_folder(folder) and _fits(bundle, folder))


def _fits(bundle: Bundle, folder: Path) -> bool:
    try:
        return is_controlnet(folder) and misfit(bundle.manifest, read_controlnet(folder)) is None
    except BundleError:
        return False  # whoever opens it says what is wrong with it
