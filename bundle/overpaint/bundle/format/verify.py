"""Everything that is wrong with a bundle, for `overpaint verify`; opening stops at the first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from overpaint.bundle import layout
from overpaint.bundle.errors import BundleError, one_line
from overpaint.bundle.files.hashing import Progress

from . import integrity
from .manifest_file import AnyManifest, load, problems
from .open import bundle_folder, open_bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was checked, each problem as one line, and what is unusual but not wrong.

    `files` and `total_bytes` are the manifest's; a bundle is whole where `problems` is empty. That
    nothing vouches for a folder is a problem too.
    """

    folder: str
    files: int
    total_bytes: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def whole(self) -> bool:
        return not self.problems


def verify_bundle(path: str | os.PathLike[str], progress: Progress | None = None) -> Report:
    """Check every hash, link, path and graph of a bundle, weight files included.

    Raises:
        BundleError: there is no bundle at `path` at all.
    """
    folder = bundle_folder(path)
    if not os.path.lexists(folder / layout.MANIFEST):
        return _without_manifest(folder)
    try:
        manifest = load(folder)
    except BundleError as error:
        return _report(folder, None, [str(error)], [])
    name = folder / layout.MANIFEST
    wrong = [f"{name}: {problem}" for problem in problems(manifest)]
    wrong += integrity.problems(folder, manifest, "full", progress)
    return _report(folder, manifest, wrong, list(_unlisted(folder, manifest)))


def _without_manifest(folder: os.PathLike[str]) -> Report:
    try:
        bundle = open_bundle(folder)
    except BundleError as error:
        return _report(folder, None, [str(error)], [])
    unvouched = (
        f"{folder}: no {layout.MANIFEST}: nothing vouches for these files, so there is nothing to "
        "verify them against. A bundle that can be verified is made with: "
        "overpaint export CHECKPOINT --output BUNDLE"
    )
    return _report(folder, bundle.manifest, [unvouched], list(bundle.inferred[1:]))


def _report(
    folder: os.PathLike[str], manifest: AnyManifest | None, problems: list[str], notes: list[str]
) -> Report:
    files = manifest.files if manifest else {}
    return Report(
        folder=os.fspath(folder),
        files=len(files),
        total_bytes=sum(file.size for file in files.values()),
        problems=tuple(one_line(problem) for problem in problems),
        notes=tuple(one_line(note) for note in notes),
    )


def _unlisted(folder: os.PathLike[str], manifest: AnyManifest) -> Iterator[str]:
    """Files that the manifest does not know: nothing reads them, and nothing vouches for them."""
    for here, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = os.path.relpath(os.path.join(here, name), folder).replace(os.sep, "/")
            if path != layout.MANIFEST and path not in manifest.files:
                yield f"{path}: not in the manifest; it is neither read nor checked"
