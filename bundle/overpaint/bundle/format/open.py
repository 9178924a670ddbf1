"""Opening a bundle: its manifest is read and its files are checked; no engine is opened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

from overpaint.bundle import layout
from overpaint.bundle.errors import BundleError, IntegrityError, UsageError, one_line
from overpaint.bundle.files.hashing import Progress
from overpaint.bundle.files.looking import is_folder, is_there

from . import integrity
from .bundle import Bundle
from .integrity import Level
from .manifest_file import read_manifest


def open_bundle(
    path: str | os.PathLike[str], *, verify: Level = "open", progress: Progress | None = None
) -> Bundle:
    """Read a bundle's manifest and check its files; no engine is opened.

    Args:
        path: a bundle, or a folder that optimum exported.
        verify: "open" hashes everything but weight files that were hashed before (by path, size,
            modification time and inode); "full" hashes everything.
        progress: called with (bytes done, bytes in all) while files are hashed.

    Raises:
        BundleError: the folder is not a bundle.
        ManifestError: its manifest is broken, or of a future version.
        IntegrityError: a file is missing or changed, is a link, or points out of the folder.
    """
    if verify not in get_args(Level):
        raise UsageError(f"verify: expected 'open' or 'full', got {verify!r}")
    folder = bundle_folder(path)
    if not os.path.lexists(folder / layout.MANIFEST):
        from .infer import infer_bundle

        return infer_bundle(folder)
    manifest = read_manifest(folder)
    for problem in integrity.problems(folder, manifest, verify, progress):
        raise IntegrityError(one_line(problem))
    return Bundle(folder, manifest)


def bundle_folder(path: str | os.PathLike[str]) -> Path:
    """Return `path`, if it is a folder that has a manifest or could do without.

    Raises:
        BundleError: it is not.
    """
    folder = Path(path)
    if not is_folder(folder):
        got = "a file" if is_there(folder) else "nothing"
        raise BundleError(f"{folder}: expected a bundle (a folder), found {got} there")
    names = (layout.MANIFEST, layout.MODEL_INDEX)
    if not any(os.path.lexists(folder / name) for name in names):
        raise BundleError(
            f"{folder}: not a bundle: it has neither {names[0]} nor {names[1]}. "
            "Make one with: overpaint export CHECKPOINT --output BUNDLE"
        )
    return folder
