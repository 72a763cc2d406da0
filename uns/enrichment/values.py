"""Values as JSON text: the shortest decimal that round-trips, strings where JSON numbers would lie."""

from __future__ import annotations

import base64
import struct
from enum import IntEnum

import msgspec

from uns.context.times import rfc3339
from uns.sparkplug.datatypes import DataType, Value

__all__ = ["FLOAT_TEXTS", "ValueKind", "float32_text", "json_text", "kind_of", "value_text"]


class ValueKind(IntEnum):
    """How a type's values are written."""

    FLOAT = 0  # 32 bits
    DOUBLE = 1
    INTEGER = 2  # JSON number
    LONG = 3  # 64 bits: a string, because most JSON readers have 53
    BOOLEAN = 4
    TEXT = 5
    DATETIME = 6
    BYTES = 7


_KINDS = {
    DataType.FLOAT: ValueKind.FLOAT,
    DataType.DOUBLE: ValueKind.DOUBLE,
    DataType.INT64: ValueKind.LONG,
    DataType.UINT64: ValueKind.LONG,
    DataType.BOOLEAN: ValueKind.BOOLEAN,
    DataType.STRING: ValueKind.TEXT,
    DataType.TEXT: ValueKind.TEXT,
    DataType.UUID: ValueKind.TEXT,
    DataType.DATETIME: ValueKind.DATETIME,
    DataType.BYTES: ValueKind.BYTES,
    DataType.FILE: ValueKind.BYTES,
}

FLOAT_TEXTS_MAX = 65_536
FLOAT_TEXTS: dict[float, str] = {}  # 32-bit values as text: a plant shows the same few thousand again and again

_NORMAL_MIN = 2.0**-126

_pack = struct.Struct("<f").pack
_unpack = struct.Struct("<f").unpack
_encoder = msgspec.json.Encoder()
_DATETIME_MS_MAX = 253_402_300_800_000  # year 10000


def kind_of(datatype: DataType) -> ValueKind:
    """How values of a Sparkplug type are written; integers up to 32 bits are the rest."""
    return _KINDS.get(datatype, ValueKind.INTEGER)


def json_text(text: str) -> str:
    """A string as JSON; lone surrogates, which UTF-8 cannot carry, become question marks."""
    try:
        return _encoder.encode(text).decode()
    except UnicodeEncodeError:
        return _encoder.encode(text.encode("utf-8", "replace").decode()).decode()


def float32_text(value: float) -> str:
    """The shortest decimal that gives the same 32 bits; NaN and infinities as null with their name."""
    if value - value != 0.0:
        return _special(value)
    try:
        narrow = _unpack(_pack(value))[0]
    except OverflowError:  # no 32-bit value at all: write what there is
        return _with_fraction(repr(value))
    # Six digits always survive 32 bits, so that six are the shortest for most; subnormal numbers have fewer.
    for digits in (6, 7, 8) if abs(narrow) >= _NORMAL_MIN else range(1, 9):
        text = f"{narrow:.{digits}g}"
        if _unpack(_pack(float(text)))[0] == narrow:
            break
    else:
        text = f"{narrow:.9g}"
    text = _with_fraction(text)
    if len(FLOAT_TEXTS) >= FLOAT_TEXTS_MAX:
        FLOAT_TEXTS.clear()
    FLOAT_TEXTS[value] = text
    return text


def value_text(kind: ValueKind, value: Value) -> str:
    """A value as it stands after ``"value":``; the type of the value decides where it does not fit its kind."""
    if value is None:
        return "null"
    if isinstance(value, float):
        if kind is ValueKind.FLOAT:
            return FLOAT_TEXTS.get(value) or float32_text(value)
        return repr(value) if value - value == 0.0 else _special(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return _integer_text(kind, value)
    if isinstance(value, bytes):
        return f'"{base64.b64encode(value).decode()}"'
    return json_text(value)


def _integer_text(kind: ValueKind, value: int) -> str:
    match kind:
        case ValueKind.LONG:
            return f'"{value}"'
        case ValueKind.DATETIME:
            return (
                f'"{rfc3339(value * 1_000_000)}"' if abs(value) < _DATETIME_MS_MAX and value > -6e13 else f'"{value}"'
            )
        case ValueKind.BOOLEAN:
            return "true" if value else "false"
        case _:
            return str(value)


def _special(value: float) -> str:
    name = "NaN" if value != value else ("Infinity" if value > 0 else "-Infinity")  # noqa: PLR0124 - that is NaN
    return f'null,"special":"{name}"'


def _with_fraction(text: str) -> str:
    return text if "." in text or "e" in text else f"{text}.0"
