"""Numbers and limits of the wire that need no protobuf: two's complement, counting before parsing, inflating.

What a parser allocates does not follow from the bytes it is given: a metric of two bytes becomes an object of about a
hundred. So a payload is counted before it is parsed. Counting each would cost more than parsing does; but every node
(a metric, row, cell, property, parameter, name of a column) begins with one of a few tag bytes, and counting bytes is
cheap: only a payload that holds suspiciously many of them is walked through.
"""

from __future__ import annotations

import zlib

from uns.sparkplug.datatypes import INTEGER_RANGE, VALUE_FIELD, DataType

__all__ = ["NODE_BYTES_MIN", "InflateError", "from_wire", "has_room", "inflate", "to_wire"]

NODE_BYTES_MIN = 2  # tag and length of an empty one

_VARINT_BYTES_MAX = 10
_METRIC_TAGS = b"\x12\x92"  # field 2, length-delimited; also as the first byte of a longer form of that varint
_NODE_TAGS = b"\x0a\x8a\x12\x92\x1a\x9a\x22\xa2"  # fields 1 to 4, the same

# Which fields of which message are nodes, and what message is inside (None: nothing to count).
_Grammar = dict[int, "_Grammar | None"]
_PROPERTY_SET: _Grammar = {1: None}
_PROPERTY_SET[2] = {9: _PROPERTY_SET, 10: {1: _PROPERTY_SET}}
_DATASET: _Grammar = {2: None, 4: {1: None}}
_METRIC: _Grammar = {9: _PROPERTY_SET, 17: _DATASET}
_METRIC[18] = {2: _METRIC, 3: None}
_PAYLOAD: _Grammar = {2: _METRIC}


def to_wire(value: int, datatype: DataType) -> int | None:
    """The unsigned form of an integer, sign-extended to the width of its field (32 or 64); None: it does not fit."""
    low, high = INTEGER_RANGE[datatype] or (0, -1)
    if not low <= value <= high:
        return None
    return value & (0xFFFF_FFFF_FFFF_FFFF if VALUE_FIELD[datatype] == "long_value" else 0xFFFF_FFFF)


def from_wire(raw: int, datatype: DataType) -> int | None:
    """Undo two's complement of the type's own width, of 32 or of 64 bits: peers differ. None: out of range."""
    low, high = INTEGER_RANGE[datatype] or (0, -1)
    if raw <= high:
        return raw
    if low < 0:
        for modulus in (high - low + 1, 1 << 32, 1 << 64):
            if low <= raw - modulus < 0:
                return raw - modulus
    return None


def has_room(payload: bytes, *, metrics_max: int, nodes_max: int) -> bool:  # noqa: C901  # one loop, to be fast
    """Whether a payload holds no more metrics and nodes than these. Builds nothing; time is linear in the bytes."""
    if _count(payload, _METRIC_TAGS) <= metrics_max and _count(payload, _NODE_TAGS) <= nodes_max:
        return True  # so many at most, whatever it is
    nodes = metrics = 0
    parts: list[tuple[int, int, _Grammar]] = [(0, len(payload), _PAYLOAD)]
    while parts:
        position, end, grammar = parts.pop()
        while position < end:
            tag, position = _varint(payload, position, end)
            match tag & 7:
                case 2:  # length-delimited
                    length, position = _varint(payload, position, end)
                    following = position + length
                    if tag >> 3 in grammar and following <= end:
                        nodes += 1
                        metrics += grammar is _PAYLOAD
                        if nodes > nodes_max or metrics > metrics_max:
                            return False
                        inner = grammar[tag >> 3]
                        if inner is not None and length:
                            parts.append((position, following, inner))
                    position = following
                case 0:
                    _, position = _varint(payload, position, end)
                case 1:
                    position += 8
                case 5:
                    position += 4
                case 3 | 4:
                    pass  # a group of an unknown field: looked into as if it were not one
                case _:
                    break  # the parser ends here as well
    return True


def _count(payload: bytes, tags: bytes) -> int:
    return len(payload) - len(payload.translate(None, tags))


class InflateError(ValueError):
    """A body that is no DEFLATE (zlib) or GZIP stream, or that inflates beyond its bound."""


def inflate(body: bytes, bytes_max: int) -> bytes:
    """Undo DEFLATE (zlib) or GZIP; never builds more than ``bytes_max``. Raises :class:`InflateError`."""
    inflater = zlib.decompressobj(wbits=32 + zlib.MAX_WBITS)  # 32: either header
    try:
        inflated = inflater.decompress(body, bytes_max + 1)
    except zlib.error as error:
        raise InflateError("neither DEFLATE (zlib) nor GZIP") from error
    if len(inflated) > bytes_max:
        raise InflateError(f"more than {bytes_max} bytes inside")
    if not inflater.eof:
        raise InflateError("the stream ends too early")
    return inflated


def _varint(payload: bytes, position: int, end: int) -> tuple[int, int]:
    result = shift = 0
    last = min(end, position + _VARINT_BYTES_MAX)
    while position < last:
        byte = payload[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
        shift += 7
    return 0, end
