"""A textual inversion's file: the vectors that a word stands for, for one text encoder or two.

Gal et al. 2022, "An Image is Worth One Word". Files have `emb_params` (AUTOMATIC1111's), `clip_l`
and `clip_g` (SDXL's two encoders), or one tensor called as the word (diffusers').
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from overpaint.bundle.checkpoint.safetensors import Stored, read_header
from overpaint.bundle.errors import CheckpointError

CLIPS: Final = {"clip_l": "text_encoder", "clip_g": "text_encoder_2"}
MOST_VECTORS: Final = 75
_DTYPES: Final = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "BF16": "<u2"}

Vectors = npt.NDArray[np.float32]


def read_vectors(path: Path) -> dict[str | None, Vectors]:
    """The file's vectors (n,W), by the component that they are for; None: whichever they fit.

    Raises:
        CheckpointError: it is a pickle, no safetensors file, or no textual inversion.
    """
    if path.suffix.lower() in (".pt", ".bin", ".ckpt", ".pth"):
        raise CheckpointError(
            f"{path}: is a pickle, and reading one runs whatever code is in it; get the embedding "
            "as .safetensors, or convert it where you trust it"
        )
    tensors, _ = read_header(path)
    if set(tensors) & set(CLIPS):
        found = {CLIPS[name]: one for name, one in tensors.items() if name in CLIPS}
        return {component: _read(path, one) for component, one in found.items()}
    if len(tensors) != 1:
        raise CheckpointError(
            f"{path}: expected a textual inversion (one tensor, or clip_l and clip_g), got "
            f"{len(tensors)} tensors"
        )
    [only] = tensors.values()
    return {None: _read(path, only)}


def _read(path: Path, stored: Stored) -> Vectors:
    shape = stored.shape if len(stored.shape) == 2 else (1, *stored.shape)
    if len(shape) != 2 or not 1 <= shape[0] <= MOST_VECTORS or stored.dtype not in _DTYPES:
        raise CheckpointError(
            f"{path}: {stored.name} is {stored.dtype} {list(stored.shape)}; expected 1 to "
            f"{MOST_VECTORS} vectors of floats"
        )
    with path.open("rb") as file:
        file.seek(stored.offset)
        values: npt.NDArray[Any] = np.frombuffer(
            file.read(stored.size), _DTYPES[stored.dtype]
        ).reshape(shape)
    if stored.dtype == "BF16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32)
