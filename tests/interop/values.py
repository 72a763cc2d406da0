"""The values that travel, and how the line protocol writes them: as text, so that no language rounds them."""

from __future__ import annotations

import json
import struct
from typing import cast

from uns.sparkplug.datatypes import INTEGER_RANGE, DataType, Value
from uns.sparkplug.metrics import MetricValue

__all__ = ["ARRAY_TYPES", "EXTREME", "PLAIN", "TYPES", "as_float32", "from_text", "metric_name", "to_text"]

TYPES: tuple[DataType, ...] = tuple(DataType(number) for number in (*range(1, 16), 17))

ARRAY_TYPES: tuple[DataType, ...] = tuple(DataType(number) for number in range(22, 35))
_ELEMENTS = dict(zip(ARRAY_TYPES, (*(DataType(number) for number in range(1, 14)),), strict=True))

PLAIN: dict[DataType, Value] = {
    DataType.INT8: 5,
    DataType.INT16: 300,
    DataType.INT32: 70_000,
    DataType.INT64: 5_000_000_000,
    DataType.UINT8: 100,
    DataType.UINT16: 20_000,
    DataType.UINT32: 70_000,
    DataType.UINT64: 5_000_000_000,
    DataType.FLOAT: 1.5,
    DataType.DOUBLE: 0.1,
    DataType.BOOLEAN: True,
    DataType.STRING: "abc",
    DataType.DATETIME: 1_700_000_000_123,
    DataType.TEXT: "a longer text",
    DataType.UUID: "11ad7b32-1d32-4c4a-b0c9-fa049208939a",
    DataType.BYTES: b"\x01\x02",
}
# Signed: the smallest. Unsigned: the greatest. Then what careless code takes for "nothing": False, "", zero bytes.
EXTREME: dict[DataType, Value] = {
    DataType.INT8: -(2**7),
    DataType.INT16: -(2**15),
    DataType.INT32: -(2**31),
    DataType.INT64: -(2**63),
    DataType.UINT8: 2**8 - 1,
    DataType.UINT16: 2**16 - 1,
    DataType.UINT32: 2**32 - 1,
    DataType.UINT64: 2**64 - 1,
    DataType.FLOAT: 3.4028234663852886e38,
    DataType.DOUBLE: 5e-324,
    DataType.BOOLEAN: False,
    DataType.STRING: "héllo ✓",
    DataType.DATETIME: 4_102_444_799_999,  # the last millisecond of 2099
    DataType.TEXT: "",
    DataType.UUID: "00000000-0000-0000-0000-000000000000",
    DataType.BYTES: b"\x00\xff",
}


def metric_name(datatype: DataType) -> str:
    """What the metric of this type is called in every test."""
    return f"v/{datatype.label.lower()}"


def to_text(value: MetricValue) -> str | None:
    """A value for a peer; an array as the JSON list of its elements' texts."""
    match value:
        case tuple():
            return json.dumps([to_text(element) for element in value])
        case None | str():
            return value
        case bool():
            return "true" if value else "false"
        case bytes():
            return value.hex()
        case _:
            return repr(value)


def from_text(datatype: DataType, text: str | None) -> MetricValue:
    """A value of a peer; text that is no value of the type stays text, so that tests can show it."""
    if text is None:
        return None
    try:
        if (element := _ELEMENTS.get(datatype)) is not None:
            return tuple(cast("Value", from_text(element, one)) for one in json.loads(text))
        if INTEGER_RANGE[datatype] is not None:
            return int(text)
        if datatype is DataType.FLOAT:
            return as_float32(float(text))
        if datatype is DataType.DOUBLE:
            return float(text)
        if datatype is DataType.BYTES:
            return bytes.fromhex(text)
    except (ValueError, OverflowError):
        return text
    if datatype is DataType.BOOLEAN:
        return {"true": True, "false": False}.get(text, text)
    return text


def as_float32(value: float) -> float:
    """The number of the 32 bits that a peer's shorter text stands for."""
    rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return rounded
