"""What the audit log says of facts: who stated what, old and new, and what was refused."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from uns.audit.chain import AuditEvent
from uns.audit.events import fact_accepted, fact_refused, fact_subject
from uns.context.facts import Fact, FactAnswer
from uns.context.store import KnownFact
from uns.enrichment.pipeline import Enricher
from uns.enrichment.plan import FactRow
from uns.runtime.audit import AuditTrail
from uns.runtime.host.groups import FactItem

__all__ = ["FactAudit", "Told"]

_encode = msgspec.json.Encoder().encode


class Told(msgspec.Struct, frozen=True):
    """A fact message and what was known of its fact before."""

    item: FactItem
    answer: FactAnswer
    before: KnownFact | None
    repeated: bool  # the same message was accepted before


class FactAudit:
    """Follows the joiner: :meth:`before` each fact, :meth:`events` for the plan that commits them."""

    def __init__(self, trail: AuditTrail) -> None:
        self._trail = trail

    @staticmethod
    def before(enricher: Enricher, fact: Fact) -> tuple[KnownFact | None, bool]:
        """The last message known of a fact, and whether this one is known already."""
        history = enricher.store.history(fact.source, fact.id)
        if not history:
            return None, False
        return history[-1], any(known.fact.source_rev == fact.source_rev for known in history)

    def events(self, told: Sequence[Told], rows: Sequence[FactRow], now_ns: int) -> list[AuditEvent]:
        """Entries for one plan; ``rows`` are its rows of facts."""
        by_name = {(row[0], row[1], row[2]): row for row in rows}
        found: list[AuditEvent] = []
        for one in told:
            fact = one.item.fact
            row = by_name.get((fact.source, fact.id, fact.source_rev))
            if not one.answer.accepted:
                refused = self._trail.admit(self._refused(one.item, one.answer.reason or "", now_ns))
                found += [] if refused is None else [refused]
            elif row is not None and not one.repeated:
                found.append(fact_accepted(fact, one.before, row, now_ns))
        return found

    def committed(self) -> None:
        """The plan is on disk."""
        self._trail.committed()

    def refuse(self, item: FactItem, reason: str, now_ns: int) -> None:
        """A fact was refused that is in no plan."""
        self._trail.note(self._refused(item, reason, now_ns))

    def unreadable(self, topic: str, source: str, reason: str, payload: bytes, now_ns: int) -> None:
        """A message on a fact topic is no fact that we can read."""
        self._trail.note(
            fact_refused(
                topic=topic,
                source=source,
                subject=topic,
                actor=source or "unknown",
                reason=reason,
                at_ns=now_ns,
                sha256=hashlib.sha256(payload).hexdigest(),
            )
        )

    @staticmethod
    def _refused(item: FactItem, reason: str, now_ns: int) -> AuditEvent:
        """The broker let the source of the topic in; what the message says of its source and people is its word."""
        fact = item.fact
        return fact_refused(
            topic=item.answer_topic.replace("/_fact_result/", "/_fact/"),
            source=item.source_of_topic,
            subject=fact_subject(fact.source, fact.id, fact.source_rev),
            actor=fact.by or item.source_of_topic,
            reason=reason,
            at_ns=now_ns,
            sha256=hashlib.sha256(_encode(fact)).hexdigest(),
        )
