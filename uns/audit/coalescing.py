"""Bounds on what others can make us write down: so many entries a minute one by one, the rest as sums.

An audit log is never shortened, so nobody may fill it at will: a client that states refused facts in a loop, or a node
that needs a rebirth each second, costs a bounded number of entries. What gets no entry of its own is counted, and the
counts become an entry when the minute is over.
"""

from __future__ import annotations

from collections import Counter

import msgspec

from uns.audit.chain import AuditEvent

__all__ = ["Coalescer", "Flood"]

MINUTE_NS = 60_000_000_000
ENTRIES_PER_MINUTE_MAX = 60
SUBJECTS_MAX = 100  # that a sum names; the others are counted together
OTHERS = "…"


class Flood(msgspec.Struct):
    """What came of one action in the present minute."""

    since_ns: int
    written: int = 0
    held: Counter[str] = msgspec.field(default_factory=Counter)
    last_ns: int = 0


class Coalescer:
    """Each action has its own minute, which begins with its first event."""

    def __init__(self, actor: str, *, entries_max: int = ENTRIES_PER_MINUTE_MAX, window_ns: int = MINUTE_NS) -> None:
        self._actor = actor
        self._entries_max = entries_max
        self._window_ns = window_ns
        self._floods: dict[str, Flood] = {}

    def receive(self, event: AuditEvent) -> AuditEvent | None:
        """The event, if it gets an entry of its own now; None if it is counted."""
        flood = self._floods.get(event.action)
        if flood is None:
            flood = self._floods[event.action] = Flood(event.at_ns)
        if flood.written < self._entries_max:
            flood.written += 1
            return event
        known = event.subject in flood.held or len(flood.held) < SUBJECTS_MAX
        flood.held[event.subject if known else OTHERS] += 1
        flood.last_ns = event.at_ns
        return None

    def due(self, now_ns: int, *, everything: bool = False) -> list[AuditEvent]:
        """Sums of minutes that are over (a clock that stepped back ends them too); of all at a stop."""
        found: list[AuditEvent] = []
        for action, flood in list(self._floods.items()):
            if everything or not 0 <= now_ns - flood.since_ns < self._window_ns:
                del self._floods[action]
                if flood.held:
                    found.append(self._sum(action, flood, now_ns))
        return found

    @property
    def waits(self) -> bool:
        """Whether a sum is still to be written."""
        return any(flood.held for flood in self._floods.values())

    def _sum(self, action: str, flood: Flood, now_ns: int) -> AuditEvent:
        total = flood.held.total()
        return AuditEvent(
            at_ns=now_ns,
            actor=self._actor,
            action=f"{action}.more",
            subject=f"{total} more",
            detail={
                "count": total,
                "since_ns": flood.since_ns,
                "last_ns": flood.last_ns,
                "subjects": dict(flood.held),
            },
        )
