"""A bundle for whatever was named: made once in the user's cache folder, and found there again.

What is made is keyed by its files' paths, sizes and modification times, the LoRAs among them, so
that a changed file is another bundle. Deleting the folder costs nothing but the time to make anew.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from overpaint.bundle import layout
from overpaint.bundle.errors import OutputExistsError, UsageError
from overpaint.bundle.files.looking import is_file, is_there
from overpaint.bundle.files.user_folders import cache_folder
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.lora.file import LoraChoice
from overpaint.bundle.lora.fuse import fuse_loras
from overpaint.bundle.progress import Progress

from .import_checkpoint import import_checkpoint
from .library import Library, open_library
from .preview_factors import Decode

_FORMAT: Final = "1"  # raise it when the same files would make other bundles


def ready_bundle(
    source: str | os.PathLike[str],
    *,
    loras: Sequence[LoraChoice] = (),
    like: str | None = None,
    library: Library | None = None,
    decode: Decode | None = None,
    progress: Progress | None = None,
) -> Path:
    """The folder of a bundle: `source` itself, or what it is made into with `loras` fused.

    `source` is a bundle, a single `.safetensors` file or a diffusers folder; `like` and `decode`
    as `import_checkpoint` has them.

    Raises:
        CheckpointError: it cannot be imported, or a LoRA does not fit it.
        UsageError: there is no cache folder to make it in.
    """
    path = Path(source)
    checkpoint = _is_checkpoint(path)
    if like is not None and not checkpoint:
        raise UsageError(f"--like: is for single files; {path} is a bundle, which says what it is")
    if not checkpoint and not loras:
        return path
    shelf = (library or open_library()) if checkpoint else None
    target = _target(path, loras, like, shelf)
    if target.is_dir():
        return target
    try:
        if checkpoint:
            import_checkpoint(
                path,
                target,
                loras=loras,
                like=like,
                library=shelf,
                decode=decode,
                progress=progress,
            )
        else:
            fuse_loras(open_bundle(path), target, loras, progress=progress)
    except OutputExistsError:
        if not target.is_dir():  # else another process was faster
            raise
    return target


def _is_checkpoint(path: Path) -> bool:
    """A file, or a diffusers folder that holds no graph."""
    if is_file(path):
        return True
    graphs = (path / layout.graph_path(component) for component in layout.COMPONENTS)
    return (
        is_file(path / layout.MODEL_INDEX)
        and not is_there(path / layout.MANIFEST)
        and not any(is_there(graph) for graph in graphs)
    )


def _target(
    path: Path, loras: Sequence[LoraChoice], like: str | None, library: Library | None
) -> Path:
    cache = cache_folder()
    if cache is None:
        raise UsageError(
            f"{path}: there is no cache folder to make a bundle in; set XDG_CACHE_HOME, or make "
            "it with overpaint import and name the bundle"
        )
    graphs = () if library is None else library.index.graphs.values()
    told = [_FORMAT, like or "", *sorted(graph.sha256 for graph in graphs)]
    told += _identities(path)
    for lora in loras:
        told += [repr(lora.weight), *_identities(lora.path)]
    key = hashlib.sha256("\0".join(told).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return Path(cache, "bundles", f"{path.stem}-{key}")


def _identities(path: Path) -> Iterator[str]:
    """Which files these are, without reading them."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    for file in files:
        try:
            status = file.stat()
        except OSError:
            continue  # whoever opens it reports that better
        if stat.S_ISREG(status.st_mode):
            yield f"{file.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
