"""`overpaint import` of an IP-Adapter: its file and an image encoder's folder become a bundle.

Both graphs are written here, from the sizes that the files have; weights are linked.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec

from overpaint.bundle import layout
from overpaint.bundle.checkpoint.bind import bind_into
from overpaint.bundle.checkpoint.link import Choice
from overpaint.bundle.checkpoint.match import Resolved, resolve
from overpaint.bundle.checkpoint.safetensors import Stored, read_header
from overpaint.bundle.checkpoint.tensors import folder_tensors
from overpaint.bundle.errors import CheckpointError, UsageError
from overpaint.bundle.files.hashing import Progress
from overpaint.bundle.files.json import read_json
from overpaint.bundle.files.looking import is_file, is_folder, is_there
from overpaint.bundle.format.adapter import IpAdapter
from overpaint.bundle.format.manifest import Source
from overpaint.bundle.format.manifest_file import write_manifest
from overpaint.bundle.format.write import finish_bundle, new_bundle
from overpaint.bundle.graph.weights import slots
from overpaint.bundle.tensor import DType

from .file import AdapterFile, is_adapter, read_adapter
from .image_encoder import VisionFields, image_encoder, read_vision_config, seen
from .projection import projection

DTYPES: Final[tuple[DType, ...]] = ("float32", "float16")
_WEIGHTS: Final = ("model.safetensors", "model.fp16.safetensors")
_NOT_YET: Final = "0" * 64  # the file's hash, until the bundle's files are hashed


def import_adapter(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    image_encoder_folder: str | os.PathLike[str] | None = None,
    link: Choice = "auto",
    dtype: str = "float32",
    force: bool = False,
    progress: Progress | None = None,
) -> IpAdapter:
    """Make the bundle `output` of an adapter's `.safetensors` file, or of a folder with one.

    Args:
        image_encoder_folder: config.json and model.safetensors of the encoder that it was trained
            with; absent, `image_encoder` beside the file, or beside its folder in `models`.
        dtype: what the two graphs compute in.

    Raises:
        CheckpointError: it is no adapter that is known here, or the encoder is another.
        UsageError: an unknown dtype.
        OutputExistsError: `output` is there already and `force` is not set.
    """
    compute = next((one for one in DTYPES if one == dtype), None)
    if compute is None:
        raise UsageError(f"dtype: expected {' or '.join(DTYPES)}, got {dtype!r}")
    file = read_adapter(adapter_file(Path(source)))
    encoder = _encoder(file, None if image_encoder_folder is None else Path(image_encoder_folder))
    fields = read_vision_config(read_json(encoder / layout.CONFIG), str(encoder / layout.CONFIG))
    _check_seen(file, fields, encoder)
    already: dict[Path, Path] = {}
    with new_bundle(output, force) as folder:
        template, eyes = image_encoder(fields, file.kind, compute)
        _bind(folder, layout.IMAGE_ENCODER, template, _encoder_tensors(encoder), link, already)
        shutil.copyfile(encoder / layout.CONFIG, folder / layout.IMAGE_ENCODER / layout.CONFIG)
        template, tokens = projection(file, seen(fields, file.kind), compute)
        _bind(folder, layout.IMAGE_PROJECTION, template, file.tensors, link, already)
        manifest = IpAdapter(
            name=file.path.stem,
            kind=file.kind,
            tokens=file.tokens,
            width=file.width,
            components={layout.IMAGE_ENCODER: eyes, layout.IMAGE_PROJECTION: tokens},
            weights=already[file.path].relative_to(folder).as_posix(),
            attentions=file.pairs,
            source=Source(name=file.path.name, sha256=_NOT_YET),
            producers={"overpaint": version("overpaint")},
            files={},
        )
        finished = finish_bundle(folder, manifest, progress)
        published = Source(name=file.path.name, sha256=finished.files[finished.weights].sha256)
        finished = msgspec.structs.replace(finished, source=published)
        write_manifest(folder, finished)
    return finished


def holds_adapter(source: str | os.PathLike[str]) -> bool:
    """Whether `source` is an IP-Adapter's file, or a folder of them; nothing is raised."""
    path = Path(source)
    if is_there(path / layout.MODEL_INDEX):
        return False
    files = sorted(path.glob("*.safetensors")) if is_folder(path) else [path]
    try:
        return any(is_adapter(read_header(file)[0]) for file in files if is_file(file))
    except CheckpointError:
        return False  # whoever opens it says what is wrong


def adapter_file(source: Path) -> Path:
    """The one adapter's file that `source` is, or has in it.

    Raises:
        CheckpointError: there is none, or there are several.
    """
    if is_file(source):
        return source
    if not is_folder(source):
        raise CheckpointError(f"{source}: no such file or folder")
    found = [
        path for path in sorted(source.glob("*.safetensors")) if is_adapter(read_header(path)[0])
    ]
    if len(found) != 1:
        named = ", ".join(path.name for path in found) or "none"
        raise CheckpointError(
            f"{source}: expected one IP-Adapter in safetensors, got {named}; name the file"
        )
    return found[0]


def _encoder(file: AdapterFile, named: Path | None) -> Path:
    """Where the image encoder is: as named, or the nearest whose sizes are the adapter's."""
    here = file.path.absolute().parent
    places = (
        [named]
        if named
        else [here / layout.IMAGE_ENCODER, here.parent / "models" / layout.IMAGE_ENCODER]
    )
    there = [place for place in places if is_file(place / layout.CONFIG)]
    for place in there:
        fields = read_vision_config(read_json(place / layout.CONFIG), str(place / layout.CONFIG))
        if seen(fields, file.kind)[-1] == file.sees:
            return place
    if there:
        return there[0]  # whose sizes are reported
    raise CheckpointError(
        f"{file.path}: its image encoder is not there; expected {places[0]} with "
        f"{layout.CONFIG} and model.safetensors, or name its folder with --image-encoder"
    )


def _check_seen(file: AdapterFile, fields: VisionFields, encoder: Path) -> None:
    got = seen(fields, file.kind)[-1]
    if got != file.sees:
        raise CheckpointError(
            f"{file.path}: it sees {file.sees} numbers of a picture, and {encoder} gives {got}; "
            "name the encoder that it was trained with, with --image-encoder"
        )


def _encoder_tensors(folder: Path) -> Mapping[str, Stored]:
    for name in _WEIGHTS:
        if is_file(folder / name):
            return read_header(folder / name)[0]
    raise CheckpointError(f"{folder}: expected {_WEIGHTS[0]}; is the download complete?")


def _bind(
    folder: Path,
    component: str,
    template: bytes,
    tensors: Mapping[str, Stored],
    link: Choice,
    already: dict[Path, Path],
) -> None:
    wanted = slots(template)
    resolved = resolve(wanted, folder_tensors(tensors))
    for problem in _wrong(resolved):
        raise CheckpointError(f"{component}: {problem}; is the download complete?")
    (folder / component).mkdir()
    bind_into(folder / component, template, wanted, resolved.found, link, already)


def _wrong(resolved: Resolved) -> Iterator[str]:
    yield from resolved.mismatched
    yield from (f"the file lacks {name!r}" for name in resolved.missing)
