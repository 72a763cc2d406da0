"""Numbers and limits of the wire that need no protobuf: two's complement, and counting before parsing."""

from __future__ import annotations

import zlib

from uns.sparkplug.datatypes import INTEGER_RANGE, VALUE_FIELD, DataType

__all__ = ["count_metrics", "from_wire", "inflate", "to_wire"]

_METRICS_FIELD = 2  # of Payload
_VARINT_BYTES_MAX = 10


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


def count_metrics(payload: bytes) -> int:
    """Count the metrics of a payload by the tags of its top level, without building anything.

    Ends at what it cannot follow; the parser then complains.
    """
    count = position = 0
    size = len(payload)
    while position < size:
        tag, position = _varint(payload, position)
        match tag & 7:
            case 2:  # length-delimited
                length, position = _varint(payload, position)
                position += length
                count += tag >> 3 == _METRICS_FIELD
            case 0:
                _, position = _varint(payload, position)
            case 1:
                position += 8
            case 5:
                position += 4
            case _:
                break
    return count


def inflate(body: bytes, bytes_max: int) -> bytes | None:
    """Undo DEFLATE (zlib) or GZIP up to ``bytes_max``; None where there is more, or where it is neither."""
    inflater = zlib.decompressobj(wbits=32 + zlib.MAX_WBITS)  # 32: either header
    try:
        inflated = inflater.decompress(body, bytes_max + 1)
    except zlib.error:
        return None
    return inflated if len(inflated) <= bytes_max and inflater.eof else None


def _varint(payload: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    end = min(len(payload), position + _VARINT_BYTES_MAX)
    while position < end:
        byte = payload[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
        shift += 7
    return 0, len(payload)
