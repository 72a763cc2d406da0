"""A record log that tests write by hand: one equipment, one series, one value a position."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from uns.adapters.sqlite.record_log import RecordLog
from uns.context.facts import Fact
from uns.enrichment.plan import MAX_NS, MIN_NS, RecordPlan, columns_of

__all__ = ["T0", "HandLog", "S"]

S = 1_000_000_000
T0 = 1_780_515_120 * S  # 2026-06-03T19:32:00Z


class HandLog:
    """``write()`` adds samples, ``restate()`` a revision of context, ``state()`` a fact."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / "records.db"
        self._log = RecordLog(self.path)
        state, self._joined = self._log.load()
        self.next_position = state.next_position
        self._payload = state.next_payload
        self._series = len(state.series)
        self._facts = len(state.facts)
        self._known_ns = T0 + self.next_position
        self.open: dict[str, int] = {row[1]: row[0] for row in state.intervals}
        self.times: dict[str, int] = {}
        self._gap = 0

    @property
    def head(self) -> int:
        return self.next_position - 1

    def write(self, *values: Any, equipment: str = "reactor4", metric: str = "temperature", commit: bool = True) -> int:
        """One commit of samples, a second apart; the first position of them."""
        plan = self._plan()
        if self._series == 0:
            plan.series.append((1, equipment, metric, "Double", "CEL"))
            self._series = 1
        if equipment not in self.open:
            plan.intervals_opened.append(self._interval(equipment, "WO-1"))
        if values:
            plan.payloads.append(
                (self._payload, "acme.dallas", "gw-1", equipment, "s1", 7, 41, 0, self._known_ns, self._known_ns, 1)
            )
        first = self.next_position
        for value in values:
            plan.samples.append(
                (self._take(), 1, T0 + self.next_position * S, 0, *columns_of(value), 0, 0, 0, self._payload)
            )
        self._payload += bool(values)
        self._commit(plan)
        return first

    def restate(self, work_order: str, *, equipment: str = "reactor4") -> int:
        """Another work order for all time: closes the current interval, opens one with rev 1."""
        plan = self._plan()
        closed = self.open.get(equipment)
        plan.intervals_opened.append(self._interval(equipment, work_order, rev=1, reason=f"restated to {work_order}"))
        if closed is not None:
            plan.intervals_closed.append((self._known_ns, closed))
        self._commit(plan)
        return self.open[equipment]

    def state(self, fact: Fact, *, known_at_ns: int | None = None) -> None:
        """An accepted fact."""
        plan = self._plan()
        self._facts += 1
        body = msgspec.json.encode(fact).decode()
        valid_to = None if fact.valid_to is None else int(fact.valid_to.timestamp()) * S
        plan.facts.append(
            (
                fact.source,
                fact.id,
                fact.source_rev,
                1,
                fact.kind,
                fact.equipment,
                fact.action,
                int(fact.valid_from.timestamp()) * S,
                valid_to,
                self._known_ns if known_at_ns is None else known_at_ns,
                body,
                "hash",
            )
        )
        plan.counters["facts_accepted"] = 1
        self._commit(plan)

    def gap(self, *, equipment: str = "reactor4") -> int:
        """A gap that a death opened."""
        plan = self._plan()
        self._gap = position = self._take()
        plan.gaps_opened.append(self._gap_row(position, equipment, rev=0, status="open", to_ns=MAX_NS))
        self._commit(plan)
        return position

    def close_gap(self, *, equipment: str = "reactor4") -> None:
        """Its next sample came."""
        plan = self._plan()
        plan.gaps_opened.append(self._gap_row(self._take(), equipment, rev=1, status="closed", to_ns=T0 + 60 * S))
        plan.gaps_closed.append((self._known_ns, self._gap))
        self._commit(plan)

    def close(self) -> None:
        self._log.close()

    def _plan(self) -> RecordPlan:
        self._known_ns += 1000
        return RecordPlan()

    def _take(self) -> int:
        self.next_position += 1
        return self.next_position - 1

    def _gap_row(self, position: int, equipment: str, *, rev: int, status: str, to_ns: int) -> Any:
        closed_by = "data" if rev else None
        return (
            position, self._gap, rev, equipment, "acme.dallas", "gw-1", equipment, "death", status, T0, to_ns,
            closed_by, None, "", self._known_ns, MAX_NS,
        )  # fmt: skip

    def _interval(self, equipment: str, work_order: str, *, rev: int = 0, reason: str = "first") -> Any:
        position = self._take()
        self.open[equipment] = position
        body = msgspec.json.encode({"status": "resolved", "work_order": work_order, "lots": ["L-1"]}).decode()
        return (
            position,
            equipment,
            MIN_NS,
            MAX_NS,
            rev,
            self._known_ns,
            MAX_NS,
            "resolved",
            work_order,
            body,
            reason,
        )

    def _commit(self, plan: RecordPlan) -> None:
        plan.next_position, plan.next_payload = self.next_position, self._payload
        self._log.commit(plan, joined=self._joined)
