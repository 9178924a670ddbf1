"""Is a bundle what its manifest says: every file there, inside, and unchanged.

A hash proves that a file is the one that was written, not who wrote it. Graphs, tokenizers, configs
and plans are hashed at every open; weight files when `level` is "full", and else where they were
not hashed before (`verified`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

from overpaint.bundle.errors import IntegrityError
from overpaint.bundle.files import hash_cache
from overpaint.bundle.files.hashing import Progress, sha256_files
from overpaint.bundle.files.names import problem_with_path, resident
from overpaint.bundle.graph.external import ExternalTensor, external_tensors_of

from .adapter import IpAdapter
from .controlnet import ControlNet
from .manifest import File, Manifest

Level: TypeAlias = Literal["open", "full"]


def problems(
    folder: Path,
    manifest: Manifest | IpAdapter | ControlNet,
    level: Level,
    progress: Progress | None = None,
) -> Iterator[str]:
    """Yield what is wrong with the files of a bundle, each as one line, in the manifest's order."""
    there: dict[str, os.stat_result] = {}
    for path, file in manifest.files.items():
        try:
            status = resident(folder, path)
        except IntegrityError as error:
            yield str(error)
            continue
        if not os.access(folder / path, os.R_OK):
            yield f"{folder / path}: cannot be read: this user may not; see its permissions"
        elif status.st_size != file.size:
            yield (
                f"{folder / path}: expected {file.size} bytes, got {status.st_size}; {_mend(file)}"
            )
        else:
            there[path] = status
    yield from _hashes(folder, manifest, there, level, progress)
    for path in there:
        if path.endswith(".onnx"):
            yield from external_problems(folder, path, manifest.files)


def _hashes(
    folder: Path,
    manifest: Manifest | IpAdapter | ControlNet,
    there: dict[str, os.stat_result],
    level: Level,
    progress: Progress | None,
) -> Iterator[str]:
    """Hash what is not trusted already."""
    due = {
        path: status
        for path, status in there.items()
        if not _is_trusted(folder / path, status, manifest.files[path], level)
    }
    for path, sha256 in sha256_files(folder, due, progress):
        file = manifest.files[path]
        if sha256 != file.sha256:
            yield (
                f"{folder / path}: changed: expected SHA-256 {file.sha256[:16]}…, "
                f"got {sha256[:16]}…; {_mend(file)}"
            )
        elif file.weights:
            hash_cache.remember(str(folder / path), due[path], sha256)


def _is_trusted(path: Path, status: os.stat_result, file: File, level: Level) -> bool:
    return (
        file.weights and level == "open" and hash_cache.is_verified(str(path), status, file.sha256)
    )


def external_problems(folder: Path, graph: str, files: Mapping[str, File]) -> Iterator[str]:
    """Yield how `graph` points out of its folder, past an end, or to what is not in `files`."""
    try:
        tensors = external_tensors_of(folder / graph)
    except IntegrityError as error:
        yield str(error)
        return
    sizes: dict[str, int | str] = {}
    for tensor in tensors:
        location = tensor.location
        if location not in sizes:
            sizes[location] = _size_or_problem(f"{graph.rpartition('/')[0]}/{location}", files)
            if isinstance(sizes[location], str):
                yield f"{folder / graph}: the weight {tensor.name!r}: {sizes[location]}"
        if isinstance(size := sizes[location], int) and (wrong := _overrun(tensor, size)):
            yield f"{folder / graph}: the weight {tensor.name!r}: {wrong}"


def _size_or_problem(path: str, files: Mapping[str, File]) -> int | str:
    """The size of the file at `path`, or why a graph may not point there."""
    if problem := problem_with_path(path):
        return f"its external data {problem}"
    if (file := files.get(path)) is None:
        return f"its external data {path!r} is not a file of this bundle's manifest"
    return file.size


def _overrun(tensor: ExternalTensor, size: int) -> str | None:
    end = tensor.offset + (tensor.length or 0)
    if end <= size:
        return None
    return (
        f"expected bytes {tensor.offset} to {end} of {tensor.location!r}, which has {size}; "
        "graph and weights do not belong together"
    )


def _mend(file: File) -> str:
    kind = "weights" if file.weights else "file"
    return f"copy the {kind} again, or make the bundle anew with overpaint export or import"
