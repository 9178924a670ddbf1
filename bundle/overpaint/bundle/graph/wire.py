"""The protobuf wire format, read and written without a schema: enough for an ONNX file.

https://protobuf.dev/programming-guides/encoding. A message is a run of fields; a field is a tag
(number << 3 | wire type) and a value. The deploy side has no onnx package, and this reads only
what it is asked for: an unread sub-message is one jump.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, Protocol

VARINT: Final = 0
FIXED64: Final = 1
LENGTH: Final = 2
FIXED32: Final = 5


class MalformedError(ValueError):
    """The bytes are not a protobuf message."""


class Buffer(Protocol):
    """What is read: bytes, or a memory map."""

    def __getitem__(self, index: int) -> int: ...


def fields(data: Buffer, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (field number, wire type, a, b) for each field of the message in data[start:end].

    A LENGTH value lies in data[a:b]; a VARINT value is a (b is where it ends); a fixed value lies
    in data[a:b].

    Raises:
        MalformedError: a field does not end inside the message, or has no known wire type.
    """
    at = start
    while at < end:
        tag = data[at]
        at += 1
        if tag >= 128:
            tag, at = read_varint(data, at - 1, end)
        number, wire = tag >> 3, tag & 7
        if not number:
            raise MalformedError(f"field number 0 at byte {at}")
        if wire in (LENGTH, VARINT):
            if at < end and (value := data[at]) < 128:
                at += 1
            else:
                value, at = read_varint(data, at, end)
            if wire == VARINT:
                yield number, wire, value, at
                continue
            size = value
        elif wire == FIXED64:
            size = 8
        elif wire == FIXED32:
            size = 4
        else:
            raise MalformedError(f"wire type {wire} at byte {at}")
        if size > end - at:
            raise MalformedError(f"a field of {size} bytes at byte {at}, where {end - at} are left")
        yield number, wire, at, at + size
        at += size


def read_varint(data: Buffer, at: int, end: int) -> tuple[int, int]:
    """Read a base-128 number at `at`: (value modulo 2^64, where it ends).

    Raises:
        MalformedError: it does not end before `end`, or has more than ten bytes.
    """
    value = shift = 0
    for here in range(at, min(end, at + 10)):
        byte = data[here]
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFF_FFFF_FFFF_FFFF, here + 1
        shift += 7
    raise MalformedError(f"a number without an end at byte {at}")


def varint(number: int, value: int) -> bytes:
    """A field that holds an int64."""
    return _encode(number << 3 | VARINT) + _encode(value & ((1 << 64) - 1))


def float32(number: int, value: float) -> bytes:
    """A field that holds a float."""
    return _encode(number << 3 | FIXED32) + struct.pack("<f", value)


def message(number: int, *fields: bytes | memoryview) -> bytes:
    """A field that holds a message, given as its encoded fields."""
    body = b"".join(fields)
    return _encode(number << 3 | LENGTH) + _encode(len(body)) + body


def string(number: int, value: str) -> bytes:
    """A field that holds text."""
    return message(number, value.encode())


def _encode(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
