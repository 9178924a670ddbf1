"""`overpaint import` of a control network: its file or folder becomes a bundle with no torch."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec

from overpaint.bundle import layout
from overpaint.bundle.checkpoint.bind import bind_into
from overpaint.bundle.checkpoint.folder import Checkpoint
from overpaint.bundle.checkpoint.link import Choice, Placed
from overpaint.bundle.checkpoint.match import Resolved, resolve
from overpaint.bundle.checkpoint.original_names.controlnet import PREFIX, ControlNames
from overpaint.bundle.checkpoint.safetensors import Stored, read_header
from overpaint.bundle.checkpoint.tensors import (
    InSingleFile,
    Tensors,
    folder_tensors,
    single_file_tensors,
)
from overpaint.bundle.errors import CheckpointError
from overpaint.bundle.files.hashing import sha256_file
from overpaint.bundle.files.json import read_json
from overpaint.bundle.files.looking import is_file
from overpaint.bundle.format.controlnet import ControlNet
from overpaint.bundle.format.manifest import Component, Source
from overpaint.bundle.format.write import finish_bundle, new_bundle
from overpaint.bundle.importing.compatible_configs import check_configs
from overpaint.bundle.importing.library import Library
from overpaint.bundle.importing.write_configs import write_json
from overpaint.bundle.progress import Progress, Steps

from .facts import facts_of
from .library import control_library, slots_of

_MARKS: Final = (
    "controlnet_cond_embedding.conv_in.weight",  # diffusers'
    "controlnet_blocks.0.weight",  # its MMDiT's
    "input_hint_block.0.weight",  # the original code's
    f"{PREFIX}input_hint_block.0.weight",
)
_UNREAD: Final = re.compile(
    r"transformer_blocks\.\d+\.(attn\.to_add_out|ff_context\.net\.(0\.proj|2))\.(weight|bias)"
)
"""What files have of an MMDiT's last block, which makes something of the text that nobody reads."""

_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Imported:
    """A network's manifest, what it was recognised as, and how its weights came."""

    manifest: ControlNet
    architecture: str
    placed: frozenset[Placed]


@dataclass(frozen=True, slots=True)
class _Opened:
    name: str
    files: tuple[Path, ...]
    tensors: Tensors
    config: Mapping[str, Any] | None


def is_control_checkpoint(path: str | os.PathLike[str]) -> bool:
    """Whether this is a control network: a bare folder as diffusers saves one, or a `.safetensors`
    file that holds one. Raises CheckpointError where such a file is broken."""
    source = Path(path)
    if is_file(source):
        if source.suffix != ".safetensors":
            return False
        names = read_header(source)[0]
        return any(mark in names for mark in _MARKS)
    return is_control_folder(source)


def is_control_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a folder is a bare network as diffusers saves one, no pipeline."""
    folder = Path(path)
    return is_file(folder / layout.CONFIG) and not is_file(folder / layout.MODEL_INDEX)


def import_controlnet(
    checkpoint: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    link: Choice = "auto",
    dtype: str = "float32",
    force: bool = False,
    library: Library | None = None,
    progress: Progress | None = None,
) -> Imported:
    """Make the bundle `output` of a control network's `.safetensors` file, under diffusers' names
    or the original code's, or of its diffusers folder.

    Args:
        link: bring weights in by link, by copy, or (`auto`) by link where that is possible.
        dtype: what the graphs compute in.
        library: the networks to choose from; absent, those of the package.

    Raises:
        CheckpointError: it is none of them, incomplete, or broken.
        UsageError: an unknown dtype.
        OutputExistsError: `output` is there already and `force` is not set.
    """
    shelf = library or control_library()
    with new_bundle(output, force) as folder:
        opened = _open(Path(checkpoint))
        name, resolved = _recognise(shelf, opened)
        ours = shelf.architectures[name]
        config = ours.configs[layout.CONTROLNET]
        if opened.config is not None:
            check_configs(opened.name, opened.config, config)
        graphs = shelf.graphs(name, dtype)
        steps = Steps(progress, len(graphs), loras=False)
        components: dict[str, Component] = {}
        placed: set[Placed] = set()
        already: dict[Path, Path] = {}
        for component, graph in graphs.items():
            steps.next(f"{component}: finding its weights")
            here = folder / component
            here.mkdir()
            write_json(here / layout.CONFIG, opened.config or config)
            wanted = shelf.slots(graph)
            found = {key: resolved.found[key] for key in wanted}
            placed |= set(bind_into(here, shelf.template(graph), wanted, found, link, already))
            entry = shelf.index.graphs[graph].component
            components[component] = msgspec.structs.replace(
                entry, graph=layout.graph_path(component)
            )
        manifest = ControlNet(
            name=opened.name,
            **facts_of(opened.config or config, opened.name),
            components=components,
            source=Source(name=opened.name, sha256=sha256_file(opened.files[0])),
            producers={"overpaint": version("overpaint"), **shelf.index.versions},
            files={},
        )
        manifest = finish_bundle(folder, manifest, steps.hashing)
    return Imported(manifest, name, frozenset(placed))


def _open(path: Path) -> _Opened:
    if is_file(path):
        return _Opened(path.stem, (path,), _of_file(read_header(path)[0]), None)
    if not is_file(path / layout.CONFIG):
        raise CheckpointError(f"{path}: no such file, and not a ControlNet's folder")
    folder = path.resolve()
    files = Checkpoint(folder.parent, folder.name, {}).weights(folder.name)
    config = read_json(folder / layout.CONFIG)
    return _Opened(folder.name, files.files, folder_tensors(files.tensors()), config)


def _of_file(stored: Mapping[str, Stored]) -> Tensors:
    """A single file's tensors, by whichever names it has."""
    if _MARKS[0] in stored or _MARKS[1] in stored:
        return folder_tensors(stored)
    prefix = PREFIX if _MARKS[3] in stored else ""
    place = InSingleFile(prefix, lambda names: ControlNames.of(names).source)
    return single_file_tensors(stored, place)


def _recognise(library: Library, opened: _Opened) -> tuple[str, Resolved]:
    """Which of the library's networks it is, by its tensors' names and shapes alone."""
    every = {
        name: resolve(slots_of(library, name), opened.tensors) for name in library.architectures
    }
    for name, resolved in every.items():
        if not (resolved.missing or resolved.mismatched or _left(resolved)):
            return name, resolved
    known = ", ".join(library.architectures)
    name, nearest = max(every.items(), key=lambda one: len(one[1].found) - one[1].wrong)
    differences = " and ".join(_differences(nearest))
    raise CheckpointError(
        f"{opened.name} is nearest to {library.architectures[name].like}, but {differences}. Known "
        f"here: {known}; overpaint export, which needs torch, takes what has a diffusers folder"
    )


def _left(resolved: Resolved) -> tuple[str, ...]:
    """Tensors that are no part of the network."""
    return tuple(name for name in resolved.unused if not _UNREAD.fullmatch(name))


def _differences(resolved: Resolved) -> Iterator[str]:
    for text, names in (
        ("lacks {}", resolved.missing),
        ("has shapes of another network ({})", resolved.mismatched),
        ("has more than it should ({})", _left(resolved)),
    ):
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            yield text.format(", ".join(names[:_SHOWN]) + more)
