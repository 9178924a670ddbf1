"""A checkpoint of an architecture's true size with random weights, as a folder or a single file."""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from stored_tensors import (
    TOKENIZERS,
    Shapes,
    in_folder,
    in_single_file,
    stored_shapes,
    write_configs,
)

from overpaint.bundle.checkpoint.safetensors import ToWrite, write_safetensors
from overpaint.bundle.importing.library import Library
from overpaint.bundle.importing.recognise import slots_of

Values: TypeAlias = npt.NDArray[np.float32]

_BLOCK: Final = 1 << 24  # values drawn once, and repeated: a checkpoint's size is what matters
_DTYPES: Final = {"F32": np.float32, "F16": np.float16}


def write_folder(
    library: Library,
    name: str,
    folder: Path,
    *,
    dtype: str = "F16",
    without: tuple[str, ...] = (),
    distinct: bool = False,
) -> Path:
    """Write architecture `name` in diffusers' layout, leaving out the components `without`.

    distinct: no two tensors are alike, for builders that keep those once that are.
    """
    components = [one for one in library.architectures[name].configs if one not in without]
    write_configs(library, name, folder, components)
    for component in components:
        stem = "model" if component in TOKENIZERS else "diffusion_pytorch_model"
        sources = in_folder(library, name, component)
        shapes = stored_shapes(slots_of(library, name, component), sources)
        tensors = dict(_weights(shapes, dtype, distinct))
        write_safetensors(folder / component / f"{stem}.safetensors", tensors)
    return folder


def write_file(
    library: Library, name: str, path: Path, *, dtype: str = "F16", without: tuple[str, ...] = ()
) -> Path:
    """Write architecture `name` as a single file, under the original code's names."""
    shapes: Shapes = {}
    for component in library.architectures[name].configs:
        if component not in without:
            sources = in_single_file(library, name, component)
            shapes |= stored_shapes(slots_of(library, name, component), sources)
    write_safetensors(path, dict(_weights(shapes, dtype)))
    return path


def _weights(shapes: Shapes, dtype: str, distinct: bool = False) -> Iterator[tuple[str, ToWrite]]:
    block = np.random.default_rng(0).standard_normal(_BLOCK, np.float32)
    for name, shape in shapes.items():
        start = zlib.crc32(name.encode()) % (_BLOCK // 2) if distinct else 0
        yield (
            name,
            ToWrite(dtype, shape, functools.partial(_values, name, shape, dtype, block[start:])),
        )


def _values(name: str, shape: tuple[int, ...], dtype: str, block: Values) -> bytes:
    """Matrices that keep the size of what they multiply; norms of 1, biases of 0."""
    count = math.prod(shape)
    if len(shape) == 1:
        return np.full(count, name.endswith("weight"), _DTYPES[dtype]).tobytes()
    scaled = (block[:count] / np.float32(math.sqrt(math.prod(shape[1:])))).astype(_DTYPES[dtype])
    return np.resize(scaled, count).tobytes()
