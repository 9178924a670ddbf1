"""The protobuf wire format, read and written without a schema: enough for an ONNX file.

https://protobuf.dev/programming-guides/encoding. A message is a run of fields; a field is a tag
(number << 3 | wire type) and a value. The deploy side has no onnx package, and this reads only
what it is asked for: an unread sub-message is one jump.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

VARINT: Final = 0
FIXED64: Final = 1
LENGTH: Final = 2
FIXED32: Final = 5

Buffer: TypeAlias = bytes | mmap.mmap
Span: TypeAlias = tuple[int, int]
"""Where something begins and ends in a buffer."""


class MalformedError(ValueError):
    """The bytes are not a protobuf message, or not the one that is expected."""


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


def messages(data: Buffer, span: Span, number: int) -> Iterator[Span]:
    """Yield where the sub-messages (or texts) of one number lie, in the message at `span`.

    Raises:
        MalformedError: as `fields`.
    """
    for found, wire, a, b in fields(data, *span):
        if found == number and wire == LENGTH:
            yield a, b


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


def read_packed(data: Buffer, start: int, end: int) -> list[int]:
    """The numbers of a repeated field that are packed into data[start:end].

    Raises:
        MalformedError: the last does not end there.
    """
    values = []
    while start < end:
        value, start = read_varint(data, start, end)
        values.append(value)
    return values


def read_text(data: Buffer, start: int, end: int) -> str:
    """Raises MalformedError where data[start:end] is not UTF-8."""
    try:
        return data[start:end].decode()
    except UnicodeDecodeError:
        raise MalformedError(f"text at byte {start} is not UTF-8") from None


class Field(NamedTuple):
    """One of a message's `fields`, for who takes a message apart and puts it together again.

    `value` is a VARINT's, 0 for the other wire types, whose payload is data[start:end]. The whole
    field, its tag included, is data[begin:end].
    """

    data: Buffer
    number: int
    wire: int
    value: int
    begin: int
    start: int
    end: int

    @property
    def payload(self) -> bytes:
        return self.data[self.start : self.end]

    @property
    def raw(self) -> bytes:
        return self.data[self.begin : self.end]

    @property
    def text(self) -> str:
        """Raises MalformedError where the payload is not UTF-8."""
        return read_text(self.data, self.start, self.end)

    @property
    def numbers(self) -> list[int]:
        """What it adds to a repeated number; raises MalformedError as `read_packed`."""
        if self.wire == VARINT:
            return [self.value]
        return read_packed(self.data, self.start, self.end) if self.wire == LENGTH else []


def read_fields(message: Buffer | Field) -> Iterator[Field]:
    """Yield a message's fields; a field that holds no message has none.

    Raises:
        MalformedError: as `fields`.
    """
    if isinstance(message, Field):
        data, at = message.data, message.start
        end = message.end if message.wire == LENGTH else at
    else:
        data, at, end = message, 0, len(message)
    for number, wire, a, b in fields(data, at, end):
        value, start = (a, b) if wire == VARINT else (0, a)
        yield Field(data, number, wire, value, at, start, b)
        at = b


def varint(number: int, value: int) -> bytes:
    """A field that holds an int64."""
    return _encode(number << 3 | VARINT) + _encode(value & ((1 << 64) - 1))


def float32(number: int, value: float) -> bytes:
    """A field that holds a float."""
    return _encode(number << 3 | FIXED32) + struct.pack("<f", value)


def message(number: int, *fields: bytes) -> bytes:
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
