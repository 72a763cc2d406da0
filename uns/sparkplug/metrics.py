"""What births and data carry, as the core sees it: definitions once, then columns.

A birth is a list of :class:`BirthMetric`. Data is columnar: one :class:`DataPayload` holds parallel lists, so that a
hundred values cost a handful of objects.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from uns.sparkplug.datatypes import INTEGER_RANGE, VALUE_FIELD, DataType, Value

__all__ = [
    "BD_SEQ",
    "CONTROL_METRICS",
    "PROPERTY_ORDINAL",
    "PROPERTY_QUALITY",
    "PROPERTY_STATUS_CODE",
    "REBIRTH",
    "SESSION_METRIC",
    "BirthMetric",
    "BirthPayload",
    "CommandPayload",
    "DataBatch",
    "DataPayload",
    "MetricBinding",
    "Property",
    "RejectReason",
    "RejectedMetric",
]

BD_SEQ = "bdSeq"  # tck-id-topics-nbirth-bdseq-included
REBIRTH = "Node Control/Rebirth"  # tck-id-operational-behavior-data-commands-rebirth-name
SESSION_METRIC = "uns/session"  # String metric of every NBIRTH of ours: one uuid per CONNECT, the same on rebirth

# What the edge session itself puts into an NBIRTH. None of them has an alias: hosts match them by name.
CONTROL_METRICS = frozenset({BD_SEQ, REBIRTH, SESSION_METRIC})

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
    """One row of an alias table: what a birth said of a metric. Identity compares, so it may key dictionaries.

    The last two fields follow from the datatype; they spare the decoder a look-up per value.
    """

    name: str
    datatype: DataType
    alias: int | None
    position: int  # in its birth
    value_field: str = ""
    limit: int | None = None  # the first raw number that is negative or out of range

    def __post_init__(self) -> None:
        integers = INTEGER_RANGE[self.datatype]
        msgspec.structs.force_setattr(self, "value_field", VALUE_FIELD[self.datatype])
        msgspec.structs.force_setattr(self, "limit", None if integers is None else integers[1] + 1)


RejectReason = Literal["unknown_metric", "wrong_type", "no_timestamp", "unsupported_type", "out_of_range"]


class RejectedMetric(msgspec.Struct, frozen=True):
    """A metric of a payload that could not be read, kept with its reason."""

    name: str  # or "alias 17" where the birth knows none
    timestamp_ms: int | None
    reason: RejectReason
    raw: bytes = b""  # the metric as it came, for the dead-letter record
    alias: int | None = None


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


class BirthPayload(msgspec.Struct, kw_only=True):
    """NBIRTH or DBIRTH, read. ``metrics`` holds what can be used, in the order of the payload."""

    timestamp_ms: int | None
    seq: int | None
    bd_seq: int | None = None
    session_id: str = ""  # uns/session; empty for a foreign node
    metrics: list[BirthMetric]
    rejected: list[RejectedMetric] = []
    warnings: tuple[str, ...] = ()  # tck-ids of what was forgiven


class CommandPayload(msgspec.Struct, kw_only=True):
    """NCMD or DCMD, read with the names and types of the birth."""

    timestamp_ms: int | None
    metrics: list[BirthMetric]
    rejected: list[RejectedMetric] = []


class DataBatch(msgspec.Struct, kw_only=True):
    """What one NDATA or DDATA shall carry; ``bindings[i]``, ``values[i]``, ``times_ms[i]`` belong together.

    Bindings come from ``EdgeNodeSession.bindings()`` of the running session.
    """

    bindings: list[MetricBinding]
    values: list[Value]
    times_ms: list[int]
    is_historical: bool = False
    properties: dict[int, tuple[Property, ...]] = {}  # index to properties, for the few that carry any
