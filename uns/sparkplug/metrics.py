"""What births and data carry, as the core sees it: definitions once, then columns.

A birth is a list of :class:`BirthMetric`. Data is columnar: one :class:`DataPayload` holds parallel lists, so that a
hundred values cost a handful of objects.
"""

from __future__ import annotations

import msgspec

from uns.sparkplug.datatypes import DataType, Value

__all__ = ["BD_SEQ", "REBIRTH", "BirthMetric", "DataPayload", "MetricBinding", "Property", "RejectedMetric"]

BD_SEQ = "bdSeq"
REBIRTH = "Node Control/Rebirth"

# Keys of metric properties that have a meaning to us.
PROPERTY_QUALITY = "Quality"  # Int32: 0 bad, 192 good, 500 stale (payloads-propertyset-quality-value-*)
PROPERTY_STATUS_CODE = "status_code"  # UInt32: the OPC UA status, raw
PROPERTY_ORDINAL = "ordinal"  # UInt32: which of several samples of one metric in one ms


class Property(msgspec.Struct, frozen=True):
    """One metric property with its type (payloads-metric-propertyvalue-type-req)."""

    key: str
    datatype: DataType
    value: Value


class BirthMetric(msgspec.Struct, frozen=True, kw_only=True):
    """A metric in a birth certificate: definition and present value (topics-nbirth-metrics)."""

    name: str
    datatype: DataType
    value: Value = None  # None is is_null
    timestamp_ms: int | None = None
    alias: int | None = None
    is_historical: bool = False
    is_transient: bool = False
    properties: tuple[Property, ...] = ()

    def property_value(self, key: str) -> Value:
        """The value of property ``key``, or None."""
        return next((p.value for p in self.properties if p.key == key), None)


class MetricBinding(msgspec.Struct, frozen=True, eq=False):
    """One row of an alias table: what a birth said of a metric. Identity compares, so it may key dictionaries."""

    name: str
    datatype: DataType
    alias: int | None
    position: int  # in its birth


class RejectedMetric(msgspec.Struct, frozen=True):
    """A metric of a payload that could not be read, kept with its reason."""

    name: str  # or "alias 17" where the birth knows none
    timestamp_ms: int | None
    reason: str  # one of: unknown_metric, wrong_type, no_timestamp, unsupported_type, out_of_range
    raw: bytes = b""


class DataPayload(msgspec.Struct, kw_only=True):
    """NDATA or DDATA as columns; ``bindings[i]``, ``values[i]``, ``times_ms[i]`` belong together."""

    timestamp_ms: int | None
    seq: int | None
    bindings: list[MetricBinding]
    values: list[Value]
    times_ms: list[int]
    is_historical: list[bool] | None = None  # None: none of them is
    properties: dict[int, dict[str, Value]] = {}  # index to properties, for the few that carry any
    rejected: list[RejectedMetric] = []
