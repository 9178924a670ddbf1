"""Protobuf's wire format: just enough to read a message's fields and write others in their place.

A message is a sequence of fields (number, wire type, value); what is not understood is carried over
byte for byte, so rewriting a few fields of an ONNX graph needs neither `onnx` nor its schema.
Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5


class WireError(ValueError):
    """Bytes that are not a protobuf message."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field: `value` is the number of a varint, or the payload of anything else."""

    number: int
    wire: int
    value: int | memoryview
    raw: memoryview

    @property
    def integer(self) -> int:
        """A varint's value, as int64."""
        if not isinstance(self.value, int):
            raise WireError(f"field {self.number} is not a number")
        return self.value - (1 << 64) if self.value >> 63 else self.value

    @property
    def payload(self) -> memoryview:
        """The bytes of a string, a nested message or a packed list."""
        if isinstance(self.value, int):
            raise WireError(f"field {self.number} is a number")
        return self.value

    @property
    def text(self) -> str:
        try:
            return str(self.payload, "utf-8")
        except UnicodeDecodeError as error:
            raise WireError(f"field {self.number} is not UTF-8") from error


def fields(message: bytes | memoryview) -> Iterator[Field]:
    """The fields of a message, in order. Raises `WireError` where it is cut off or malformed."""
    view = memoryview(message)
    at = 0
    while at < len(view):
        start = at
        key, at = _varint(view, at)
        number, wire = key >> 3, key & 7
        value: int | memoryview
        if wire == VARINT:
            value, at = _varint(view, at)
        else:
            if wire == BYTES:
                length, at = _varint(view, at)
            elif wire in (FIXED32, FIXED64):
                length = 4 if wire == FIXED32 else 8
            else:
                raise WireError(f"wire type {wire} at byte {start}")
            value, at = view[at : at + length], at + length
        if at > len(view) or number == 0:
            raise WireError(f"a field at byte {start} is cut off or malformed")
        yield Field(number, wire, value, view[start:at])


def packed(field: Field) -> list[int]:
    """The values of a repeated int64 field, whichever of its two encodings it has."""
    if field.wire == VARINT:
        return [field.integer]
    values, at = [], 0
    while at < len(field.payload):
        value, at = _varint(field.payload, at)
        values.append(value - (1 << 64) if value >> 63 else value)
    return values


def varint(number: int, value: int) -> bytes:
    """A field that holds a number."""
    return _encode(number << 3 | VARINT) + _encode(value & ((1 << 64) - 1))


def payload(number: int, *parts: bytes | memoryview) -> bytes:
    """A field that holds a string, or a message given as its encoded fields."""
    body = b"".join(parts)
    return _encode(number << 3 | BYTES) + _encode(len(body)) + body


def string(number: int, value: str) -> bytes:
    return payload(number, value.encode())


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            raise WireError("a number is cut off")
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & ((1 << 64) - 1), at
    raise WireError("a number has more than ten bytes")


def _encode(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
