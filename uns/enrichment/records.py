"""The JSON documents of the namespace as structs: their JSON Schemas are made from these (schemas/*.schema.json).

Hot documents (ticks, present values) are spliced from prepared text in :mod:`uns.enrichment.ticks`; a test decodes what
is spliced with the structs here. Consumers ignore unknown fields; within a version fields are only added.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from uns.context.timeline import ContextBody

__all__ = [
    "ContextNow",
    "Event",
    "EventType",
    "GatewayHealth",
    "Health",
    "LogSpan",
    "Meta",
    "MetricMeta",
    "PresentValue",
    "QualityWord",
    "Restatement",
    "Snapshot",
    "SnapshotValue",
    "Tick",
    "TickSample",
    "TickSource",
]

QualityWord = Literal["good", "uncertain", "bad", "stale"]
TimeSource = Literal["device", "server", "gateway"]
Special = Literal["NaN", "Infinity", "-Infinity"]
JsonValue = bool | int | float | str | None


class LogSpan(msgspec.Struct, frozen=True, kw_only=True, rename={"from_position": "from", "to_position": "to"}):
    """Positions of the record log that a message covers, both inclusive.

    ``after`` is the ``to`` of the message before it about the same equipment (0: there was none).
    """

    after: int
    from_position: int
    to_position: int


class TickSample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One sample. Int64, UInt64 and DateTime are strings, bytes are base64; ``special`` tells NaN and infinities."""

    metric: str
    value: JsonValue
    type: str
    unit: str | None = None
    special: Special | None = None
    time: str
    ordinal: int = 0
    quality: QualityWord = "good"
    status_code: int = 0
    time_source: TimeSource = "device"
    clock_suspect: bool = False
    origin: Literal["data", "birth"] = "data"


class TickSource(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """By which way a tick came; no part of the identity of its samples."""

    group_id: str
    edge_node_id: str
    device_id: str | None = None
    bd_seq: int
    seq: int
    historical: bool
    received_at: str


class Tick(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="schema", tag="uns1.tick/1"):
    """Samples of one equipment with one context and one revision, on ``…/_data/…``."""

    enterprise: str
    equipment: str
    path: str
    rev: int
    context: ContextBody
    samples: tuple[TickSample, ...]
    source: TickSource
    log: LogSpan


class Restatement(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={"from_time": "from", "to_time": "to"},
    tag_field="schema",
    tag="uns1.restatement/1",
):
    """Another context for samples that were recorded before, on ``…/_res/…``; null ends are unbounded."""

    enterprise: str
    equipment: str
    path: str
    from_time: str | None
    to_time: str | None
    rev: int
    old: ContextBody
    new: ContextBody
    reason: str
    samples: int
    log: LogSpan


EventType = Literal["job", "lot", "alarm", "quality", "gap", "clock", "conflict", "unresolved"]


class Event(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    rename={"from_time": "from", "to_time": "to"},
    tag_field="schema",
    tag="uns1.event/1",
):
    """Something happened at an equipment, on ``…/_event/…/{type}``. Which fields are there depends on the type."""

    type: EventType
    enterprise: str
    equipment: str
    path: str
    time: str  # when we noticed
    from_time: str | None = None
    to_time: str | None = None
    samples: int = 0
    missing: tuple[str, ...] = ()
    metric: str | None = None
    what: str = ""  # in words
    job_order: str | None = None
    work_order: str | None = None
    lot: str | None = None
    material: str | None = None
    state: str | None = None
    action: str | None = None
    source: str | None = None
    facts: tuple[str, ...] = ()


class PresentValue(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="schema", tag="uns1.pv/1"):
    """The newest value of a metric with its context, retained on ``{place}/_pv/{metric}``."""

    equipment: str
    metric: str
    value: JsonValue
    type: str
    unit: str | None = None
    special: Special | None = None
    time: str
    ordinal: int = 0
    status_code: int = 0
    time_source: TimeSource = "device"
    origin: Literal["data", "birth"] = "data"
    quality: QualityWord
    stale_since: str | None = None
    stale_reason: str = ""
    context: ContextBody


class SnapshotValue(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One metric in a snapshot."""

    metric: str
    value: JsonValue
    type: str
    unit: str | None = None
    special: Special | None = None
    time: str
    ordinal: int = 0
    status_code: int = 0
    time_source: TimeSource = "device"
    origin: Literal["data", "birth"] = "data"
    quality: QualityWord
    stale_since: str | None = None
    stale_reason: str = ""


class Snapshot(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="schema", tag="uns1.pv_snapshot/1"
):
    """The newest values of all metrics of an equipment, retained on ``{place}/_pv``."""

    equipment: str
    path: str
    values: tuple[SnapshotValue, ...]


class ContextNow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="schema", tag="uns1.ctx/1"):
    """What runs at an equipment now, retained on ``{place}/_ctx``."""

    enterprise: str
    equipment: str
    path: str
    since: str | None = None
    context: ContextBody


class MetricMeta(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="schema", tag="uns1.metric_meta/1"
):
    """What a metric is, retained on ``{place}/_meta/{metric}``."""

    equipment: str
    metric: str
    type: str
    unit: str | None = None
    unit_symbol: str | None = None
    range: tuple[float, float] | None = None
    deadband: float | None = None
    role: str
    provides: str | None = None
    counts: str | None = None
    rollover: int | None = None
    source_address: str | None = None
    contract_hash: str


class Meta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="schema", tag="uns1.meta/1"):
    """What an equipment is, retained on ``{place}/_meta``."""

    enterprise: str
    equipment: str
    path: str
    level: str
    class_name: str | None = msgspec.field(default=None, name="class")
    gateways: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    contract_hash: str


class GatewayHealth(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One gateway that feeds an equipment."""

    gateway: str
    state: Literal["online", "offline", "stale", "unknown"]
    since: str | None = None
    reason: str = ""


class Health(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="schema", tag="uns1.health/1"):
    """Who feeds an equipment and how that goes, retained on ``{place}/_health``."""

    equipment: str
    path: str
    gateways: tuple[GatewayHealth, ...]
    host: dict[str, str] = {}  # what troubles the host itself, by part: "raw_log", "record_log"
