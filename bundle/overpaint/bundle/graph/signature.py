"""The inputs and outputs that an ONNX graph declares, read without the onnx package.

Field numbers are onnx.proto's: ModelProto.graph 7; GraphProto.input 11, output 12; ValueInfoProto
name 1, type 2; TypeProto.tensor_type 1; its elem_type 1, shape 2; dim 1: dim_value 1, dim_param 2.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from typing import Final

from overpaint.bundle.errors import IntegrityError
from overpaint.bundle.tensor import DType, Tensor

from .wire import LENGTH, VARINT, MalformedError, fields

_DTYPES: Final[dict[int, DType]] = {
    1: "float32",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    16: "bfloat16",
}
_INPUT: Final = 11
_OUTPUT: Final = 12

Span = tuple[int, int]


def graph_tensors(
    path: str | os.PathLike[str],
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return a graph's (inputs, outputs). A size without a number or a name is called `NAME.AXIS`.

    Raises:
        IntegrityError: the file is not an ONNX graph, or a tensor is of a dtype no manifest has.
    """
    try:
        with open(path, "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise MalformedError("it is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _tensors(data, _INPUT), _tensors(data, _OUTPUT)
    except MalformedError as error:
        raise IntegrityError(f"{os.fspath(path)}: expected an ONNX graph, but {error}") from None
    except OSError as error:
        raise IntegrityError(f"{os.fspath(path)}: cannot be read: {error.strerror}") from error


def _tensors(data: mmap.mmap, number: int) -> tuple[Tensor, ...]:
    graphs = _messages(data, (0, len(data)), 7)
    return tuple(_tensor(data, span) for graph in graphs for span in _messages(data, graph, number))


def _tensor(data: mmap.mmap, span: Span) -> Tensor:
    name = "".join(_text(data, text) for text in _messages(data, span, 1))
    dtype: DType | None = None
    shape: list[int | str] = []
    for kind in _messages(data, span, 2):
        for tensor in _messages(data, kind, 1):
            codes = [a for n, w, a, _ in fields(data, *tensor) if n == 1 and w == VARINT]
            dtype = _DTYPES.get(codes[-1]) if codes else None
            for dims in _messages(data, tensor, 2):
                shape += [
                    _size(data, dim, name, i) for i, dim in enumerate(_messages(data, dims, 1))
                ]
    if dtype is None:
        raise MalformedError(f"the tensor {name!r} is of a dtype that no engine here takes")
    return Tensor(name=name, dtype=dtype, shape=tuple(shape))


def _size(data: mmap.mmap, span: Span, name: str, axis: int) -> int | str:
    for number, wire, a, b in fields(data, *span):
        if number == 1 and wire == VARINT and 0 < a < 1 << 31:
            return a
        if number == 2 and wire == LENGTH and b > a:
            return _text(data, (a, b))
    return f"{name}.{axis}"


def _messages(data: mmap.mmap, span: Span, number: int) -> Iterator[Span]:
    for found, wire, a, b in fields(data, *span):
        if found == number and wire == LENGTH:
            yield a, b


def _text(data: mmap.mmap, span: Span) -> str:
    try:
        return data[slice(*span)].decode()
    except UnicodeDecodeError:
        raise MalformedError(f"text at byte {span[0]} is not UTF-8") from None
