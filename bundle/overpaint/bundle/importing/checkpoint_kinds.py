"""A checkpoint to import, opened: a diffusers folder or a single file, behind one face."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from overpaint.bundle.checkpoint.folder import Checkpoint, open_checkpoint
from overpaint.bundle.checkpoint.safetensors import Stored, read_header
from overpaint.bundle.checkpoint.tensors import Tensors, folder_tensors, single_file_tensors
from overpaint.bundle.errors import CheckpointError, UsageError
from overpaint.bundle.families import FAMILIES
from overpaint.bundle.files.looking import is_file

_PICKLES: Final = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_OTHERS: Final = {
    "edm_mean": "Playground 2.5, whose latents and noise levels are not Stable Diffusion's",
    "control_model.time_embed.0.weight": "a ControlNet, which is a network beside a checkpoint's",
}
_PICKLE_NAMES: Final = re.compile(r".*\.(ckpt|pt|pth|bin|pkl|pickle)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Folder:
    """A diffusers folder, sharded or not."""

    checkpoint: Checkpoint
    _read: dict[str, Tensors] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        return self.checkpoint.name

    @property
    def label(self) -> str:
        return str(self.checkpoint.folder)

    def tensors_of(self, family: str, component: str) -> Tensors | None:
        """A component's tensors, whatever the family."""
        if not self.checkpoint.has(component):
            return None
        if component not in self._read:
            stored = self.checkpoint.weights(component).tensors()
            self._read[component] = folder_tensors(stored)
        return self._read[component]


@dataclass(frozen=True, slots=True)
class SingleFile:
    """A `.safetensors` file with the original code's names. `rest`: a diffusers folder that has
    the components which the file lacks."""

    path: Path
    tensors: Mapping[str, Stored] = field(repr=False)
    metadata: Mapping[str, str] = field(repr=False)
    rest: Folder | None = None

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def label(self) -> str:
        return str(self.path)

    def tensors_of(self, family: str, component: str) -> Tensors | None:
        """A component's tensors, if the file is of `family`."""
        place = FAMILIES[family].single_file.get(component)
        if place is None:
            return None
        found = single_file_tensors(self.tensors, place)
        if self.rest is not None and not found.stored:
            return self.rest.tensors_of(family, component)
        return found


def open_for_import(
    source: str | os.PathLike[str], rest: str | os.PathLike[str] | None = None
) -> Folder | SingleFile:
    """Open a diffusers folder, a hub id or a single file, which `rest` completes.

    Raises:
        CheckpointError: there is nothing, or a pickle, or a broken file.
        UsageError: `rest` of what is whole.
    """
    path = Path(source)
    if not is_file(path):
        if rest is not None:
            raise UsageError("--rest: is for single files; a diffusers folder is whole")
        return Folder(open_checkpoint(source))
    try:
        with open(path, "rb") as file:
            start = file.read(4)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    if start.startswith(_PICKLES) or _PICKLE_NAMES.fullmatch(path.name):
        raise CheckpointError(
            f"{path}: a pickle, which can run any code when it is read; it is not opened. "
            "Take the .safetensors that its authors publish, or convert it where that is safe"
        )
    if start == b"GGUF":
        raise CheckpointError(f"{path}: a GGUF file; its quantized blocks are not tensors of ONNX")
    tensors, metadata = read_header(path)
    for name, what in _OTHERS.items():
        if name in tensors:
            raise CheckpointError(f"{path}: {what}; it cannot be imported")
    whole = None if rest is None else Folder(open_checkpoint(rest))
    return SingleFile(path, tensors, metadata, whole)
