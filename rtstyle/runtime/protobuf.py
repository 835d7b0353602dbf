"""Protocol buffers by hand: as much of them as ONNX files need, because painting does without the onnx package."""

from __future__ import annotations

from collections.abc import Iterator


def field(number: int, value: int | bytes) -> bytes:
    """One field: a number that is not negative, or bytes with their length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def fields(message: bytes) -> Iterator[tuple[int, int | bytes, bytes]]:
    """(number, value, the field as it stands) of every field of a message, in order.

    The value is a number, or bytes where it has a length or is a fixed 4 or 8 bytes. Raises ValueError for what is
    no message.
    """
    at = 0
    while at < len(message):
        begin = at
        key, at = _number(message, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _number(message, at)
        else:
            length = {1: 8, 5: 4}.get(kind)
            if kind == 2:
                length, at = _number(message, at)
            if length is None or at + length > len(message):
                raise ValueError("not a protocol buffer")
            value, at = message[at : at + length], at + length
        yield number, value, message[begin:at]


def _number(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message):
        byte = message[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at
    raise ValueError("not a protocol buffer")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
