"""What the grader says in the end: findings by subject, one verdict per requirement id, the health of each node."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import msgspec

from uns.doctor.requirements import Level

__all__ = [
    "Finding",
    "HostReport",
    "NodeReport",
    "Report",
    "RequirementReport",
    "SubjectReport",
    "Totals",
    "TrafficReport",
    "moment",
    "printable",
]

_TEXT_MAX = 240

Visible = Literal["ok", "broken", "not_seen", "not_visible"]


def printable(text: str, length: int = _TEXT_MAX) -> str:
    """``text`` without what would move a terminal's cursor, and not without end."""
    cut = text if len(text) <= length else text[:length] + "…"
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in cut)


def moment(now_ns: int) -> str:
    """RFC 3339 with ms."""
    return (
        datetime.fromtimestamp(now_ns // 1_000_000 / 1000, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


class Finding(msgspec.Struct):
    """A rule broken by one subject in one kind of message; the example is the first of ``count``."""

    subject: str
    level: Level
    rule: str
    message_type: str
    tck_ids: tuple[str, ...]
    seen: str
    expected: str
    next_step: str
    topic: str
    message: int  # of all that were received, from 1; 0: the whole watch shows it, not one message
    time: str
    count: int = 1
    last_message: int = 0
    last_time: str = ""


class RequirementReport(msgspec.Struct, frozen=True):
    """One of the 299 ids."""

    tck_id: str
    level: Level
    verdict: Visible
    ok: int
    broken: int
    why: str = ""  # of not_visible


class SubjectReport(msgspec.Struct, frozen=True):
    """Whoever broke something: an edge node, a host, whoever commands a node, the broker, a stray topic."""

    subject: str
    musts: int  # rules of level MUST that are broken
    shoulds: int
    checks_ok: int
    findings: list[Finding]


class NodeReport(msgspec.Struct, frozen=True, kw_only=True):
    """An edge node as its messages tell it."""

    edge_node: str
    state: Literal["online", "offline", "unknown"]
    devices_online: int
    devices: int
    messages: int
    messages_per_second: float
    payload_bytes_max: int
    births: int
    deaths: int
    rebirth_requests: int
    seq_gaps: int
    messages_missing: int
    seq_repeated: int
    out_of_order: int
    clock_ahead_ms: int | None  # of its payload timestamps before ours; negative: behind, or long on the way
    silent_s: float
    marks: int
    confirms: int
    notes: list[str]


class HostReport(msgspec.Struct, frozen=True):
    """A host application as its STATE tells it."""

    sparkplug_host_id: str
    state: Literal["online", "offline", "unknown"]
    timestamp: int | None
    changes: int
    retained: bool
    notes: list[str]


class TrafficReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came in all, and what was not looked at in full."""

    messages: int  # live
    retained: int  # copies that the broker kept, handed out again at each subscription
    cleared: int  # empty ones, which delete what the broker keeps
    bytes: int  # of the live ones
    messages_per_second: float
    payload_bytes_max: int
    data_metrics_unread: int
    births_unread: int
    payloads_too_large: int
    nodes_not_remembered: int
    devices_not_remembered: int
    names_not_remembered: int
    topics_too_long: int
    findings_not_kept: int
    interruptions: int
    sparkplug_aware_broker: bool


class Totals(msgspec.Struct, frozen=True):
    """How many of the 299 ids stand where."""

    ok: int
    broken_must: int
    broken_should: int
    not_seen: int
    not_visible: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of it: what ``uns doctor --json`` prints."""

    schema: Literal["uns1.doctor_report/1"] = "uns1.doctor_report/1"
    broker: str
    began: str
    ended: str
    seconds: float
    verdict: Literal["ok", "warnings", "broken", "nothing_seen"]
    totals: Totals
    subjects: list[SubjectReport]
    nodes: list[NodeReport]
    hosts: list[HostReport]
    traffic: TrafficReport
    notes: list[str]
    requirements: list[RequirementReport]
