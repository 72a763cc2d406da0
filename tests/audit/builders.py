"""Logs for tests, and ways to tamper with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from uns.audit.chain import Anchor, AuditEntry, AuditEvent, Head, anchor_of, append, entry_hash, first_head

LOG = "0123456789abcdef0123456789abcdef"
COMPONENT = "uns-host-1"
START_NS = 1_780_515_120_125_000_000


def event(number: int = 1, **changes: Any) -> AuditEvent:
    fields: dict[str, Any] = {
        "at_ns": START_NS + number * 1_000_000_000,
        "actor": "op-17",
        "action": "dead_letter.retry",
        "subject": f"mes/WO-{number}@1",
        "detail": {"reason": f"number {number}"},
    }
    return AuditEvent(**(fields | changes))


def log_of(count: int, *, log: str = LOG, component: str = COMPONENT) -> list[AuditEntry]:
    return append(first_head(log), component, [event(number) for number in range(1, count + 1)])


def head_of(entries: Sequence[AuditEntry], *, log: str = LOG) -> Head:
    return Head(log, entries[-1].number, entries[-1].hash) if entries else first_head(log)


def anchor(entries: Sequence[AuditEntry], number: int | None = None, *, log: str = LOG) -> Anchor:
    last = entries[-1 if number is None else number - 1]
    return anchor_of(Head(log, last.number, last.hash), last.component, last.at_ns)


def changed(entry: AuditEntry, **fields: Any) -> AuditEntry:
    return msgspec.structs.replace(entry, **fields)


def hashed(entry: AuditEntry) -> AuditEntry:
    return msgspec.structs.replace(entry, hash=entry_hash(entry))


def linked(entries: Sequence[AuditEntry], *, log: str = LOG) -> list[AuditEntry]:
    """The whole chain computed anew, as somebody does who knows how it is made."""
    previous, made = first_head(log).hash, []
    for number, entry in enumerate(entries, 1):
        made.append(hashed(changed(entry, number=number, previous=previous)))
        previous = made[-1].hash
    return made


def renumbered(entries: Sequence[AuditEntry]) -> list[AuditEntry]:
    """Numbers without a gap, hashes as they were."""
    return [changed(entry, number=number) for number, entry in enumerate(entries, 1)]
