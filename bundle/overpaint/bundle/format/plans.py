"""A folder of plans in a bundle: what each is made of, and how it gets there, all or nothing.

with new_plans(bundle, "trt11.4-sm90-linux-x86_64") as folder:
    ...                                    # write plans into `folder`
# here they are in place and listed; had anything been raised, the bundle would be as it was
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from overpaint.bundle import layout
from overpaint.bundle.errors import BundleError, UsageError
from overpaint.bundle.files.hashing import sha256_files
from overpaint.bundle.files.names import resident

from .bundle import Bundle
from .manifest import File, Manifest
from .manifest_file import read_manifest, write_manifest
from .write import termination_raises


def check_listable(bundle: Bundle) -> None:
    """Raise BundleError where there is no manifest that could list plans and vouch for them."""
    if bundle.inferred:
        raise BundleError(
            f"{bundle.folder}: has no {layout.MANIFEST} to list plans in; plans are built for "
            "bundles that overpaint export or import made"
        )


def origin(manifest: Manifest, component: str) -> str:
    """SHA-256 over the graph and the weights beside it, as the manifest has their hashes."""
    folder = manifest.components[component].graph.rpartition("/")[0]
    files = {path: file for path, file in manifest.files.items() if path.startswith(f"{folder}/")}
    lines = [f"{file.sha256} {path}\n" for path, file in sorted(files.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@contextlib.contextmanager
def new_plans(bundle: Bundle, target: str) -> Iterator[Path]:
    """Yield an empty folder that becomes `plans/<target>`, and is listed, when the block ends well.

    Former plans for the same target leave the manifest before they are replaced, and new ones are
    listed once they lie in place: whatever interrupts this, what the manifest lists is there and
    unchanged. Files that end in `.weights` are listed as weights.

    Raises:
        UsageError: the bundle cannot be written to, or the disk is full.
    """
    plans = bundle.folder / layout.PLANS
    made = not plans.exists()
    beside: Path | None = None
    with termination_raises():
        try:
            plans.mkdir(exist_ok=True)
            beside = Path(tempfile.mkdtemp(prefix=f".{target}.", suffix=".part", dir=plans))
            yield beside
            _take_place(bundle.folder, beside, f"{layout.PLANS}/{target}")
        except OSError as error:
            raise UsageError(
                f"{bundle.folder}: plans cannot be written there: {error.strerror}. "
                "Copy the bundle to where you may write, and build there"
            ) from error
        finally:
            if beside is not None:
                shutil.rmtree(beside, ignore_errors=True)
            if made:
                with contextlib.suppress(OSError):
                    plans.rmdir()  # only where it is empty


def _take_place(root: Path, beside: Path, folder: str) -> None:
    files = read_manifest(root).files
    without = {path: file for path, file in files.items() if not path.startswith(f"{folder}/")}
    if len(without) < len(files):
        _list(root, without)
    shutil.rmtree(root / folder, ignore_errors=True)
    beside.chmod(0o755)  # mkdtemp's 0700 would follow it around
    beside.rename(root / folder)
    _list(root, {**without, **_hashed(root, folder)})


def _hashed(root: Path, folder: str) -> dict[str, File]:
    paths = sorted(f"{folder}/{name}" for name in os.listdir(root / folder))
    statuses = {path: resident(root, path) for path in paths}
    return {
        path: File(size=statuses[path].st_size, sha256=sha256, weights=path.endswith(".weights"))
        for path, sha256 in sha256_files(root, statuses)
    }


def _list(root: Path, files: Mapping[str, File]) -> None:
    write_manifest(root, msgspec.structs.replace(read_manifest(root), files=dict(files)))
