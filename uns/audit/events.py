"""How things that happen are written down: one function a kind of event, one word an action.

Actors are what the broker or the operating system let in, or what a source says of its people: ``by`` of a fact is the
source's word, and ``source`` stands beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from uns.audit.chain import Anchor, AuditEvent, Head, bounded_text
from uns.context.facts import Fact
from uns.context.store import KnownFact

__all__ = [
    "ANCHOR_ABSENT",
    "ANCHOR_SPOILED",
    "BEGUN",
    "CHANGED",
    "COMMAND_SENT",
    "CONFIGURED",
    "FACT_ACCEPTED",
    "FACT_REFUSED",
    "MIGRATED",
    "MISMATCH",
    "STARTED",
    "STOPPED",
    "UNCLEAN",
    "ComponentState",
    "Life",
    "command_sent",
    "component_actor",
    "fact_accepted",
    "fact_refused",
    "fact_subject",
    "mismatch",
    "postings_delivered",
    "row_hash",
    "starting",
    "stopping",
]

ANCHOR_ABSENT = "audit.anchor_absent"
ANCHOR_SPOILED = "audit.anchor_spoiled"
BEGUN = "audit.begun"
MISMATCH = "audit.mismatch"
STARTED = "component.started"
STOPPED = "component.stopped"
UNCLEAN = "component.stopped_unclean"
MIGRATED = "store.migrated"
CONFIGURED = "configuration.set"
CHANGED = "configuration.changed"
FACT_ACCEPTED = "fact.accepted"
FACT_REFUSED = "fact.refused"
COMMAND_SENT = "command.sent"

# What a fact says; the rest of its fields are told by the entry's own.
_FIELDS = tuple(
    name for name in Fact.__struct_fields__ if name not in {"schema_name", "id", "source", "source_rev", "by", "reason"}
)


def fact_subject(source: str, fact_id: str, source_rev: str) -> str:
    """What an entry about a fact message is about."""
    return f"{source}/{fact_id}@{source_rev}"


def row_hash(row: Sequence[Any]) -> str:
    """SHA-256 over a stored row as a JSON array: what an entry says of a row can be held against the row."""
    return hashlib.sha256(msgspec.json.encode(row)).hexdigest()


def fact_accepted(fact: Fact, before: KnownFact | None, row: Sequence[Any], at_ns: int) -> AuditEvent:
    """A fact message was accepted; ``before`` is the last one accepted of the same fact, ``row`` what is stored of it.

    ``set`` are the fields of the first message; ``changed`` what another one says otherwise, as [old, new].
    """
    detail: dict[str, Any] = {
        "source": fact.source,
        "kind": fact.kind,
        "equipment": fact.equipment,
        "action": fact.action,
        "rev": 1 if before is None else before.rev + 1,
        "source_rev": fact.source_rev,
        "reason": None if fact.reason is None else bounded_text(fact.reason),  # the only one without a bound
        "row_sha256": row_hash(row),
    }
    if before is None:
        detail["set"] = {name: value for name in _FIELDS if (value := getattr(fact, name))}
    else:
        old = before.fact
        detail["before"] = {"rev": before.rev, "source_rev": old.source_rev}
        detail["changed"] = {
            name: [getattr(old, name), value]
            for name in _FIELDS
            if (value := getattr(fact, name)) != getattr(old, name)
        }
    return AuditEvent(
        at_ns=at_ns,
        actor=fact.by or fact.source,
        action=FACT_ACCEPTED,
        subject=fact_subject(fact.source, fact.id, fact.source_rev),
        detail=detail,
    )


def fact_refused(
    *, topic: str, source: str, subject: str, actor: str, reason: str, at_ns: int, sha256: str = ""
) -> AuditEvent:
    """A fact message was refused, or could not be read. ``sha256`` is of what was sent."""
    detail: dict[str, Any] = {"source": source, "topic": topic, "reason": reason}
    if sha256:
        detail["sha256"] = sha256
    return AuditEvent(at_ns=at_ns, actor=actor, action=FACT_REFUSED, subject=subject, detail=detail)


class ComponentState(msgspec.Struct, frozen=True, kw_only=True):
    """What a component remembers of its last life, to tell at the next start what is other than it was."""

    running: bool
    since_ns: int  # when it started, or stopped
    release: str
    schema: int  # of its store
    configuration: dict[str, Any]


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """One start of a component, as its audit log tells of it."""

    component: str
    actor: str  # who the operating system says started it
    release: str
    configuration: dict[str, Any]  # what it was told: no secrets, and nothing that changes by itself


def starting(
    life: Life, before: ComponentState | None, *, schema: int, holds: Mapping[str, int], head: Head, at_ns: int
) -> tuple[list[AuditEvent], ComponentState]:
    """What a start has to say: the log begins, the last life ended without a word, the store or settings changed.

    ``holds`` counts what stood in the store before the log began: of that it cannot say who.
    """

    def event(action: str, **detail: Any) -> AuditEvent:
        return AuditEvent(at_ns=at_ns, actor=life.actor, action=action, subject=life.component, detail=detail)

    events: list[AuditEvent] = []
    if before is None:
        events.append(event(BEGUN, log=head.log, release=life.release, schema=schema, before=dict(holds)))
    if before is not None and before.running:
        events.append(event(UNCLEAN, started_ns=before.since_ns, release=before.release))
    if before is not None and before.schema != schema:
        events.append(event(MIGRATED, schema=[before.schema, schema]))
    events.append(event(STARTED, release=life.release, schema=schema))
    settings = {"release": life.release, **life.configuration}
    if before is None:
        events.append(event(CONFIGURED, **settings))
    else:
        old = {"release": before.release, **before.configuration}
        changed = {
            name: [old.get(name), settings.get(name)]
            for name in sorted({*old, *settings})
            if old.get(name) != settings.get(name)
        }
        if changed:
            events.append(event(CHANGED, changed=changed))
    state = ComponentState(
        running=True, since_ns=at_ns, release=life.release, schema=schema, configuration=life.configuration
    )
    return events, state


def stopping(
    life: Life, state: ComponentState, *, at_ns: int, **detail: Any
) -> tuple[list[AuditEvent], ComponentState]:
    """A clean stop."""
    event = AuditEvent(at_ns=at_ns, actor=life.actor, action=STOPPED, subject=life.component, detail=detail)
    return [event], msgspec.structs.replace(state, running=False, since_ns=at_ns)


def mismatch(
    action: str, found: Anchor | None, head: Head, *, component: str, what: str, where: str, at_ns: int
) -> AuditEvent:
    """The anchor outside does not fit the log. What was found is kept whole, since a new anchor takes its place."""
    return AuditEvent(
        at_ns=at_ns,
        actor=component,
        action=action,
        subject=component,
        detail={
            "what": what,
            "where": where,
            "found": None if found is None else msgspec.to_builtins(found),
            "log": {"log": head.log, "number": head.number, "hash": head.hash},
        },
    )


def component_actor(bridge: str) -> str:
    """A bridge that acts by itself."""
    return f"bridge:{bridge}"


def postings_delivered(bridge: str, row: Sequence[Any], at_ns: int) -> AuditEvent:
    """Many deliveries of one kind; ``row``: kind, since, last, items, first and last key, first and last position."""
    kind, since_ns, last_ns, items, first_key, last_key, first_position, last_position = row
    return AuditEvent(
        at_ns=at_ns,
        actor=component_actor(bridge),
        action="bridge.delivered.sum",
        subject=f"{bridge}/{first_key}",
        detail={
            "kind": kind,
            "items": items,
            "keys": [first_key, last_key],
            "positions": [first_position, last_position],
            "since_ns": since_ns,
            "last_ns": last_ns,
        },
    )


def command_sent(command: str, target: str, *, cause: str, actor: str, at_ns: int) -> AuditEvent:
    """A command left this component."""
    detail = {"command": command, "cause": cause}
    return AuditEvent(at_ns=at_ns, actor=actor, action=COMMAND_SENT, subject=target, detail=detail)
