"""A template's weights: found in the checkpoint, put into the bundle, pointed at by the graph.

The checkpoint's own safetensors files are linked beside the graph, so that an export writes no
weight at all; with `store`, converted ones are written instead.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch

from overpaint.bundle.checkpoint.bind import bind_into
from overpaint.bundle.checkpoint.match import Found, Resolved, resolve
from overpaint.bundle.checkpoint.safetensors import Stored, ToWrite, read_bytes, write_safetensors
from overpaint.bundle.checkpoint.tensors import folder_tensors
from overpaint.bundle.errors import CheckpointError
from overpaint.bundle.graph.weights import slots

CONVERTED: Final = "model.safetensors"
STORED_NAMES: Final = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_TORCH: Final = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def place_weights(
    template: bytes,
    tensors: Mapping[str, Stored],
    folder: Path,
    *,
    store: str | None,
    already: dict[Path, Path],
) -> None:
    """Write `folder`'s graph, bound to weights that lie beside it.

    `tensors` is where the checkpoint has them, `already` where the bundle has its files so far.
    `store` is a dtype to convert them to, or None for the checkpoint's own bytes.

    Raises:
        CheckpointError: a weight is missing, or is not of the shape that the config makes it.
    """
    wanted = slots(template)
    resolved = resolve(wanted, folder_tensors(tensors))
    _refuse_incomplete(resolved, folder.name)
    if store is None:
        bind_into(folder, template, wanted, resolved.found, "auto", already)
        return
    with tempfile.TemporaryDirectory(dir=folder.parent) as staging:
        converted = _convert(resolved.found, STORED_NAMES[store], Path(staging, CONVERTED))
        bind_into(folder, template, wanted, converted, "auto", already)


def _refuse_incomplete(resolved: Resolved, component: str) -> None:
    """Tensors left over are fine here: the VAE's two graphs share a file, and some carry an EMA."""
    if resolved.mismatched:
        raise CheckpointError(
            f"{component}: config and weights are of different models: {resolved.mismatched[0]}"
        )
    if resolved.missing:
        raise CheckpointError(
            f"{component}: the checkpoint lacks {len(resolved.missing)} of "
            f"{len(resolved.found) + len(resolved.missing)} weights, {resolved.missing[0]!r} "
            "among them; is the download complete?"
        )


def _convert(found: Mapping[str, Found], dtype: str, path: Path) -> dict[str, Found]:
    """Write the weights in another dtype, one at a time; where they are now."""
    tensors = {name: one.stored[0] for name, one in found.items()}
    to_write = {
        name: ToWrite(dtype, stored.shape, lambda stored=stored: _converted(stored, dtype))  # type: ignore[misc]
        for name, stored in tensors.items()
    }
    written = write_safetensors(path, to_write)
    return {name: Found(found[name].source, (stored,)) for name, stored in written.items()}


def _converted(stored: Stored, dtype: str) -> bytes:
    values = torch.frombuffer(bytearray(read_bytes(stored)), dtype=_TORCH[stored.dtype])
    converted = values.to(_TORCH[dtype])
    if bool((converted.isinf() & ~values.isinf()).any()):
        raise CheckpointError(
            f"{stored.name!r} holds values up to {float(values.abs().max()):.3g}, which {dtype} "
            "cannot; choose another --store"
        )
    return converted.view(torch.uint8).numpy().tobytes()
