"""Reads fields of a protocol buffer message, without its schema and without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator

Message = bytes | memoryview

# The wire types of https://protobuf.dev/programming-guides/encoding. Groups (3 and 4) are long
# deprecated, and no file of TensorFlow has them.
_VARINT = 0
_EIGHT_BYTES = 1
_LENGTH_DELIMITED = 2
_FOUR_BYTES = 5

_VARINT_BYTES = 10
"""The longest varint: 64 bits, 7 of them in a byte."""


def messages(message: Message, *path: int) -> Iterator[memoryview]:
    """Yield the messages (or texts) at a path of field numbers, in order.

    Args:
        message: The outermost message.
        path: A field number for each level.

    Raises:
        ValueError: The bytes are no protocol buffer, are cut short, or have a number at the path.
    """
    number, *inner = path
    for payload in fields(message, number):
        if isinstance(payload, int):
            raise ValueError(f"field {number} is a number, expected a message")
        if inner:
            yield from messages(payload, *inner)
        else:
            yield payload


def fields(message: Message, number: int) -> Iterator[memoryview | int]:
    """Yield the values of a field: a number for a varint, else the bytes.

    Raises:
        ValueError: The bytes are no protocol buffer, or are cut short.
    """
    view = memoryview(message)
    position = 0
    while position < len(view):
        key, position = _read_varint(view, position)
        # The key is the field number and, in its lowest three bits, the wire type.
        field = key >> 3
        wire_type = key & 0b111
        value: memoryview | int
        if wire_type == _VARINT:
            value, position = _read_varint(view, position)
        else:
            length, position = _payload_length(view, position, wire_type)
            end = position + length
            # A slice beyond the end would be shorter without a word.
            if end > len(view):
                raise ValueError("the protocol buffer is cut short")
            value = view[position:end]
            position = end
        if field == number:
            yield value


def _payload_length(view: memoryview, position: int, wire_type: int) -> tuple[int, int]:
    """Return the length of a payload, and the position at which it begins."""
    if wire_type == _LENGTH_DELIMITED:
        return _read_varint(view, position)
    if wire_type == _EIGHT_BYTES:
        return 8, position
    if wire_type == _FOUR_BYTES:
        return 4, position
    raise ValueError(f"wire type {wire_type} is not used in this file format")


def _read_varint(view: memoryview, position: int) -> tuple[int, int]:
    """Return the number that begins at a position, and the position after it."""
    value = 0
    for count, byte in enumerate(view[position : position + _VARINT_BYTES]):
        # Seven bits a byte, the lowest first; the eighth bit says that more bytes follow.
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value, position + count + 1
    raise ValueError("the protocol buffer is cut short")
