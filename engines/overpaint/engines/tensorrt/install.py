"""Putting a folder of plans into a bundle: all of it or nothing, and the manifest never wrong.

What the manifest lists is always there and whole: old plans are struck out before they are
replaced, and new ones listed when they lie in place.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from .. import layout
from ..bundle import Bundle
from ..errors import OutputExistsError, UsageError
from ..hashing import Progress, sha256_files
from ..manifest import File, Manifest
from ..manifest_io import read_manifest, write_manifest
from ..new_bundle import termination_raises
from ..paths import resident
from .record import TIMING_CACHE, folder_of


def check_free(bundle: Bundle, target: str, force: bool) -> None:
    """Raise OutputExistsError if the target's plans are there and are to stay."""
    folder = folder_of(target)
    if not force and any(path.startswith(f"{folder}/") for path in bundle.manifest.files):
        raise OutputExistsError(
            f"{bundle.folder / folder}: exists already; say --force to build it again"
        )


def former_timing_cache(bundle: Bundle, target: str) -> bytes:
    """What the last build for this target measured; empty where there is none."""
    path = f"{folder_of(target)}/{TIMING_CACHE}"
    return bundle.path(path).read_bytes() if path in bundle.manifest.files else b""


@contextlib.contextmanager
def staging(bundle: Bundle, target: str) -> Iterator[Path]:
    """Yield an empty folder that becomes the target's, and is listed, when the block ends well."""
    plans = bundle.folder / layout.PLANS
    made = not plans.exists()
    with termination_raises():
        try:
            plans.mkdir(exist_ok=True)
            beside = Path(tempfile.mkdtemp(prefix=f".{target}.", suffix=".part", dir=plans))
        except OSError as error:
            raise UsageError(f"{plans}: cannot be written: {error.strerror}") from error
        try:
            yield beside
            _take_place(bundle, beside, target)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
            if made:
                with contextlib.suppress(OSError):
                    plans.rmdir()  # only where it is empty


def _take_place(bundle: Bundle, beside: Path, target: str) -> None:
    folder, manifest = folder_of(target), read_manifest(bundle.folder)
    without = {
        path: file for path, file in manifest.files.items() if not path.startswith(f"{folder}/")
    }
    if len(without) < len(manifest.files):
        _write(bundle, manifest, without)
    place = bundle.folder / folder
    shutil.rmtree(place, ignore_errors=True)
    beside.chmod(0o755)
    beside.rename(place)
    _write(bundle, manifest, {**without, **_hashed(bundle.folder, folder)})


def _hashed(root: Path, folder: str, progress: Progress | None = None) -> dict[str, File]:
    paths = sorted(f"{folder}/{name}" for name in os.listdir(root / folder))
    statuses = {path: resident(root, path) for path in paths}
    return {
        path: File(size=statuses[path].st_size, sha256=sha256)
        for path, sha256 in sha256_files(root, statuses, progress)
    }


def _write(bundle: Bundle, manifest: Manifest, files: dict[str, File]) -> None:
    write_manifest(bundle.folder, msgspec.structs.replace(manifest, files=files))
