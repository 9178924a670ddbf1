"""Writing protobuf's wire format, which `wire` reads."""

from __future__ import annotations

import struct

from .wire import FIXED32, LENGTH, VARINT


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
