"""Entries of an audit log, each holding the hash of the one before it; and the anchor that tells of its end.

The hash is SHA-256 over a JSON array without blanks, UTF-8, nothing escaped that need not be::

    [number, at_ns, component, actor, action, subject, detail, previous]

``detail`` stands in it as the text that is stored, so nobody has to agree on a spelling of nested objects. ``previous``
of entry 1 is SHA-256 over ``["uns1.audit/1", log]``: a log cannot take the place of another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from uns.context.times import rfc3339

__all__ = [
    "ANCHOR_SCHEMA",
    "DETAIL_CHARACTERS_MAX",
    "TEXT_CHARACTERS_MAX",
    "Anchor",
    "AuditEntry",
    "AuditEvent",
    "Head",
    "anchor_of",
    "append",
    "bounded_text",
    "entry_hash",
    "first_head",
]

LOG_SCHEMA = "uns1.audit/1"
ANCHOR_SCHEMA = "uns1.audit_anchor/1"
TEXT_CHARACTERS_MAX = 1_024  # of actor, action and subject; what is longer is cut, and says so
DETAIL_CHARACTERS_MAX = 32_768
_CUT = "… (cut)"
_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what to what, and why: what becomes an entry."""

    at_ns: int
    actor: str  # op-17, mes, uns-host-1, an OS user …
    action: str  # fact.accepted, dead_letter.drop, bridge.delivered …
    subject: str  # what it was done to: mes/WO-7, history/log:0-20000, acme.dallas/gw-1 …
    detail: dict[str, Any] = {}


class AuditEntry(msgspec.Struct, frozen=True):
    """One link of the chain. ``hash`` covers every other field."""

    number: int
    at_ns: int
    component: str
    actor: str
    action: str
    subject: str
    detail: str  # JSON text, as it is hashed
    previous: str
    hash: str


class Head(msgspec.Struct, frozen=True):
    """Where a log ends: all that is needed to go on with it."""

    log: str  # drawn when the log began: no other log has it
    number: int
    hash: str


class Anchor(msgspec.Struct, frozen=True, kw_only=True, rename={"schema_name": "schema"}):
    """What a component says of the end of its audit log, kept outside of it: ``uns1/_audit/{component}``, retained.

    Whoever holds one can tell later whether the log was cut, replaced, or changed before ``number``.
    """

    schema_name: str = ANCHOR_SCHEMA
    component: str
    log: str
    number: int
    hash: str
    at: str


def first_head(log: str) -> Head:
    """The end of a log that has no entry yet."""
    return Head(log, 0, hashlib.sha256(_encode([LOG_SCHEMA, log])).hexdigest())


def append(head: Head, component: str, events: Iterable[AuditEvent]) -> list[AuditEntry]:
    """Entries that go on where ``head`` ends, one an event. The last one is the new head."""
    entries: list[AuditEntry] = []
    number, previous = head.number, head.hash
    for event in events:
        number += 1
        actor, action, subject = bounded_text(event.actor), bounded_text(event.action), bounded_text(event.subject)
        detail = _detail(event.detail)
        made = _hash(number, event.at_ns, component, actor, action, subject, detail, previous)
        entries.append(
            AuditEntry(number, event.at_ns, component, actor, action, subject, detail, previous, made),
        )
        previous = made
    return entries


def entry_hash(entry: AuditEntry, *, number: int | None = None) -> str:
    """What the hash of an entry should be; with ``number``, what it would be in another place."""
    return _hash(
        entry.number if number is None else number,
        entry.at_ns,
        entry.component,
        entry.actor,
        entry.action,
        entry.subject,
        entry.detail,
        entry.previous,
    )


def anchor_of(head: Head, component: str, at_ns: int) -> Anchor:
    """The anchor of a log that ends so."""
    return Anchor(component=component, log=head.log, number=head.number, hash=head.hash, at=rfc3339(at_ns))


def _hash(*fields: int | str) -> str:
    return hashlib.sha256(_encode(fields)).hexdigest()


def bounded_text(text: str) -> str:
    """Text that every JSON and every database keeps as it is; what is too long is cut."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= TEXT_CHARACTERS_MAX else text[: TEXT_CHARACTERS_MAX - len(_CUT)] + _CUT


def _detail(detail: dict[str, Any]) -> str:
    try:
        text = _encode_sorted(detail).decode()
    except UnicodeEncodeError:  # half a surrogate pair somewhere
        text = _encode({"unreadable": bounded_text(repr(detail))}).decode()
    if len(text) > DETAIL_CHARACTERS_MAX:
        cut = {"characters": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}
        text = _encode({"cut": cut, "start": text[: DETAIL_CHARACTERS_MAX // 2]}).decode()
    return text
