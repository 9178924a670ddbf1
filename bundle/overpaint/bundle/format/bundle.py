"""A bundle on disk: a folder that was checked, and what its manifest says.

bundle = open_bundle("bundles/sd15")
bundle.manifest.family                  # 'sd1'
bundle.path("tokenizer/tokenizer.json")
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from . import integrity, layout
from .errors import BundleError, IntegrityError, UsageError
from .hashing import Progress
from .integrity import Level
from .manifest import Component, Manifest
from .manifest_io import one_line, read_manifest


@dataclass(frozen=True, slots=True)
class Bundle:
    """A folder and its manifest. `inferred` is empty, or says what was read from elsewhere because
    the folder has no manifest (optimum's exports have none)."""

    folder: Path
    manifest: Manifest
    inferred: tuple[str, ...] = ()

    def path(self, name: str) -> Path:
        """Where the file `name` of the manifest lies.

        Raises:
            BundleError: the manifest lists no such file.
        """
        if name not in self.manifest.files:
            raise BundleError(f"{self.folder}: this bundle has no {name!r}")
        return self.folder / name

    def component(self, name: str) -> Component:
        """The component `name` of the manifest.

        Raises:
            BundleError: the bundle has no such component.
        """
        try:
            return self.manifest.components[name]
        except KeyError:
            known = ", ".join(self.manifest.components)
            raise BundleError(
                f"{self.folder}: this bundle has no component {name!r}; it has {known}"
            ) from None


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
    if not folder.is_dir():
        got = "a file" if folder.exists() else "nothing"
        raise BundleError(f"{folder}: expected a bundle (a folder), found {got} there")
    names = (layout.MANIFEST, layout.MODEL_INDEX)
    if not any(os.path.lexists(folder / name) for name in names):
        raise BundleError(
            f"{folder}: not a bundle: it has neither {names[0]} nor {names[1]}. "
            "Make one with: overpaint export CHECKPOINT --output BUNDLE"
        )
    return folder
