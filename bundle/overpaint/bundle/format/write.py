"""Making a bundle: all of it, or nothing.

with new_bundle("bundles/sd15", force=False) as folder:
    ...                                    # write graphs, configs and weights into `folder`
    finish_bundle(folder, manifest)        # hash them and write overpaint.json
# here bundles/sd15 exists; had anything been raised, it would not
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TypeVar

import msgspec

from overpaint.bundle import layout
from overpaint.bundle.errors import OutputExistsError, UsageError
from overpaint.bundle.files import hash_cache
from overpaint.bundle.files.hashing import Progress, sha256_files
from overpaint.bundle.files.names import resident
from overpaint.bundle.graph.external import external_tensors_of

from .manifest import File
from .manifest_file import AnyManifest, read_any, write_manifest

Finished = TypeVar("Finished", bound=AnyManifest)


@contextmanager
def new_bundle(output: str | os.PathLike[str], force: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside `output` that takes its place when the block ends well.

    If the block raises, or the process is interrupted or told to end, the folder is removed and
    whatever `output` was stays as it is. A folder whose block never called `finish_bundle` is
    refused.

    Raises:
        OutputExistsError: `output` exists and `force` is not set, or it is not a bundle.
    """
    target = Path(output).absolute()
    _check_output(target, force)
    with termination_raises():
        beside = _make_beside(target)
        try:
            yield beside
            manifest = read_any(beside)
            _check_output(target, force)
            _take_place(beside, target)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        _remember(target, manifest)


def finish_bundle(
    folder: str | os.PathLike[str], manifest: Finished, progress: Progress | None = None
) -> Finished:
    """Hash every file in `folder`, write `overpaint.json`, and return the manifest with `files`.

    `manifest.files` is replaced: every file of the folder is listed, and those
    that the components' graphs point into are marked as weights.

    Raises:
        IntegrityError: a graph is malformed, or the folder holds a link or a pickle.
        ManifestError: the manifest contradicts itself or the files.
    """
    root = Path(folder)
    statuses = {path: resident(root, path) for path in _listed(root)}
    weights = set(_weights(root, manifest))
    files = {
        path: File(size=statuses[path].st_size, sha256=sha256, weights=path in weights)
        for path, sha256 in sha256_files(root, statuses, progress)
    }
    finished = msgspec.structs.replace(manifest, files=files)
    write_manifest(root, finished)
    return finished


def _listed(root: Path) -> list[str]:
    """Every file in the folder but the manifest, as sorted relative paths with `/`."""
    found = []
    for folder, folders, names in os.walk(root):
        folders.sort()
        here = Path(folder).relative_to(root)
        links = [name for name in folders if Path(folder, name).is_symlink()]
        found += [(here / name).as_posix() for name in (*links, *names)]
    return sorted(path for path in found if path != layout.MANIFEST)


def _weights(root: Path, manifest: AnyManifest) -> Iterator[str]:
    for component in manifest.components.values():
        folder = component.graph.rpartition("/")[0]
        resident(root, component.graph)
        for location in {tensor.location for tensor in external_tensors_of(root / component.graph)}:
            path = f"{folder}/{location}"
            resident(root, path)
            yield path


def _check_output(target: Path, force: bool) -> None:
    if not os.path.lexists(target):
        return
    if not force:
        raise OutputExistsError(f"{target}: exists already; say --force to replace it")
    empty_or_bundle = (
        not target.is_symlink()
        and target.is_dir()
        and (os.path.lexists(target / layout.MANIFEST) or not any(target.iterdir()))
    )
    if not empty_or_bundle:
        raise OutputExistsError(
            f"{target}: exists already and is not a bundle; --force replaces bundles only. "
            "Choose another --output, or remove it yourself"
        )


def _make_beside(target: Path) -> Path:
    """A new folder on the same file system, so that the last step is a rename."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        name = tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    except OSError as error:
        raise UsageError(f"{target}: cannot be written there: {error.strerror}") from error
    beside = Path(name)
    beside.chmod(0o777 & ~_umask())  # mkdtemp's 0700 would follow the bundle around
    return beside


def _take_place(beside: Path, target: Path) -> None:
    """Rename `beside` to `target`; what was there is put back if that fails."""
    if not os.path.lexists(target):
        try:
            beside.rename(target)
        except OSError as error:
            raise OutputExistsError(f"{target}: cannot be put there: {error.strerror}") from error
        return
    former = beside.with_suffix(".former")
    target.rename(former)
    try:
        beside.rename(target)
    except BaseException:
        former.rename(target)
        raise
    shutil.rmtree(former, ignore_errors=True)


def _remember(target: Path, manifest: AnyManifest) -> None:
    """The weights were hashed a moment ago: the first open need not do it again."""
    for path, file in manifest.files.items():
        if file.weights:
            hash_cache.remember(str(target / path), (target / path).lstat(), file.sha256)


@contextmanager
def termination_raises() -> Iterator[None]:
    """Make SIGTERM and SIGHUP unwind the stack like Ctrl-C does, where they would just end it."""
    names = ("SIGTERM", "SIGHUP")
    known = [getattr(signal, name) for name in names if hasattr(signal, name)]
    in_main = threading.current_thread() is threading.main_thread()
    ours = [s for s in known if in_main and signal.getsignal(s) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _exit)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _exit(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
