"""Arrays of Sparkplug, packed into bytes: little-endian numbers back to back, bits, strings that end in NUL.

There is no count but for booleans, and there are no nulls (specification 6.4.16). The tables of the standard's text
print some of these in big-endian order; its own later correction and its reference code do not.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from uns.sparkplug.datatypes import DATETIME_MS_MAX, DataType, Value

__all__ = ["ArrayError", "element_count", "pack_array", "unpack_array"]

_FORMATS: dict[DataType, tuple[str, int]] = {
    DataType.INT8_ARRAY: ("b", 1),
    DataType.INT16_ARRAY: ("h", 2),
    DataType.INT32_ARRAY: ("i", 4),
    DataType.INT64_ARRAY: ("q", 8),
    DataType.UINT8_ARRAY: ("B", 1),
    DataType.UINT16_ARRAY: ("H", 2),
    DataType.UINT32_ARRAY: ("I", 4),
    DataType.UINT64_ARRAY: ("Q", 8),
    DataType.FLOAT_ARRAY: ("f", 4),
    DataType.DOUBLE_ARRAY: ("d", 8),
    DataType.DATETIME_ARRAY: ("Q", 8),
}
_FLOATS = frozenset({DataType.FLOAT_ARRAY, DataType.DOUBLE_ARRAY})
_COUNT_BYTES = 4  # of a BooleanArray
_NUL = b"\x00"
_BITS = tuple(tuple(bool(byte >> (7 - bit) & 1) for bit in range(8)) for byte in range(256))  # first bit highest


class ArrayError(ValueError):
    """Bytes that are no array of their type, or values that do not fit it."""


def element_count(datatype: DataType, packed: bytes) -> int:
    """How many elements the bytes hold, without building any; raises :class:`ArrayError` for an impossible length."""
    if datatype is DataType.STRING_ARRAY:
        return packed.count(_NUL) + (1 if packed and not packed.endswith(_NUL) else 0)
    if datatype is DataType.BOOLEAN_ARRAY:
        count = int.from_bytes(packed[:_COUNT_BYTES], "little")
        if len(packed) < _COUNT_BYTES or len(packed) - _COUNT_BYTES != (count + 7) // 8:
            raise ArrayError(f"{len(packed)} bytes for {count} booleans")
        return count
    width = _FORMATS[datatype][1]
    count, rest = divmod(len(packed), width)
    if rest:
        raise ArrayError(f"{len(packed)} bytes are no multiple of {width}")
    return count


def unpack_array(datatype: DataType, packed: bytes) -> tuple[Value, ...]:
    """The elements; raises :class:`ArrayError`. A last string without its NUL is read."""
    count = element_count(datatype, packed)
    if datatype is DataType.BOOLEAN_ARRAY:
        bits = [bit for byte in packed[_COUNT_BYTES:] for bit in _BITS[byte]]
        return tuple(bits[:count])
    if datatype is DataType.STRING_ARRAY:
        try:
            return tuple(packed.removesuffix(_NUL).decode().split("\x00")) if packed else ()
        except UnicodeDecodeError as error:
            raise ArrayError("text that is not UTF-8") from error
    values = struct.unpack(f"<{count}{_FORMATS[datatype][0]}", packed)
    if datatype is DataType.DATETIME_ARRAY and any(value > DATETIME_MS_MAX for value in values):
        raise ArrayError("a time beyond the year 9999")
    return values


def pack_array(datatype: DataType, values: Sequence[Any]) -> bytes:
    """The bytes; raises :class:`ArrayError` for what is no sequence of fitting values."""
    if not isinstance(values, list | tuple):
        raise ArrayError(f"{values!r} is no list")
    if datatype is DataType.BOOLEAN_ARRAY:
        return _pack_booleans(values)
    if datatype is DataType.STRING_ARRAY:
        return _pack_strings(values)
    form, _ = _FORMATS[datatype]
    wanted = (int, float) if datatype in _FLOATS else int
    if not all(isinstance(value, wanted) and not isinstance(value, bool) for value in values):
        raise ArrayError("an element of another type")
    if datatype is DataType.DATETIME_ARRAY and any(value > DATETIME_MS_MAX for value in values):
        raise ArrayError("a time beyond the year 9999")
    try:
        return struct.pack(f"<{len(values)}{form}", *values)
    except (struct.error, OverflowError) as error:
        raise ArrayError(f"{error!s:.100}") from error


def _pack_booleans(values: Sequence[Any]) -> bytes:
    if not all(isinstance(value, bool) for value in values):
        raise ArrayError("an element of another type")
    count = len(values)
    size = (count + 7) // 8
    bits = "".join("1" if value else "0" for value in values).ljust(size * 8, "0")
    return count.to_bytes(_COUNT_BYTES, "little") + (int(bits, 2).to_bytes(size, "big") if size else b"")


def _pack_strings(values: Sequence[Any]) -> bytes:
    packed = bytearray()
    for value in values:
        if not isinstance(value, str) or "\x00" in value:
            raise ArrayError(f"{value!r:.60} is no text without NUL")
        try:
            packed += value.encode() + _NUL
        except UnicodeEncodeError as error:
            raise ArrayError("text that is not UTF-8") from error
    return bytes(packed)
