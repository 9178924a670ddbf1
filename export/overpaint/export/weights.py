"""A template's weights: found in the checkpoint, put into the bundle, pointed at by the graph.

The checkpoint's own safetensors files are linked beside the graph (a hard link, else a reflink,
else a copy), so that export writes no weight at all; `store` writes converted ones instead.
"""

from __future__ import annotations

import fcntl
import math
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch

from overpaint.engines import layout
from overpaint.engines.errors import CheckpointError
from overpaint.engines.importing.graph_weights import Piece, Slot, Weight, bind, slots
from overpaint.engines.importing.safetensors_file import (
    Stored,
    ToWrite,
    read_bytes,
    write_safetensors,
)

CONVERTED: Final = "weights.safetensors"
STORED_NAMES: Final = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_TORCH: Final = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16}
_TORCH_DTYPES: Final = {**_TORCH, "BF16": torch.bfloat16}
_FICLONE: Final = 0x40049409  # linux/fs.h

_OLD_ATTENTION: Final = {
    "to_q": "query",
    "to_k": "key",
    "to_v": "value",
    "to_out.0": "proj_attn",
}
"""What diffusers called a VAE's attention until 2023; Stable Diffusion 1's own files still do."""


def place_weights(
    template: bytes, tensors: Mapping[str, Stored], folder: Path, store: str | None
) -> None:
    """Write `folder`'s graph, bound to weights that lie beside it.

    `tensors` is where the checkpoint has them. `store` is a dtype to convert them to, or None for
    the checkpoint's own bytes.

    Raises:
        CheckpointError: a weight is missing, or is not of the shape that the config makes it.
    """
    found = {name: _find(name, slot, tensors) for name, slot in slots(template).items()}
    if store is None:
        for file in {stored.file for stored in found.values()}:
            link(file, folder / file.name)
    else:
        found = _convert(found, STORED_NAMES[store], folder / CONVERTED)
    weights = {
        name: Weight(stored.dtype, (Piece(stored.file.name, stored.offset, stored.size),))
        for name, stored in found.items()
    }
    (folder / layout.GRAPH).write_bytes(bind(template, weights))


def link(source: Path, target: Path) -> None:
    """Put a file's content at `target`: hard link, reflink or copy, whichever is first possible.

    A symbolic link (a hub cache is full of them) is followed: a bundle holds none.
    """
    source = source.resolve()
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        with open(source, "rb") as reading, open(target, "wb") as writing:
            try:
                fcntl.ioctl(writing.fileno(), _FICLONE, reading.fileno())
            except OSError:
                shutil.copyfileobj(reading, writing, 1 << 24)


def _find(name: str, slot: Slot, tensors: Mapping[str, Stored]) -> Stored:
    """The stored tensor of a slot: by its name, or by a name that older releases gave it."""
    for alias in _aliases(name):
        if alias not in tensors:
            continue
        stored = tensors[alias]
        # A matrix and a 1x1 convolution are the same bytes.
        if _squeezed(stored.shape) != _squeezed(slot.shape):
            raise CheckpointError(
                f"{stored.file}: {alias!r} has the shape {list(stored.shape)}, but the config "
                f"makes it {list(slot.shape)}; config and weights are of different models"
            )
        return stored
    raise CheckpointError(
        f"the checkpoint has no tensor {name!r}; its config asks for it. Are config and weights "
        "of the same model, and is the download complete?"
    )


def _aliases(name: str) -> list[str]:
    names = [name]
    if name.startswith("text_model."):
        names.append(name.removeprefix("text_model."))
    if match := re.fullmatch(r"(.*\.attentions\.\d+\.)(to_\w(?:ut\.0)?)(\..*)", name):
        names.append(match[1] + _OLD_ATTENTION[match[2]] + match[3])
    if name in ("shared.weight", "encoder.embed_tokens.weight"):  # T5 ties them
        names += ["shared.weight", "encoder.embed_tokens.weight"]
    return names


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _convert(found: Mapping[str, Stored], dtype: str, path: Path) -> dict[str, Stored]:
    """Write the tensors in another dtype, one at a time."""
    to_write = {
        name: ToWrite(dtype, stored.shape, lambda stored=stored: _converted(stored, dtype))  # type: ignore[misc]
        for name, stored in found.items()
    }
    return write_safetensors(path, to_write)


def _converted(stored: Stored, dtype: str) -> bytes:
    if stored.dtype not in _TORCH_DTYPES:
        raise CheckpointError(
            f"{stored.file}: {stored.name!r} is stored as {stored.dtype}, which cannot be converted"
        )
    if not math.prod(stored.shape):
        return b""
    values = torch.frombuffer(bytearray(read_bytes(stored)), dtype=_TORCH_DTYPES[stored.dtype])
    converted = values.to(_TORCH_DTYPES[dtype])
    if bool((converted.isinf() & ~values.isinf()).any()):
        raise CheckpointError(
            f"{stored.name!r} holds {float(values.abs().max()):.3g}, which {dtype} cannot; "
            "choose another --store"
        )
    return converted.view(torch.uint8).numpy().tobytes()
