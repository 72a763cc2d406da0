"""What births and data carry, as the core sees it: definitions once, then columns.

A birth is a list of :class:`BirthMetric`. Data is columnar: one :class:`DataPayload` holds parallel lists, so that a
hundred values cost a handful of objects. Values are plain Python where there is a plain one (arrays are tuples) and
frozen structs else; all of them can be compared, hashed and shared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from uns.sparkplug.datatypes import ARRAYS, INTEGER_RANGE, VALUE_FIELD, DataType, Value

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
    "DataSetValue",
    "MetaData",
    "MetricBinding",
    "MetricValue",
    "Property",
    "PropertyContent",
    "RejectReason",
    "RejectedMetric",
    "TemplateMembers",
    "TemplateParameter",
    "TemplateValue",
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


# Properties nest: a PropertySet is a tuple of properties, a PropertySetList a tuple of such tuples.
PropertyContent: TypeAlias = Value | tuple["Property", ...] | tuple[tuple["Property", ...], ...]


class Property(msgspec.Struct, frozen=True, gc=False):
    """One metric property with its type (payloads-metric-propertyvalue-type-req)."""

    key: str
    datatype: DataType
    value: PropertyContent


class MetaData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a metric says of its value: the parts of a long one, the name and kind of a file. None: not said."""

    is_multi_part: bool | None = None
    content_type: str | None = None
    size: int | None = None
    seq: int | None = None  # of the part
    file_name: str | None = None
    file_type: str | None = None
    md5: str | None = None
    description: str | None = None


class DataSetValue(msgspec.Struct, frozen=True):
    """A table: as many types as columns, and as many cells in each row. A cell of None is one that has no value."""

    columns: tuple[str, ...]
    types: tuple[DataType, ...]
    rows: tuple[tuple[Value, ...], ...] = ()


class TemplateParameter(msgspec.Struct, frozen=True, gc=False):
    """A parameter of a template; in a definition its value is the default."""

    name: str
    datatype: DataType
    value: Value = None


class TemplateValue(msgspec.Struct, frozen=True, kw_only=True):
    """A template definition, or an instance of the definition that ``template_ref`` names."""

    metrics: tuple[BirthMetric, ...] = ()
    parameters: tuple[TemplateParameter, ...] = ()
    template_ref: str | None = None  # None: a definition
    version: str | None = None

    @property
    def is_definition(self) -> bool:
        """Definitions have no template_ref, instances have one (payloads-template-definition-ref)."""
        return self.template_ref is None


# What a metric may carry: a scalar, an array as a tuple, a table or a template. None is is_null.
MetricValue: TypeAlias = Value | tuple[Value, ...] | DataSetValue | TemplateValue


class BirthMetric(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A metric in a birth certificate: definition and present value (topics-nbirth-metrics). Also a template's."""

    name: str
    datatype: DataType
    value: MetricValue = None  # None is is_null
    timestamp_ms: int | None = None
    alias: int | None = None
    is_historical: bool = False
    is_transient: bool = False
    properties: tuple[Property, ...] = ()
    metadata: MetaData | None = None

    def property_value(self, key: str) -> Value:
        """The scalar value of property ``key``, or None."""
        found = next((p.value for p in self.properties if p.key == key), None)
        return None if isinstance(found, tuple) else found


class MetricBinding(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One row of an alias table: what a birth said of a metric. Identity compares, so it may key dictionaries.

    The last four fields follow from the datatype; they spare the codec a look-up per value.
    """

    name: str
    datatype: DataType
    alias: int | None
    position: int  # in its birth
    members: TemplateMembers | None = None  # of a template: what DATA leaves out of its members
    value_field: str = ""  # "": the value is more than its field (arrays, DataSet, File, Template)
    probe_field: str = ""  # the same; and where that is "", a field whose default sends the reader the long way
    limit: int | None = None  # the first raw number that is negative or out of range
    may_have_parts: bool = False  # text and bytes: looked at for metadata

    def __post_init__(self) -> None:
        datatype = self.datatype
        integers = INTEGER_RANGE[datatype]
        set_attribute = msgspec.structs.force_setattr
        if datatype in _COMPOSED:
            set_attribute(self, "probe_field", "is_null")
            set_attribute(self, "may_have_parts", True)
            return
        set_attribute(self, "value_field", VALUE_FIELD[datatype])
        set_attribute(self, "probe_field", VALUE_FIELD[datatype])
        if integers is not None:
            set_attribute(self, "limit", integers[1] + 1)
        elif datatype > DataType.BOOLEAN:
            set_attribute(self, "may_have_parts", True)


class TemplateMembers(msgspec.Struct, frozen=True, eq=False):
    """The members of a template as a birth defined them: what an alias table is for metrics."""

    by_name: dict[str, MetricBinding]
    by_alias: dict[int, MetricBinding]
    parameters: dict[str, DataType]


_COMPOSED = frozenset({DataType.DATASET, DataType.FILE, DataType.TEMPLATE}) | ARRAYS

RejectReason = Literal[
    "unknown_metric", "wrong_type", "no_timestamp", "unsupported_type", "out_of_range", "nanosecond_timestamp"
]


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
    values: list[MetricValue]
    times_ms: list[int]
    is_historical: list[bool] | None = None  # None: none of them is
    properties: dict[int, dict[str, PropertyContent]] = {}  # index to properties, for the few that carry any
    metadata: dict[int, MetaData] = {}  # index to metadata; of text, bytes and composed values
    rejected: list[RejectedMetric] = []
    leniencies: dict[str, int] = {}  # what was forgiven, and how often


class BirthPayload(msgspec.Struct, kw_only=True):
    """NBIRTH or DBIRTH, read. ``metrics`` holds what can be used, in the order of the payload."""

    timestamp_ms: int | None
    seq: int | None
    bd_seq: int | None = None
    session_id: str = ""  # uns/session; empty for a foreign node
    metrics: list[BirthMetric]
    rejected: list[RejectedMetric] = []
    warnings: tuple[str, ...] = ()  # tck-ids of what was forgiven
    leniencies: dict[str, int] = {}  # what else was forgiven, and how often


class CommandPayload(msgspec.Struct, kw_only=True):
    """NCMD or DCMD, read with the names and types of the birth."""

    timestamp_ms: int | None
    metrics: list[BirthMetric]
    rejected: list[RejectedMetric] = []
    leniencies: dict[str, int] = {}


class DataBatch(msgspec.Struct, kw_only=True):
    """What one NDATA or DDATA shall carry; ``bindings[i]``, ``values[i]``, ``times_ms[i]`` belong together.

    Bindings come from ``EdgeNodeSession.bindings()`` of the running session.
    """

    bindings: list[MetricBinding]
    values: Sequence[MetricValue]
    times_ms: list[int]
    is_historical: bool = False
    properties: Mapping[int, tuple[Property, ...]] = {}  # index to properties, for the few that carry any
    metadata: Mapping[int, MetaData] = {}
