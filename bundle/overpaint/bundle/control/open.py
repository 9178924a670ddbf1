"""A control network's bundle: opened and checked; no engine is opened."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from overpaint.bundle import layout
from overpaint.bundle.errors import BundleError, IntegrityError, one_line
from overpaint.bundle.files.hashing import Progress
from overpaint.bundle.files.looking import is_folder, is_there
from overpaint.bundle.format import integrity
from overpaint.bundle.format.controlnet import ControlNet
from overpaint.bundle.format.manifest_file import read_any, read_controlnet


@dataclass(frozen=True, slots=True)
class ControlBundle:
    """A folder that was checked, and its manifest."""

    folder: Path
    manifest: ControlNet


def open_controlnet(
    path: str | os.PathLike[str], progress: Progress | None = None
) -> ControlBundle:
    """Read a control network's manifest and check its files.

    Raises:
        BundleError: there is none.
        ManifestError: its manifest is broken, or a pipeline's.
        IntegrityError: a file is missing or changed, is a link, or points out of the folder.
    """
    folder = Path(path)
    if not is_folder(folder) or not is_there(folder / layout.MANIFEST):
        raise BundleError(
            f"{folder}: expected a control network's bundle (a folder with {layout.MANIFEST}); "
            "make one of a ControlNet with overpaint export or overpaint import"
        )
    manifest = read_controlnet(folder)
    for problem in integrity.problems(folder, manifest, "open", progress):
        raise IntegrityError(one_line(problem))
    return ControlBundle(folder, manifest)


def is_controlnet(path: str | os.PathLike[str]) -> bool:
    """Whether a folder is a control network's bundle. Raises ManifestError where its manifest is
    broken."""
    return is_there(Path(path) / layout.MANIFEST) and isinstance(read_any(path), ControlNet)
