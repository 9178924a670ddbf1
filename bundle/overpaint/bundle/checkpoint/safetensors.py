"""Reading and writing safetensors files in NumPy, bfloat16 included.

The format (huggingface/safetensors, README): 8 bytes of header length, a JSON header that says
`dtype`, `shape` and `data_offsets` of every tensor, then one buffer that the tensors cover without
overlaps and without holes. A file that breaks any of it is refused, as the reference library does.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from overpaint.bundle.errors import CheckpointError, one_line

Array: TypeAlias = npt.NDArray[Any]

MAX_HEADER: Final = 100_000_000
MOST_DIMENSIONS: Final = 64  # as NumPy has it
ITEM_SIZES: Final[dict[str, int]] = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "U8", "BOOL"), 1),
}
_NUMPY: Final[dict[str, str]] = {
    **{f"F{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
    **{f"I{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    "BOOL": "?",
}
_DTYPE_NAMES: Final = {np.dtype(code): name for name, code in _NUMPY.items()}


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor as it lies in a file: `size` bytes from `offset`, row-major, little-endian."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        return math.prod(self.shape) * ITEM_SIZES[self.dtype]


_Size: TypeAlias = Annotated[int, Meta(le=2**63 - 1)]


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    dtype: str
    shape: Annotated[list[_Size], Meta(max_length=MOST_DIMENSIONS)]
    data_offsets: tuple[_Size, _Size]


def read_header(path: Path) -> tuple[dict[str, Stored], dict[str, str]]:
    """The tensors of a file by name, and its metadata.

    Raises `CheckpointError`, in one line, where the file is not a safetensors file or its header
    contradicts itself or the file's size.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            prefix = file.read(8)
            length = int.from_bytes(prefix, "little")
            if len(prefix) < 8 or not 2 <= length <= min(MAX_HEADER, size - 8):
                raise _refuse(path, f"it has {size} bytes and claims a header of {length}")
            header = file.read(length)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        entries = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
        metadata = msgspec.json.decode(entries.pop("__metadata__", b"{}"), type=dict[str, str])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise _refuse(path, f"its header is not what the format says ({error})") from error
    start = 8 + length
    tensors = {name: _stored(path, name, raw, start) for name, raw in entries.items()}
    _check_cover(path, tensors.values(), start, size)
    return tensors, metadata


def _refuse(path: Path, why: str) -> CheckpointError:
    return CheckpointError(one_line(f"{path} is not a whole safetensors file: {why}"))


def _stored(path: Path, name: str, raw: msgspec.Raw, start: int) -> Stored:
    try:
        entry = msgspec.json.decode(raw, type=_Entry)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise _refuse(path, f"the entry of {name!r} is malformed ({error})") from error
    if entry.dtype not in ITEM_SIZES:
        raise _refuse(path, f"{name!r} has the dtype {entry.dtype!r}, which is unknown")
    begin, end = entry.data_offsets
    shape = tuple(entry.shape)
    if min(shape, default=0) < 0 or begin < 0 or end < begin:
        raise _refuse(path, f"{name!r} has a negative shape or offset")
    stored = Stored(path, name, entry.dtype, shape, start + begin)
    if stored.size != end - begin:
        raise _refuse(
            path, f"{name!r} is {entry.dtype} {list(shape)}, {stored.size} bytes, not {end - begin}"
        )
    return stored


def _check_cover(path: Path, tensors: Iterable[Stored], start: int, size: int) -> None:
    """The tensors tile the buffer: no overlap, no hole, nothing past the end."""
    at = start
    for tensor in sorted(tensors, key=lambda tensor: (tensor.offset, tensor.size)):
        if tensor.offset != at:
            what = "overlaps the tensor before it" if tensor.offset < at else "follows a hole"
            raise _refuse(path, f"{tensor.name!r} {what}")
        at += tensor.size
    if at != size:
        raise _refuse(path, f"its tensors end at byte {at} and the file at {size}")


def read_bytes(stored: Stored) -> bytes:
    """The tensor's own bytes."""
    with open(stored.file, "rb") as file:
        file.seek(stored.offset)
        return file.read(stored.size)


def read_array(stored: Stored) -> Array:
    """The tensor in NumPy. bfloat16, which NumPy lacks, is widened to float32 (exactly)."""
    data = read_bytes(stored)
    if len(data) != stored.size:
        raise CheckpointError(f"{stored.file} ended while {stored.name!r} was read")
    if stored.dtype == "BF16":
        bits = np.frombuffer(data, "<u2").astype(np.uint32) << np.uint32(16)
        return bits.view(np.float32).reshape(stored.shape)
    if stored.dtype not in _NUMPY:
        raise CheckpointError(
            f"{stored.name!r} in {stored.file} is stored as {stored.dtype}, which cannot be read; "
            "float32, float16 and bfloat16 can"
        )
    return np.frombuffer(data, _NUMPY[stored.dtype]).reshape(stored.shape)


@dataclass(frozen=True, slots=True)
class ToWrite:
    """A tensor that a file is to hold; `data` is called once, when its turn comes."""

    dtype: str
    shape: tuple[int, ...]
    data: Callable[[], bytes | memoryview]


def of_array(array: Array) -> ToWrite:
    """A NumPy array as a tensor to write."""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    dtype = _DTYPE_NAMES[little.dtype]
    return ToWrite(dtype, little.shape, lambda: little.reshape(-1).view(np.uint8).data)


def write_safetensors(
    path: Path, tensors: Mapping[str, ToWrite], metadata: Mapping[str, str] | None = None
) -> dict[str, Stored]:
    """Write `tensors` to `path`, one at a time, and say where each lies.

    Wider dtypes come first and the header is padded to 8 bytes, so every tensor is aligned to its
    item (the reference library's order). The same tensors give the same bytes.
    """
    names = sorted(tensors, key=lambda name: (-ITEM_SIZES[tensors[name].dtype], name))
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    at = 0
    for name in names:
        tensor = tensors[name]
        size = math.prod(tensor.shape) * ITEM_SIZES[tensor.dtype]
        header[name] = {
            "dtype": tensor.dtype,
            "shape": tensor.shape,
            "data_offsets": (at, at + size),
        }
        at += size
    encoded = msgspec.json.encode(header)
    encoded += b" " * (-len(encoded) % 8)
    stored: dict[str, Stored] = {}
    with open(path, "wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for name in names:
            offset = file.tell()
            file.write(tensors[name].data())
            stored[name] = Stored(path, name, tensors[name].dtype, tensors[name].shape, offset)
            if file.tell() != offset + stored[name].size:
                raise ValueError(f"{name!r} gave {file.tell() - offset} bytes: {stored[name]}")
    return stored
