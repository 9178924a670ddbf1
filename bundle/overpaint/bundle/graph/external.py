"""Which bytes of which files an ONNX graph takes its weights from.

A tensor may be (file, offset, length) instead of bytes: `TensorProto.external_data`, in onnx.proto.
Such tensors stand among a graph's initializers, in sub-graphs, in functions and in attributes. All
are found, for each names a file that the engine is going to read.
"""

from __future__ import annotations

import mmap
import os
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from overpaint.bundle.errors import IntegrityError

from .wire import LENGTH, MalformedError, fields

# message -> field number -> message: every path on which a TensorProto can lie.
_CHILDREN: Final[dict[str, dict[int, str]]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_NAME: Final = 8
_EXTERNAL_DATA: Final = 13
_KEY: Final = b"location"


@dataclass(frozen=True, slots=True)
class ExternalTensor:
    """A tensor whose bytes lie in another file; `length` None means up to that file's end."""

    name: str
    location: str
    offset: int
    length: int | None


def external_tensors(data: bytes | mmap.mmap) -> Iterator[ExternalTensor]:
    """Yield every tensor of an ONNX model that points into another file.

    Raises:
        MalformedError: `data` is not a protobuf message, or an entry is not what ONNX says.
    """
    # Each such tensor holds its key in plain bytes, so only messages around one are opened.
    keys = list(_occurrences(data, _KEY))
    waiting = [("model", 0, len(data))]
    while waiting:
        kind, start, end = waiting.pop()
        if kind == "tensor":
            if tensor := _external(data, start, end):
                yield tensor
            continue
        children = _CHILDREN[kind]
        for number, wire, a, b in fields(data, start, end):
            child = children.get(number)
            if child and wire == LENGTH and _holds(keys, a, b):
                waiting.append((child, a, b))


def external_tensors_of(path: str | os.PathLike[str]) -> list[ExternalTensor]:
    """`external_tensors` of a file.

    Raises:
        IntegrityError: it is not an ONNX graph, or cannot be read.
    """
    try:
        with open(path, "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise MalformedError("it is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return list(external_tensors(data))
    except MalformedError as error:
        raise IntegrityError(f"{os.fspath(path)}: expected an ONNX graph, but {error}") from None
    except OSError as error:
        raise IntegrityError(f"{os.fspath(path)}: cannot be read: {error.strerror}") from error


def _external(data: bytes | mmap.mmap, start: int, end: int) -> ExternalTensor | None:
    """The tensor in data[start:end], if its bytes lie elsewhere."""
    name, entries = "", dict[str, str]()
    for number, wire, a, b in fields(data, start, end):
        if wire != LENGTH:
            continue
        if number == _NAME:
            name = _text(data, a, b)
        elif number == _EXTERNAL_DATA:
            pair = {n: _text(data, c, d) for n, w, c, d in fields(data, a, b) if w == LENGTH}
            if (key := pair.get(1, "")) in entries:
                raise MalformedError(f"{name!r} has the external data entry {key!r} twice")
            entries[key] = pair.get(2, "")
    if "location" not in entries:
        return None
    length = _number(entries, "length", name) if "length" in entries else None
    return ExternalTensor(name, entries["location"], _number(entries, "offset", name), length)


def _number(entries: dict[str, str], key: str, name: str) -> int:
    text = entries.get(key, "0")
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise MalformedError(f"{name!r} has the external data {key} {text[:40]!r}, not a number")
    return int(text)


def _text(data: bytes | mmap.mmap, start: int, end: int) -> str:
    try:
        return data[start:end].decode()
    except UnicodeDecodeError:
        raise MalformedError(f"text at byte {start} is not UTF-8") from None


def _occurrences(data: bytes | mmap.mmap, word: bytes) -> Iterator[int]:
    at = data.find(word)
    while at >= 0:
        yield at
        at = data.find(word, at + len(word))


def _holds(keys: list[int], start: int, end: int) -> bool:
    """Whether one of the sorted positions lies in [start, end)."""
    index = bisect_left(keys, start)
    return index < len(keys) and keys[index] < end
