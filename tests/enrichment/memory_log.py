"""A record log in memory: applies plans, answers look-ups, and hands the state back as a restart would find it."""

from __future__ import annotations

import json
from bisect import bisect_left, insort
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import msgspec

from uns.context.facts import Fact
from uns.context.times import MAX_NS
from uns.enrichment.plan import (
    FLAG_CLOCK_SUSPECT,
    ContextSample,
    EnricherState,
    FactRow,
    GapRow,
    IntervalRow,
    OutboxMessage,
    PayloadRow,
    PresentSample,
    RecordPlan,
    SampleRow,
    SeriesRow,
    StoredFact,
    UnrecordedRow,
    WayRow,
    value_of,
)
from uns.enrichment.samples import Content, Quality, StoredSample, StoredUnrecorded
from uns.namespace.model import TopicTree
from uns.sparkplug.datatypes import Value


@dataclass(frozen=True)
class Record:
    """A row of the view ``records``: one sample with the context of its interval."""

    equipment: str
    metric: str
    source_time_ns: int
    ordinal: int
    value: Value
    quality: int
    rev: int
    context: dict[str, Any]

    @property
    def key(self) -> tuple[str, str, int, int]:
        return self.equipment, self.metric, self.source_time_ns, self.ordinal


class MemoryLog:
    """Tables as the SQLite record log has them, and the same promises: a plan is applied whole."""

    def __init__(self) -> None:
        self.series: dict[int, SeriesRow] = {}
        self.payloads: dict[int, PayloadRow] = {}
        self.samples: list[SampleRow] = []
        self.by_key: dict[tuple[str, str, int], dict[int, SampleRow]] = defaultdict(dict)
        self.times: dict[str, list[int]] = defaultdict(list)
        self.foreign_times: dict[str, list[int]] = defaultdict(list)
        self.facts: dict[tuple[str, str, str], FactRow] = {}
        self.intervals: dict[int, IntervalRow] = {}
        self.gaps: dict[int, GapRow] = {}
        self.ways: dict[tuple[str, str, str], WayRow] = {}
        self.unrecorded: dict[tuple[str, str, str, str, int, int], UnrecordedRow] = {}
        self.equipment_logs: dict[str, int] = {}
        self.counters: Counter[str] = Counter()
        self.outbox: list[OutboxMessage] = []
        self.next_position = 1
        self.next_payload = 1
        self.contract_hash: str | None = None

    # RecordIndex

    def at(
        self, equipment: str, metric: str, source_time_ns: int, *, first: int = 0, limit: int | None = None
    ) -> list[StoredSample]:
        rows = self.by_key.get((equipment, metric, source_time_ns), {})
        found = sorted(item for item in rows.items() if item[0] >= first)[:limit]
        return [StoredSample(ordinal, self._value(row), Quality(row[7]), row[8]) for ordinal, row in found]

    def holds(
        self, equipment: str, metric: str, source_time_ns: int, content: Content, *, first: int, below: int
    ) -> bool:
        rows = self.by_key.get((equipment, metric, source_time_ns), {})
        return any(first <= ordinal < below and row[4:9] == content for ordinal, row in rows.items())

    def count(self, equipment: str, from_ns: int, to_ns: int, *, foreign: bool = False) -> int:
        times = (self.foreign_times if foreign else self.times)[equipment]
        return bisect_left(times, to_ns) - bisect_left(times, from_ns)

    def unrecorded_at(
        self,
        group_id: str,
        edge_node_id: str,
        device_id: str,
        metric: str,
        source_time_ns: int,
        *,
        first: int = 0,
        limit: int = 1_000,
    ) -> list[StoredUnrecorded]:
        key = (group_id, edge_node_id, device_id, metric, source_time_ns)
        found = sorted((k[5], row[8]) for k, row in self.unrecorded.items() if k[:5] == key and k[5] >= first)
        return [StoredUnrecorded(ordinal, raw) for ordinal, raw in found[:limit]]

    def holds_dropped(
        self, equipment: str, group_id: str, edge_node_id: str, *, from_ns: int, to_ns: int, samples: int
    ) -> bool:
        found = (equipment, group_id, edge_node_id, "dropped", from_ns, to_ns, samples)
        return any((*row[3:6], row[7], row[9], row[10], row[12]) == found for row in self.gaps.values())

    # Commit and start

    def apply(self, plan: RecordPlan) -> None:
        for series_row in plan.series:
            assert series_row[0] not in self.series
            self.series[series_row[0]] = series_row
        for payload_row in plan.payloads:
            assert payload_row[0] not in self.payloads
            self.payloads[payload_row[0]] = payload_row
        position = self.samples[-1][0] if self.samples else 0
        for row in plan.samples:
            assert row[0] > position, "positions ascend"
            position = row[0]
            _, equipment, metric, _, _ = self.series[row[1]]
            assert row[10] in self.payloads
            rows = self.by_key[equipment, metric, row[2]]
            assert row[3] not in rows, f"key twice: {equipment} {metric} {row[2]} {row[3]}"
            rows[row[3]] = row
            insort(self.times[equipment], row[2])
            if self.payloads[row[10]][4] == "":
                insort(self.foreign_times[equipment], row[2])
            self.samples.append(row)
        for fact_row in plan.facts:
            assert fact_row[:3] not in self.facts
            self.facts[fact_row[:3]] = fact_row
        for interval in plan.intervals_opened:
            assert interval[0] not in self.intervals
            assert interval[2] < interval[3]
            self.intervals[interval[0]] = interval
        for known_to_ns, at in plan.intervals_closed:
            before = self.intervals[at]
            assert before[6] == MAX_NS, "closed once"
            self.intervals[at] = (*before[:6], known_to_ns, *before[7:])
        for gap in plan.gaps_opened:
            assert gap[0] not in self.gaps
            assert gap[9] < gap[10] or gap[7] == "dropped"
            self.gaps[gap[0]] = gap
        for known_to_ns, at in plan.gaps_closed:
            assert self.gaps[at][15] == MAX_NS, "closed once"
            self.gaps[at] = (*self.gaps[at][:15], known_to_ns)
        for way in plan.ways:
            self.ways[way[:3]] = way
        for unrecorded in plan.unrecorded:
            key = unrecorded[1:7]
            assert key not in self.unrecorded
            self.unrecorded[key] = unrecorded
        self.equipment_logs.update(plan.equipment_logs)
        self.counters.update(plan.counters)
        self.outbox += plan.outbox
        assert plan.next_position >= self.next_position
        self.next_position, self.next_payload = plan.next_position, plan.next_payload
        self.contract_hash = plan.contract_hash

    def state(self, tree: TopicTree) -> EnricherState:
        newest: dict[int, int] = {}
        for row in self.samples:
            newest[row[1]] = max(newest.get(row[1], row[2]), row[2])
        context_samples = []
        for row in self.samples:
            _, equipment, metric, _, _ = self.series[row[1]]
            equipment_class = tree.class_of(equipment) if equipment in tree.equipment else None
            contract = None if equipment_class is None else equipment_class.metrics.get(metric)
            if contract is not None and contract.role == "context":
                context_samples.append(ContextSample(equipment, metric, row[2], row[3], self._value(row), row[7]))
        return EnricherState(
            facts=[StoredFact(msgspec.json.decode(row[10], type=Fact), row[3], row[9]) for row in self.facts.values()],
            context_samples=context_samples,
            intervals=[row for row in self.intervals.values() if row[6] == MAX_NS],
            series=[(row, newest.get(number)) for number, row in self.series.items()],
            present=self._present(),
            gaps=[row for row in self.current_gaps() if row[10] == MAX_NS or (row[8] == "closed" and row[11])],
            ways=list(self.ways.values()),
            equipment_logs=list(self.equipment_logs.items()),
            counters=dict(self.counters),
            next_position=self.next_position,
            next_payload=self.next_payload,
            contract_hash=self.contract_hash,
        )

    def _present(self) -> list[PresentSample]:
        newest: dict[int, SampleRow] = {}
        for row in self.samples:
            if row[1] not in newest or _rank(row) > _rank(newest[row[1]]):
                newest[row[1]] = row
        found = []
        for row in newest.values():
            payload = self.payloads[row[10]]
            found.append(PresentSample(row[1], row[2], row[3], self._value(row), row[7], row[8], row[9], *payload[1:4]))
        return found

    # Views

    def records(self, as_known_at_ns: int | None = None) -> list[Record]:
        """The latest records, or those that were known at a time; by key."""
        intervals: dict[str, list[IntervalRow]] = defaultdict(list)
        for interval in self.intervals.values():
            known = interval[6] == MAX_NS if as_known_at_ns is None else interval[5] <= as_known_at_ns < interval[6]
            if known:
                intervals[interval[1]].append(interval)
        found = []
        for row in self.samples:
            if as_known_at_ns is not None and self.payloads[row[10]][9] > as_known_at_ns:
                continue
            _, equipment, metric, _, _ = self.series[row[1]]
            holding = [i for i in intervals[equipment] if i[2] <= row[2] < i[3]]
            assert len(holding) == 1, f"{len(holding)} intervals hold {equipment} at {row[2]}"
            found.append(
                Record(
                    equipment,
                    metric,
                    row[2],
                    row[3],
                    self._value(row),
                    row[7],
                    holding[0][4],
                    json.loads(holding[0][9]),
                )
            )
        return sorted(found, key=lambda record: record.key)

    def current_gaps(self) -> list[GapRow]:
        """The last revision of each gap, oldest gap first."""
        return sorted((row for row in self.gaps.values() if row[15] == MAX_NS), key=lambda row: row[1])

    def by_status(self) -> Counter[str]:
        return Counter(record.context["status"] for record in self.records())

    def documents(self, topic_part: str) -> list[dict[str, Any]]:
        """The published messages whose topic contains a text, decoded, in order."""
        return [json.loads(message.payload) for message in self.outbox if topic_part in message.topic]

    def _value(self, row: SampleRow) -> Value:
        return value_of(self.series[row[1]][3], row[4], row[5], row[6])


def _rank(row: SampleRow) -> tuple[bool, int, int]:
    """Of the samples of a series: a stamp that is believed before one that is not, then time and ordinal."""
    return not row[9] & FLAG_CLOCK_SUSPECT, row[2], row[3]
