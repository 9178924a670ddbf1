"""An adapter's bundle, opened: its manifest read and its files checked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from overpaint.bundle.errors import BundleError, IntegrityError, one_line
from overpaint.bundle.files.hashing import Progress
from overpaint.bundle.files.looking import is_file
from overpaint.bundle.format import integrity
from overpaint.bundle.format.adapter import IpAdapter
from overpaint.bundle.format.manifest_file import read_adapter
from overpaint.bundle.format.open import bundle_folder


@dataclass(frozen=True, slots=True)
class AdapterBundle:
    """A folder that was checked, and what its manifest says."""

    folder: Path
    manifest: IpAdapter


def open_adapter(path: str | os.PathLike[str], progress: Progress | None = None) -> AdapterBundle:
    """Open what `overpaint import` made of an IP-Adapter.

    Raises:
        BundleError: the folder is no adapter's bundle.
        IntegrityError: a file is missing or changed, is a link, or points out of the folder.
    """
    if is_file(Path(path)):
        raise BundleError(
            f"{path}: an adapter's file is not its bundle yet; make one with: "
            f"overpaint import {path} --output BUNDLE"
        )
    folder = bundle_folder(path)
    manifest = read_adapter(folder)
    for problem in integrity.problems(folder, manifest, "open", progress):
        raise IntegrityError(one_line(problem))
    return AdapterBundle(folder, manifest)
