"""How things that happen are written down: one function a kind of event, one word an action.

Actors are what the broker or the operating system let in, or what a source says of its people: ``by`` of a fact is the
source's word, and ``source`` stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from uns.audit.chain import Anchor, AuditEvent, Head
from uns.context.facts import Fact, FactAnswer
from uns.context.store import KnownFact, fact_hash

__all__ = [
    "BEGUN",
    "CONFIGURED",
    "FACT_ACCEPTED",
    "FACT_REFUSED",
    "MISMATCH",
    "STARTED",
    "STOPPED",
    "configured",
    "fact_accepted",
    "fact_refused",
    "fact_subject",
    "mismatch",
]

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

# Fields of a fact that the entry's own fields tell already.
_TOLD = frozenset({"schema_name", "id", "source", "source_rev", "by", "reason"})


def fact_subject(source: str, fact_id: str, source_rev: str) -> str:
    """What an entry about a fact message is about."""
    return f"{source}/{fact_id}@{source_rev}"


def fact_accepted(fact: Fact, answer: FactAnswer, before: KnownFact | None, at_ns: int) -> AuditEvent:
    """A fact message was accepted; ``before`` is the last one accepted of the same fact.

    ``set`` are the fields of the first message; ``changed`` what another one says otherwise, as [old, new].
    """
    new = _fields(fact)
    detail: dict[str, Any] = {
        "source": fact.source,
        "kind": fact.kind,
        "equipment": fact.equipment,
        "action": fact.action,
        "rev": answer.rev,
        "source_rev": fact.source_rev,
        "reason": fact.reason,
        "sha256": fact_hash(fact),
    }
    if before is None:
        detail["set"] = {name: value for name, value in new.items() if value not in {None, False}}
    else:
        old = _fields(before.fact)
        detail["before"] = {"rev": before.rev, "source_rev": before.fact.source_rev}
        detail["changed"] = {name: [old[name], value] for name, value in new.items() if old[name] != value}
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


def configured(
    before: Mapping[str, Any] | None, now: Mapping[str, Any], *, actor: str, component: str, at_ns: int
) -> AuditEvent | None:
    """The configuration of a component at its start: all of it the first time, then what is other than at the last."""
    if before is None:
        return AuditEvent(at_ns=at_ns, actor=actor, action=CONFIGURED, subject=component, detail=dict(now))
    changed = {
        name: [before.get(name), now.get(name)] for name in sorted({*before, *now}) if before.get(name) != now.get(name)
    }
    if not changed:
        return None
    return AuditEvent(at_ns=at_ns, actor=actor, action=CHANGED, subject=component, detail={"changed": changed})


def mismatch(anchor: Anchor, head: Head, *, component: str, what: str, where: str, at_ns: int) -> AuditEvent:
    """At a start, the anchor outside does not fit the log: the whole anchor is kept, since a new one replaces it."""
    return AuditEvent(
        at_ns=at_ns,
        actor=component,
        action=MISMATCH,
        subject=component,
        detail={
            "what": what,
            "where": where,
            "anchor": msgspec.to_builtins(anchor),
            "log": {"log": head.log, "number": head.number, "hash": head.hash},
        },
    )


def _fields(fact: Fact) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(fact)
    return {name: value for name, value in found.items() if name not in {*_TOLD, "schema"}}
