"""From payloads and facts to one transaction: identity, as-of join, ticks, restatements.

    receive_batch   identity ─▶ context metrics ─▶ intervals ─▶ ticks, rows, present values
    receive_fact    store ─▶ intervals (at the equipment and below) ─▶ restatements, events
    receive_death, receive_gap, and each batch ─▶ gaps
    drain           all of it as one RecordPlan: committed whole or not at all, then published

One enricher is used by one task. It never waits and never fails on what a plant sends: what cannot be a record is
counted and kept by key. An error that does escape leaves it half changed: build it anew and load it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from uns.context.facts import Fact, FactAnswer
from uns.context.store import ContextStore, FactChange, KnownFact, describe, fact_hash, valid_ns
from uns.context.timeline import Timeline
from uns.context.times import MAX_NS, MIN_NS, rfc3339
from uns.enrichment.contexts import Contexts
from uns.enrichment.equipment import EquipmentState
from uns.enrichment.gaps import GapBook, read_dropped
from uns.enrichment.identity import Accepted, Identified, Identity
from uns.enrichment.intervals import ContextInterval
from uns.enrichment.live import PV_INTERVAL_MS, PV_TOPICS_MAX, PvBoard
from uns.enrichment.notices import clock_notice, conflict_notice, fact_notice, gap_notice, overlap_notice
from uns.enrichment.plan import (
    FLAG_CLOCK_SUSPECT,
    FOREIGN_STATUS_COUNTERS,
    STATUS_COUNTERS,
    EnricherState,
    FactRow,
    RecordPlan,
)
from uns.enrichment.plan_writer import PlanWriter
from uns.enrichment.rendering import render, restore
from uns.enrichment.samples import Provenance, Quality, RecordIndex, SampleBatch, UnrecordedSample
from uns.enrichment.series import Series
from uns.enrichment.ticks import chunks
from uns.enrichment.unrecorded import Unrecorded, UnrecordedKind
from uns.errors import LocalProtocolError
from uns.namespace.model import MetricContract, TopicTree
from uns.namespace.topics import Uns1Topics
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.topics import EdgeNodeDescriptor

__all__ = ["FUTURE_MAX_NS", "PAST_MAX_NS", "TICK_BYTES_MAX", "Enricher"]

TICK_BYTES_MAX = 65_536
PAST_MAX_NS = 30 * 86_400 * 1_000_000_000
FUTURE_MAX_NS = 5_000_000_000

_encoder = msgspec.json.Encoder()
_USABLE = frozenset({int(Quality.GOOD), int(Quality.UNCERTAIN)})  # qualities that a context metric may have
_LOG_BYTES = 80  # of a tick, beyond its prefix, samples and source


class Enricher:
    """Joins samples with context as of their own time and writes down what follows, as plans."""

    def __init__(
        self,
        tree: TopicTree,
        index: RecordIndex,
        *,
        tick_bytes_max: int = TICK_BYTES_MAX,
        pv_interval_ms: int = PV_INTERVAL_MS,
        pv_topics_max: int = PV_TOPICS_MAX,
    ) -> None:
        self.tree = tree
        self.store = ContextStore(tree)
        self.timeline = Timeline(self.store)
        self.topics = Uns1Topics(tree)
        self.board = PvBoard(self.timeline, pv_interval_ms=pv_interval_ms, pv_topics_max=pv_topics_max)
        self.identity = Identity(index)
        self._unrecorded = Unrecorded(index)
        self._tick_bytes_max = tick_bytes_max
        self._series_next = 1
        self._writer = PlanWriter(tree.contract_hash)
        self._gaps = GapBook(self._writer, index)
        self._states: dict[str, EquipmentState] = {}
        for equipment in tree.equipment.values():
            state = EquipmentState(tree.enterprise, equipment, self.topics.of(equipment.id))
            self._states[equipment.id] = state
            equipment_class = tree.class_of(equipment.id)
            self.board.attach(state, topics=equipment_class is None or equipment_class.pv)
        self._contexts = Contexts(tree, self.timeline, index, self._states, writer=self._writer, board=self.board)
        self.identity.plan_started(self._writer.plan.samples)

    @property
    def totals(self) -> Counter[str]:
        """Counters since the record log began, drained plans included."""
        return self._writer.totals

    # ── start ────────────────────────────────────────────────────────────────────────────────────────────────────

    def load(self, state: EnricherState, now_ns: int) -> None:
        """Take back what was committed; once, before anything else.

        With another tree than the intervals were made with, what they say is revised: drain after it.
        """
        writer = self._writer
        writer.position, writer.payload = state.next_position, state.next_payload
        writer.totals.update(state.counters)
        self.store.load(state.facts)
        self._gaps.load([row for row in state.ways if row[3] in self._states], state.gaps)
        self._load_series(state, now_ns)
        self._load_context_samples(state)
        self._contexts.load(state.intervals)
        for equipment, last_to in state.equipment_logs:
            if equipment in self._states:
                self._states[equipment].last_to = last_to
        for equipment in self._states:
            self.board.context_changed(equipment)
        if state.contract_hash != self.tree.contract_hash:
            writer.learn(now_ns)
            self._contexts.revise_all("the topic tree changed")

    def _load_series(self, state: EnricherState, now_ns: int) -> None:
        """Series with their newest times, which guard identity, and their present values."""
        by_number: dict[int, Series] = {}
        definitions: dict[int, MetricContract] = {}
        for (number, equipment, metric, type_label, unit), newest_ns in state.series:
            self._series_next = max(self._series_next, number + 1)
            if equipment in self._states:
                held = self._states[equipment]
                definitions[number] = self._definition_of(equipment, metric, (type_label, unit))
                by_number[number] = self._load_definition(held, number, definitions[number], newest_ns)
        for present in state.present:
            if present.series in by_number:
                by_number[present.series].retype(present.series, definitions[present.series])
                if not present.flags & FLAG_CLOCK_SUSPECT:
                    way = (present.group_id, present.edge_node_id, present.device_id or "")
                    self._gaps.seen(way, by_number[present.series].equipment, present.source_time_ns)
                restore(by_number[present.series], present)
                # It may have been committed and not shown before the end, and what the broker retains may be gone.
                if by_number[present.series].pv_part:
                    self.board.touch(by_number[present.series])
        for series in by_number.values():
            # Without its value at least its time: history that comes now is no present value.
            if not series.pv_part and series.newest_ns <= now_ns + FUTURE_MAX_NS:
                series.pv_time_ns = series.newest_ns

    def _definition_of(self, equipment: str, metric: str, form: tuple[str, str | None]) -> MetricContract:
        """A metric in the type and unit in which it was recorded: the tree's contract, where that is still the same."""
        equipment_class = self.tree.class_of(equipment)
        contract = None if equipment_class is None else equipment_class.metrics.get(metric)
        if contract is not None and (contract.datatype.label, contract.unit) == form:
            return contract
        return MetricContract(name=metric, datatype=DataType.from_label(form[0]), unit=form[1])

    @staticmethod
    def _load_definition(state: EquipmentState, number: int, contract: MetricContract, newest_ns: int | None) -> Series:
        """One definition of a metric. Of several, the newest sample of any guards identity for all."""
        if newest_ns is not None:
            state.newest_ns = max(state.newest_ns, newest_ns)
        metric = contract.name
        held = state.metrics.get(metric)
        if held is None:
            held = state.metrics[metric] = Series(number, state.id, contract, newest_ns)
            return held
        if newest_ns is not None and newest_ns > held.newest_ns:
            held.newest_ns, held.at_newest = newest_ns, None
        held.also_numbers[(held.contract.datatype, held.contract.unit)] = held.number
        held.also_numbers[(contract.datatype, contract.unit)] = number
        return held

    def _load_context_samples(self, state: EnricherState) -> None:
        for sample in state.context_samples:
            kind = self._provides(sample.equipment, sample.metric)
            if kind is not None and sample.quality in _USABLE:
                self.store.receive_step(
                    sample.equipment,
                    sample.metric,
                    kind,
                    source_time_ns=sample.source_time_ns,
                    ordinal=sample.ordinal,
                    value=sample.value,
                )

    def _provides(self, equipment: str, metric: str) -> str | None:
        if equipment not in self._states:
            return None
        equipment_class = self.tree.class_of(equipment)
        contract = None if equipment_class is None else equipment_class.metrics.get(metric)
        return None if contract is None or contract.role != "context" else contract.provides

    # ── samples ──────────────────────────────────────────────────────────────────────────────────────────────────

    def receive_batch(
        self,
        batch: SampleBatch,
        now_ns: int,
        *,
        past_max_ns: int | None = PAST_MAX_NS,
        future_max_ns: int | None = FUTURE_MAX_NS,
    ) -> None:
        """Take the samples of one payload and one equipment. Limits of None are unlimited (replay sources)."""
        state = self._states.get(batch.equipment)
        if state is None:
            raise LocalProtocolError(
                f"equipment {batch.equipment!r} is not in the topic tree",
                where="Enricher.receive_batch",
                expected="samples mapped with the same tree",
                next_step="count what the tree does not know with count_unmapped()",
            )
        self._writer.learn(now_ns)
        self._writer.joined(batch.provenance)
        if not batch.metrics:
            return
        arrival = batch.provenance.received_at_ns or now_ns
        limits = (
            MIN_NS if past_max_ns is None else arrival - past_max_ns,
            MAX_NS if future_max_ns is None else arrival + future_max_ns,
        )
        found = self.identity.identify(batch, state.metrics, lambda contract: self._series_of(state, contract), limits)
        self._count(batch, found)
        if found.suspects or found.conflicts or found.out_of_range or found.seen_again:
            self._receive_oddities(state, batch, found, limits, now_ns)
        self._gaps.receive_batch(batch, found.accepted, suspects=found.suspects)
        if found.accepted:
            self._apply_context_metrics(state, batch, found.accepted)
            self._record(state, batch, found.accepted, now_ns)

    def _series_of(self, state: EquipmentState, contract: MetricContract) -> Series:
        """The series of a metric, made when it is first seen; a retyped metric takes another number."""
        held = state.metrics.get(contract.name)
        form = (contract.datatype, contract.unit)
        if held is not None and (held.contract.datatype, held.contract.unit) == form:
            held.retype(held.number, contract)
            return held
        number = None if held is None else held.also_numbers.get(form)
        if number is None:
            number = self._series_next
            self._series_next += 1
            self._writer.plan.series.append((number, state.id, contract.name, contract.datatype.label, contract.unit))
        if held is None:
            held = state.metrics[contract.name] = Series(number, state.id, contract, None)
        else:
            self.identity.forget_newest(held)
            held.also_numbers[(held.contract.datatype, held.contract.unit)] = held.number
            held.retype(number, contract)
        return held

    def _count(self, batch: SampleBatch, found: Identified) -> None:
        """Births count only for what they bring that was not seen before; foreign nodes count apart."""
        counts, prefix = self._writer.counts, "" if batch.ours else "foreign_"
        accepted, seen = len(found.accepted), len(found.seen_again)
        counts[f"{prefix}recorded"] += accepted
        if batch.origin == "birth":
            counts[f"{prefix}received_joined"] += accepted
            counts[f"{prefix}births_recorded"] += accepted
            counts[f"{prefix}births_seen"] += seen
        else:
            counts[f"{prefix}received_joined"] += accepted + seen
            counts[f"{prefix}duplicates_dropped"] += seen

    def _receive_oddities(
        self, state: EquipmentState, batch: SampleBatch, found: Identified, limits: tuple[int, int], now_ns: int
    ) -> None:
        for series, time_ns in found.seen_again:
            # A duplicate of the present value says that its source is alive again.
            if series.pv_stale and time_ns == series.pv_time_ns:
                series.pv_stale = False
                series.pv_provenance = batch.provenance
                self.board.touch(series)
        if found.suspects:
            self._writer.counts["clock_suspect"] += found.suspects
            if self._writer.may_tell(state, "clock", now_ns):
                notice = clock_notice(state, batch, limits, found.suspects, now_ns)
                self._writer.publish_event(state, "clock", notice)
        if found.conflicts and batch.ours:
            self._writer.counts["conflicts"] += len(found.conflicts)
            if self._writer.may_tell(state, "conflict", now_ns):
                self._writer.publish_event(state, "conflict", conflict_notice(state, batch, found.conflicts, now_ns))
        if found.out_of_range and batch.origin == "data":  # a birth value that cannot be kept is in no term
            rejected = [_without_time(batch, at) for at in found.out_of_range]
            self._keep_unrecorded("rejected", rejected, batch.provenance, now_ns, ours=batch.ours)

    def _apply_context_metrics(self, state: EquipmentState, batch: SampleBatch, accepted: Sequence[Accepted]) -> None:
        """Before the measurements of the same payload: what changed at t holds for the values of t."""
        windows: list[tuple[int, int]] = []
        reason = ""
        for at, series, ordinal, _ in accepted:
            kind = series.provides
            if kind is None or (batch.qualities is not None and int(batch.qualities[at]) not in _USABLE):
                continue
            time_ns, value = batch.times_ns[at], batch.values[at]
            window = self.store.receive_step(
                state.id, series.metric, kind, source_time_ns=time_ns, ordinal=ordinal, value=value
            )
            if window is not None:
                windows.append(window)
                reason = f"{kind} by {state.id} {series.metric} at {rfc3339(time_ns)}"
        if windows:
            self._contexts.revise_below(state.id, windows, reason)

    def _record(self, state: EquipmentState, batch: SampleBatch, accepted: list[Accepted], now_ns: int) -> None:
        """Rows, ticks and present values of samples that are new; one group per context interval."""
        tiling = self._contexts.tiling_of(state)
        times = [batch.times_ns[entry[0]] for entry in accepted]
        self._writer.payload_row(batch.provenance)
        source = state.documents.source(batch.provenance)
        interval = tiling.at(min(times))
        if max(times) < interval.to_ns:
            self._record_group(state, interval, batch, accepted, source=source, now_ns=now_ns)
        else:
            groups: dict[int, list[Accepted]] = {}
            for entry in accepted:
                groups.setdefault(tiling.at(batch.times_ns[entry[0]]).from_ns, []).append(entry)
            for from_ns in sorted(groups):
                self._record_group(state, tiling.at(from_ns), batch, groups[from_ns], source=source, now_ns=now_ns)
        self._writer.samples_recorded(state, times, foreign=not batch.provenance.session)
        self._writer.payload += 1

    def _record_group(
        self,
        state: EquipmentState,
        interval: ContextInterval,
        batch: SampleBatch,
        accepted: Sequence[Accepted],
        *,
        source: str,
        now_ns: int,
    ) -> None:
        writer, documents, topic = self._writer, state.documents, state.topics.data
        if interval.unresolved and not interval.announced:
            self._contexts.announce(state, interval, len(accepted), now_ns)
        first = writer.position
        parts = render(
            batch,
            accepted,
            position=first,
            payload=writer.payload,
            rows=writer.plan.samples,
            dirty=self.board.dirty,
        )
        writer.position = first + len(parts)
        writer.counts[STATUS_COUNTERS[interval.status]] += len(parts)
        if not batch.provenance.session:
            writer.counts[FOREIGN_STATUS_COUNTERS[interval.status]] += len(parts)
        last = writer.position - 1
        tick = documents.tick(interval, parts, source, (state.last_to, first, last))
        if len(tick) <= self._tick_bytes_max:
            writer.publish(state, topic, tick, last)
            return
        envelope = len(documents.tick_prefix(interval).encode()) + len(source.encode()) + _LOG_BYTES
        for start, end in chunks(parts, self._tick_bytes_max - envelope):
            last = first + end - 1
            tick = documents.tick(interval, parts[start:end], source, (state.last_to, first + start, last))
            writer.publish(state, topic, tick, last)

    # ── facts ────────────────────────────────────────────────────────────────────────────────────────────────────

    def receive_fact(self, fact: Fact, now_ns: int, *, source_of_topic: str | None = None) -> FactAnswer:
        """Accept or refuse a fact. Publish the answer after the next drained plan is committed, never before."""
        writer = self._writer
        writer.learn(now_ns)
        answer, change = self.store.receive(fact, now_ns=writer.known_ns, source_of_topic=source_of_topic)
        if change is None:
            writer.counts["facts_repeated" if answer.accepted else "facts_refused"] += 1
            return answer
        writer.counts["facts_accepted"] += 1
        writer.plan.facts.append(_fact_row(change.known))
        by_equipment: dict[str, list[tuple[int, int]]] = {}
        for equipment, lo, hi in change.windows:
            by_equipment.setdefault(equipment, []).append((lo, hi))
        for equipment, windows in by_equipment.items():
            self._contexts.revise_below(equipment, windows, describe(fact))
        self._tell_fact(change, now_ns)
        return answer

    def _tell_fact(self, change: FactChange, now_ns: int) -> None:
        fact, state = change.known.fact, self._states[change.known.fact.equipment]
        if fact.kind in {"job", "lot"} and change.counts:
            self._writer.publish_event(state, fact.kind, fact_notice(state, fact, now_ns))
        for overlap in change.overlaps:
            self._writer.counts["fact_overlaps"] += 1
            self._writer.publish_event(state, "conflict", overlap_notice(state, overlap, now_ns))

    # ── gaps ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def receive_death(
        self, edge_node: EdgeNodeDescriptor, device_id: str | None, now_ns: int, *, since_ns: int | None = None
    ) -> None:
        """A death that was logged: what came that way is stale, and a gap is open until it brings samples again.

        ``since_ns``: when it died, as its message says or was received; None: now.
        """
        since_ns = now_ns if since_ns is None else since_ns
        self.board.mark_stale(edge_node, device_id, since_ns=since_ns, reason="ddeath" if device_id else "ndeath")
        self._writer.learn(now_ns)
        self._gaps.receive_death(edge_node.group_id, edge_node.edge_node_id, device_id)

    def receive_gap(self, text: str, provenance: Provenance, now_ns: int) -> bool:
        """What an edge node dropped (``uns/gap``), at the equipment it feeds; False where that is known already."""
        self._writer.learn(now_ns)
        self._writer.joined(provenance)
        gap = read_dropped(text)
        fed = [
            equipment.id
            for equipment in self.tree.equipment.values()
            if provenance.edge_node_id in equipment.gateways
            and provenance.group_id == self.tree.group_id(equipment.site)
        ]
        told = self._gaps.receive_dropped(gap, provenance, fed)
        for one in told:
            self._writer.publish_event(self._states[one], "gap", gap_notice(self._states[one], gap, provenance, now_ns))
        return bool(told) or not fed

    # ── what is no record ────────────────────────────────────────────────────────────────────────────────────────

    def count_rejected(
        self, samples: Sequence[UnrecordedSample], provenance: Provenance, now_ns: int, *, ours: bool = True
    ) -> None:
        """Samples that could not be read: kept by key, counted once each."""
        self._writer.joined(provenance)
        self._keep_unrecorded("rejected", samples, provenance, now_ns, ours=ours)

    def count_unmapped(
        self, samples: Sequence[UnrecordedSample], provenance: Provenance, now_ns: int, *, ours: bool = True
    ) -> None:
        """Samples of devices or metrics that the tree does not know: kept by key, counted once each."""
        self._writer.joined(provenance)
        self._keep_unrecorded("unmapped", samples, provenance, now_ns, ours=ours)

    def _keep_unrecorded(
        self,
        kind: UnrecordedKind,
        samples: Sequence[UnrecordedSample],
        provenance: Provenance,
        now_ns: int,
        *,
        ours: bool,
    ) -> None:
        writer, prefix = self._writer, "" if ours else "foreign_"
        writer.learn(now_ns)
        rows = self._unrecorded.receive(kind, samples, provenance, writer.known_ns)
        writer.plan.unrecorded += rows
        writer.counts[f"{prefix}received_joined"] += len(samples)
        writer.counts[f"{prefix}{kind}"] += len(rows)
        writer.counts[f"{prefix}duplicates_dropped"] += len(samples) - len(rows)

    # ── plans ────────────────────────────────────────────────────────────────────────────────────────────────────

    def drain(self) -> RecordPlan:
        """All since the last drain, for one transaction. Draining again says that the plan before was committed.

        Commit it, then call :meth:`committed`; receive nothing while the commit runs, or samples are counted twice
        in a restatement. If the commit fails, this enricher is ahead of the log: make another one and load it.
        """
        self._writer.counts["newest_times_spilled"] += self.identity.take_spilled()
        plan = self._writer.drain()
        self.identity.plan_started(self._writer.plan.samples)
        self._unrecorded.plan_started()
        self._gaps.plan_started()
        return plan

    def committed(self) -> None:
        """The plan drained last is committed: from now on the index answers for it."""
        self._writer.committed()
        self.identity.committed()
        self._unrecorded.committed()
        self._gaps.committed()


def _without_time(batch: SampleBatch, at: int) -> UnrecordedSample:
    """A sample whose stamp no calendar has."""
    return UnrecordedSample(
        metric=batch.metrics[at].name,
        source_time_ns=None,
        reason="out_of_range",
        raw=f"{batch.times_ns[at] // 1_000_000} ms: {batch.values[at]!r}".encode(errors="replace"),
    )


def _fact_row(known: KnownFact) -> FactRow:
    fact = known.fact
    valid_from_ns, valid_to_ns = valid_ns(fact)
    return (
        fact.source,
        fact.id,
        fact.source_rev,
        known.rev,
        fact.kind,
        fact.equipment,
        fact.action,
        valid_from_ns,
        valid_to_ns,
        known.known_at_ns,
        _encoder.encode(fact).decode(),
        fact_hash(fact),
    )
