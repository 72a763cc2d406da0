"""Sparkplug B datatypes, and which value field carries each (specification 6.4.16; payloads-metric-datatype-*)."""

from __future__ import annotations

from enum import IntEnum

__all__ = [
    "ARRAYS",
    "BASIC_TYPES",
    "DATETIME_MS_MAX",
    "INTEGER_RANGE",
    "METRIC_TYPES",
    "SCALARS",
    "VALUE_FIELD",
    "DataType",
    "Value",
]

# A scalar value as the core sees it. DateTime is int ms since the epoch; None is Sparkplug's is_null.
Value = bool | int | float | str | bytes | None


class DataType(IntEnum):
    """DataType enumeration; the numbers are the standard's."""

    UNKNOWN = 0
    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    DATETIME = 13
    TEXT = 14
    UUID = 15
    DATASET = 16
    BYTES = 17
    FILE = 18
    TEMPLATE = 19
    PROPERTY_SET = 20
    PROPERTY_SET_LIST = 21
    INT8_ARRAY = 22
    INT16_ARRAY = 23
    INT32_ARRAY = 24
    INT64_ARRAY = 25
    UINT8_ARRAY = 26
    UINT16_ARRAY = 27
    UINT32_ARRAY = 28
    UINT64_ARRAY = 29
    FLOAT_ARRAY = 30
    DOUBLE_ARRAY = 31
    BOOLEAN_ARRAY = 32
    STRING_ARRAY = 33
    DATETIME_ARRAY = 34

    @property
    def label(self) -> str:
        """The standard's spelling, as trees and records show it: ``UInt32``, ``DateTime``."""
        return _LABELS[self]

    @classmethod
    def from_label(cls, label: str) -> DataType:
        """Inverse of :attr:`label`; raises ``KeyError`` for a word the standard does not have."""
        return _BY_LABEL[label]


_LABELS: dict[DataType, str] = {
    DataType.UNKNOWN: "Unknown",
    DataType.INT8: "Int8",
    DataType.INT16: "Int16",
    DataType.INT32: "Int32",
    DataType.INT64: "Int64",
    DataType.UINT8: "UInt8",
    DataType.UINT16: "UInt16",
    DataType.UINT32: "UInt32",
    DataType.UINT64: "UInt64",
    DataType.FLOAT: "Float",
    DataType.DOUBLE: "Double",
    DataType.BOOLEAN: "Boolean",
    DataType.STRING: "String",
    DataType.DATETIME: "DateTime",
    DataType.TEXT: "Text",
    DataType.UUID: "UUID",
    DataType.DATASET: "DataSet",
    DataType.BYTES: "Bytes",
    DataType.FILE: "File",
    DataType.TEMPLATE: "Template",
    DataType.PROPERTY_SET: "PropertySet",
    DataType.PROPERTY_SET_LIST: "PropertySetList",
    DataType.INT8_ARRAY: "Int8Array",
    DataType.INT16_ARRAY: "Int16Array",
    DataType.INT32_ARRAY: "Int32Array",
    DataType.INT64_ARRAY: "Int64Array",
    DataType.UINT8_ARRAY: "UInt8Array",
    DataType.UINT16_ARRAY: "UInt16Array",
    DataType.UINT32_ARRAY: "UInt32Array",
    DataType.UINT64_ARRAY: "UInt64Array",
    DataType.FLOAT_ARRAY: "FloatArray",
    DataType.DOUBLE_ARRAY: "DoubleArray",
    DataType.BOOLEAN_ARRAY: "BooleanArray",
    DataType.STRING_ARRAY: "StringArray",
    DataType.DATETIME_ARRAY: "DateTimeArray",
}
_BY_LABEL = {label: datatype for datatype, label in _LABELS.items()}

# The types that the tree may name and that records hold as values (1 to 15, and Bytes).
SCALARS: frozenset[DataType] = frozenset(DataType(number) for number in range(1, 16)) | {DataType.BYTES}

# What may stand in a DataSet, a Template parameter or a property (specification 6.4.16: basic types).
BASIC_TYPES: frozenset[DataType] = frozenset(DataType(number) for number in range(1, 15))

ARRAYS: frozenset[DataType] = frozenset(DataType(number) for number in range(22, 35))

# What a metric may be: all but Unknown and the two types that only properties have.
METRIC_TYPES: frozenset[DataType] = frozenset(DataType) - {
    DataType.UNKNOWN,
    DataType.PROPERTY_SET,
    DataType.PROPERTY_SET_LIST,
}

# What a DateTime may say: up to the end of the year 9999, so that every value has an RFC 3339 form.
DATETIME_MS_MAX = 253_402_300_799_999

# By DataType number: the member of the oneof that carries the value ("" for Unknown).
VALUE_FIELD: tuple[str, ...] = (
    "",
    *("int_value",) * 3,
    "long_value",
    *("int_value",) * 3,  # UInt32 too: the standard's own table; hosts that want long_value accept both
    "long_value",
    "float_value",
    "double_value",
    "boolean_value",
    "string_value",
    "long_value",
    "string_value",
    "string_value",
    "dataset_value",
    "bytes_value",
    "bytes_value",
    "template_value",
    "propertyset_value",
    "propertysets_value",
    *("bytes_value",) * 13,
)

# By DataType number: the smallest and greatest value of the integer types, None for the others.
INTEGER_RANGE: tuple[tuple[int, int] | None, ...] = (
    None,
    (-(1 << 7), (1 << 7) - 1),
    (-(1 << 15), (1 << 15) - 1),
    (-(1 << 31), (1 << 31) - 1),
    (-(1 << 63), (1 << 63) - 1),
    (0, (1 << 8) - 1),
    (0, (1 << 16) - 1),
    (0, (1 << 32) - 1),
    (0, (1 << 64) - 1),
    *(None,) * 4,
    (0, DATETIME_MS_MAX),
    *(None,) * 21,
)
