"""What one transaction of the record log holds: rows ready for ``executemany``, and what to read back at start.

The enricher makes a :class:`RecordPlan`; the record log commits it whole or not at all, then publishes its outbox.
Rows are plain tuples, because a named tuple costs as much as the rest of a sample. Their columns are named here,
once: the record log takes its tables from these names.

Order inside the transaction: series, payloads, samples, facts, intervals_opened, intervals_closed (a row may be opened
and closed by the same plan), gaps_opened, gaps_closed (likewise), ways, unrecorded, equipment_logs, counters,
positions, outbox.
"""

from __future__ import annotations

import base64

import msgspec

from uns.context.store import KnownFact
from uns.context.times import MAX_NS, MIN_NS
from uns.sparkplug.datatypes import DataType, Value

__all__ = [
    "EQUIPMENT_LOG_COLUMNS",
    "FACT_COLUMNS",
    "FLAG_BIRTH",
    "FLAG_CLOCK_SUSPECT",
    "FLAG_TIME_GATEWAY",
    "FLAG_TIME_SERVER",
    "FOREIGN_STATUS_COUNTERS",
    "GAP_COLUMNS",
    "INTERVAL_COLUMNS",
    "MAX_NS",
    "MIN_NS",
    "PAYLOAD_COLUMNS",
    "SAMPLE_COLUMNS",
    "SERIES_COLUMNS",
    "STATUS_COUNTERS",
    "UNRECORDED_COLUMNS",
    "WAY_COLUMNS",
    "ContextSample",
    "EnricherState",
    "FactRow",
    "GapClosedRow",
    "GapRow",
    "IntervalClosedRow",
    "IntervalRow",
    "OutboxMessage",
    "PayloadRow",
    "PresentSample",
    "RecordPlan",
    "SampleRow",
    "SeriesRow",
    "StoredFact",
    "UnrecordedRow",
    "WayRow",
    "columns_of",
    "value_of",
]

# Counters of samples by the status of their interval at the highest revision: recorded under it, moved by restatements.
STATUS_COUNTERS = {status: f"status_{status}" for status in ("resolved", "unassigned", "unresolved")}
FOREIGN_STATUS_COUNTERS = {status: f"foreign_{name}" for status, name in STATUS_COUNTERS.items()}

# samples.flags, a bit set
FLAG_CLOCK_SUSPECT = 1
FLAG_BIRTH = 2  # the value came with a birth and was not seen before
FLAG_TIME_SERVER = 4  # time_source "server"
FLAG_TIME_GATEWAY = 8  # time_source "gateway"; neither bit: "device"

# One metric of one equipment with its type and unit; a retyped metric gets another series.
SERIES_COLUMNS = ("series", "equipment", "metric", "type", "unit")
SeriesRow = tuple[int, str, str, str, str | None]

# By which way samples came. One row per payload that recorded anything. recorded_at_ns is knowledge time.
PAYLOAD_COLUMNS = (
    "payload",
    "group_id",
    "edge_node_id",
    "device_id",
    "session",
    "bd_seq",
    "seq",
    "historical",
    "received_at_ns",
    "recorded_at_ns",
    "raw_position",
)
PayloadRow = tuple[int, str, str, str | None, str, int, int, int, int, int, int]

# The key is (series, source_time_ns, ordinal); position is the place in the record log and ascends within a plan.
# quality is the number of uns.enrichment.samples.Quality. Exactly one value column is set, none for null.
SAMPLE_COLUMNS = (
    "position",
    "series",
    "source_time_ns",
    "ordinal",
    "value_num",
    "value_int",
    "value_text",
    "quality",
    "status_code",
    "flags",
    "payload",
)
SampleRow = tuple[int, int, int, int, float | None, int | None, str | None, int, int, int, int]

# One revision of the context of one equipment over [from_ns, to_ns). known_to_ns is MAX_NS while it is current.
# body is the context object as it stands in ticks (JSON text); status and work_order repeat it for SQL.
INTERVAL_COLUMNS = (
    "position",
    "equipment",
    "from_ns",
    "to_ns",
    "rev",
    "known_from_ns",
    "known_to_ns",
    "status",
    "work_order",
    "body",
    "reason",
)
IntervalRow = tuple[int, str, int, int, int, int, int, str, str | None, str, str]

# UPDATE context_intervals SET known_to_ns = ? WHERE position = ?
IntervalClosedRow = tuple[int, int]

# One accepted fact message; the key is (source, id, source_rev). body is the message (JSON text).
FACT_COLUMNS = (
    "source",
    "id",
    "source_rev",
    "rev",
    "kind",
    "equipment",
    "action",
    "valid_from_ns",
    "valid_to_ns",
    "known_at_ns",
    "body",
    "hash",
)
FactRow = tuple[str, str, str, int, str, str, str, int, int | None, int, str, str]

# One revision of a gap (uns.enrichment.gaps). ``gap`` is the position of its first revision; device_id is "" for the
# node itself. to_ns is MAX_NS while it is open, known_to_ns while the row is current. Both ends of a ``dropped`` gap
# are times of dropped samples, those of the others of recorded ones.
GAP_COLUMNS = (
    "position",
    "gap",
    "rev",
    "equipment",
    "group_id",
    "edge_node_id",
    "device_id",
    "reason",
    "status",
    "from_ns",
    "to_ns",
    "closed_by",
    "samples",
    "detail",
    "known_from_ns",
    "known_to_ns",
)
GapRow = tuple[
    int, int, int, str, str, str, str, str, str, int, int, str | None, int | None, str, int, int
]  # fmt: skip

# UPDATE gaps SET known_to_ns = ? WHERE position = ?
GapClosedRow = tuple[int, int]

# The session in which a way last brought samples of an equipment: upsert by the first three.
WAY_COLUMNS = ("group_id", "edge_node_id", "device_id", "equipment", "session")
WayRow = tuple[str, str, str, str, str]

# A sample that is no record, kept by key: (group_id, edge_node_id, device_id, metric, source_time_ns, ordinal).
# kind is "rejected" or "unmapped"; device_id is "" for metrics of the node itself; raw is what there was of it.
UNRECORDED_COLUMNS = (
    "kind",
    "group_id",
    "edge_node_id",
    "device_id",
    "metric",
    "source_time_ns",
    "ordinal",
    "reason",
    "raw",
    "recorded_at_ns",
)
UnrecordedRow = tuple[str, str, str, str, str, int, int, str, bytes, int]

# The last log position that was published about an equipment (the next message's ``after``): upsert by equipment.
EQUIPMENT_LOG_COLUMNS = ("equipment", "last_to")
EquipmentLogRow = tuple[str, int]


class OutboxMessage(msgspec.Struct, frozen=True):
    """A message to publish after the commit; the outbox keeps the order of the log."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False


class RecordPlan(msgspec.Struct, kw_only=True):
    """One transaction, and what to publish after it. Empty lists are the rule, not the exception."""

    series: list[SeriesRow] = []
    payloads: list[PayloadRow] = []
    samples: list[SampleRow] = []
    facts: list[FactRow] = []
    intervals_opened: list[IntervalRow] = []
    intervals_closed: list[IntervalClosedRow] = []
    gaps_opened: list[GapRow] = []
    gaps_closed: list[GapClosedRow] = []
    ways: list[WayRow] = []
    unrecorded: list[UnrecordedRow] = []
    equipment_logs: list[EquipmentLogRow] = []
    counters: dict[str, int] = {}  # deltas: add them to the stored totals
    outbox: list[OutboxMessage] = []
    next_position: int = 1  # to be stored: where the log goes on
    next_payload: int = 1
    contract_hash: str = ""  # of the tree: to be stored beside next_position
    raw_position: int = 0  # highest raw_position of this plan's batches, 0 where there was none

    def is_empty(self) -> bool:
        """Whether there is nothing to commit and nothing to publish."""
        return not (
            self.samples
            or self.payloads
            or self.facts
            or self.intervals_opened
            or self.intervals_closed
            or self.gaps_opened
            or self.ways
            or self.unrecorded
            or self.counters
            or self.outbox
        )


StoredFact = KnownFact  # one fact message as the store kept it: fact, rev, known_at_ns


class ContextSample(msgspec.Struct, frozen=True):
    """One recorded sample of a metric with role ``context``."""

    equipment: str
    metric: str
    source_time_ns: int
    ordinal: int
    value: Value
    quality: int


class PresentSample(msgspec.Struct, frozen=True):
    """The newest sample of a series (highest source time, then ordinal) and by which way it came."""

    series: int
    source_time_ns: int
    ordinal: int
    value: Value
    quality: int
    status_code: int
    flags: int
    group_id: str
    edge_node_id: str
    device_id: str | None


class EnricherState(msgspec.Struct, kw_only=True):
    """What the record log hands back at start; all of it is derived from committed rows.

    ``facts``: every fact message, in any order. ``context_samples``: every sample of every metric whose contract has
    role ``context``. ``intervals``: rows with ``known_to_ns`` = MAX_NS, as INTERVAL_COLUMNS. ``series``: all rows of
    the series table, each with the highest source_time_ns of its samples (None: it has no samples). ``present``: the
    newest samples, of stamps that are believed where a series has any within reach, for gaps and the board of present
    values; where it is left out, values are shown again when they change.
    ``gaps``: current rows of gaps that are open, or closed and not filled, as GAP_COLUMNS.
    """

    facts: list[StoredFact] = []
    context_samples: list[ContextSample] = []
    intervals: list[IntervalRow] = []
    series: list[tuple[SeriesRow, int | None]] = []
    present: list[PresentSample] = []
    gaps: list[GapRow] = []
    ways: list[WayRow] = []
    equipment_logs: list[EquipmentLogRow] = []
    counters: dict[str, int] = {}
    next_position: int = 1
    next_payload: int = 1
    contract_hash: str | None = None  # of the tree the intervals were made with; another one: they are made anew


_INT64_MAX = 2**63 - 1
_INT64_MIN = -(2**63)
_SPECIAL = {float("inf"): "Infinity", float("-inf"): "-Infinity"}
_NAMED: dict[str, float] = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_FLOATS = frozenset({DataType.FLOAT.label, DataType.DOUBLE.label})
_TEXTS = frozenset({DataType.STRING.label, DataType.TEXT.label, DataType.UUID.label})
_BYTES = frozenset({DataType.BYTES.label, DataType.FILE.label})


def columns_of(value: Value) -> tuple[float | None, int | None, str | None]:
    """Value to (value_num, value_int, value_text); SQLite would turn NaN into NULL and overflow on UInt64."""
    if value is None:
        return None, None, None
    if isinstance(value, float):
        if value - value == 0.0:
            return value, None, None
        return None, None, _SPECIAL.get(value, "NaN")
    if isinstance(value, int):  # bool too
        if _INT64_MIN <= value <= _INT64_MAX:
            return None, int(value), None
        return None, None, str(value)
    if isinstance(value, bytes):
        return None, None, base64.b64encode(value).decode()
    return None, None, value


def value_of(type_label: str, value_num: float | None, value_int: int | None, value_text: str | None) -> Value:
    """Inverse of :func:`columns_of`, given the series' type. A value that did not fit its type comes back as it was."""
    if value_num is not None:
        return value_num
    if value_int is not None:
        if type_label == "Boolean" and value_int in {0, 1}:
            return bool(value_int)
        return value_int
    if value_text is None or type_label in _TEXTS:
        return value_text
    if type_label in _FLOATS:
        return _NAMED.get(value_text, value_text)
    try:
        if type_label in _BYTES:
            return base64.b64decode(value_text, validate=True)
        number = int(value_text)
    except ValueError:
        return value_text
    return value_text if _INT64_MIN <= number <= _INT64_MAX else number  # smaller ones have a column of their own
