"""From payloads and facts to one transaction: identity, as-of join, ticks, restatements.

    receive_batch   identity ─▶ context metrics ─▶ intervals ─▶ ticks, rows, present values
    receive_fact    store ─▶ intervals (at the equipment and below) ─▶ restatements, events
    drain           all of it as one RecordPlan: committed whole or not at all, then published

One enricher is used by one task. It never waits and never fails on what a plant sends: what cannot be a record is
counted and kept by key. An error that does escape leaves it half changed: build it anew and load it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from uns.context.claims import merge_windows
from uns.context.facts import Fact, FactAnswer
from uns.context.store import ContextStore, FactChange, KnownFact, describe, fact_hash, valid_ns
from uns.context.timeline import ContextBody, Segment, Timeline
from uns.context.times import MAX_NS, MIN_NS, rfc3339
from uns.enrichment.equipment import EquipmentState
from uns.enrichment.intervals import ContextInterval, Revision, Tiling, plan_revision
from uns.enrichment.live import PV_INTERVAL_MS, PV_TOPICS_MAX, PvBoard
from uns.enrichment.plan import (
    FLAG_BIRTH,
    FLAG_CLOCK_SUSPECT,
    FLAG_TIME_GATEWAY,
    FLAG_TIME_SERVER,
    EnricherState,
    FactRow,
    OutboxMessage,
    PayloadRow,
    RecordPlan,
    columns_of,
)
from uns.enrichment.records import Event
from uns.enrichment.samples import (
    Provenance,
    Quality,
    RecordIndex,
    SampleBatch,
    UnrecordedSample,
)
from uns.enrichment.series import DUPLICATE, GAP_NS, Identity, Series
from uns.enrichment.ticks import QUALITY_SUFFIX, TIME_SOURCE_SUFFIX, chunks
from uns.enrichment.unrecorded import Unrecorded
from uns.enrichment.values import FLOAT_TEXTS, ValueKind, float32_text, value_text
from uns.errors import LocalProtocolError
from uns.namespace.model import MetricContract, TopicTree
from uns.namespace.topics import Uns1Topics
from uns.sparkplug.datatypes import DataType, Value

__all__ = ["FUTURE_MAX_NS", "PAST_MAX_NS", "TICK_BYTES_MAX", "Enricher"]

TICK_BYTES_MAX = 65_536
PAST_MAX_NS = 30 * 86_400 * 1_000_000_000
FUTURE_MAX_NS = 5_000_000_000
EVENT_INTERVAL_NS = 60_000_000_000  # clock and conflict events: one per equipment in this time

_encoder = msgspec.json.Encoder()
_body_decoder = msgspec.json.Decoder(ContextBody)
_TIME_FLAGS = {"device": 0, "server": FLAG_TIME_SERVER, "gateway": FLAG_TIME_GATEWAY}
_GOOD_ENOUGH = frozenset({int(Quality.GOOD), int(Quality.UNCERTAIN)})

# A sample that was accepted: index in its batch, series, ordinal, suspect.
_Accepted = tuple[int, Series, int, bool]


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
        self.totals: Counter[str] = Counter()  # counters since the record log began
        self.identity = Identity(index)
        self._index = index
        self._unrecorded = Unrecorded(index)
        self._tick_bytes_max = tick_bytes_max
        self._states: dict[str, EquipmentState] = {}
        self._series_next = 1
        self._position = 1
        self._payload = 1
        self._batch = 0
        self._known_ns = MIN_NS  # knowledge time: never runs back, whatever the clock does
        self._plan = RecordPlan()
        self._counts: Counter[str] = Counter()
        self._logged: dict[str, EquipmentState] = {}
        self._pending_states: dict[str, EquipmentState] = {}
        self._in_flight_states: dict[str, EquipmentState] = {}
        self.identity.plan_started(self._plan.samples)
        for equipment in tree.equipment.values():
            state = EquipmentState(tree.enterprise, equipment, self.topics.of(equipment.id))
            self._states[equipment.id] = state
            self.board.attach(state)

    # ── start ────────────────────────────────────────────────────────────────────────────────────────────────────

    def load(self, state: EnricherState, now_ns: int) -> None:
        """Take back what was committed; once, before anything else.

        With another tree than the intervals were made with, what they say is revised: drain after it.
        """
        self._position, self._payload = state.next_position, state.next_payload
        self.totals.update(state.counters)
        self.store.load(state.facts)
        for (number, equipment, metric, type_label, unit), newest_ns in state.series:
            self._series_next = max(self._series_next, number + 1)
            self._load_series(number, equipment, metric, (type_label, unit), newest_ns)
        for sample in state.context_samples:
            kind = self._provides(sample.equipment, sample.metric)
            if kind is not None and sample.quality in _GOOD_ENOUGH:
                self.store.receive_step(
                    sample.equipment,
                    sample.metric,
                    kind,
                    source_time_ns=sample.source_time_ns,
                    ordinal=sample.ordinal,
                    value=sample.value,
                )
        self._load_intervals(state)
        for equipment, last_to in state.equipment_logs:
            if equipment in self._states:
                self._states[equipment].last_to = last_to
        for equipment in self._states:
            self.board.context_changed(equipment)
        if state.contract_hash != self.tree.contract_hash:
            self._known_ns = max(self._known_ns, now_ns)
            for equipment, loaded in self._states.items():
                if loaded.tiling is not None:
                    self._revise(equipment, [(MIN_NS, MAX_NS)], "the topic tree changed")

    def _load_series(
        self, number: int, equipment: str, metric: str, form: tuple[str, str | None], newest_ns: int | None
    ) -> None:
        state = self._states.get(equipment)
        if state is None:
            return
        if newest_ns is not None:
            state.newest_ns = max(state.newest_ns, newest_ns)
        equipment_class = self.tree.class_of(equipment)
        contract = None if equipment_class is None else equipment_class.metrics.get(metric)
        if contract is None or (contract.datatype.label, contract.unit) != form:
            # Another definition of the metric, or one from outside the class. Its newest time still guards identity.
            contract = MetricContract(name=metric, datatype=DataType.from_label(form[0]), unit=form[1])
        held = state.metrics.get(metric)
        if held is not None and held.newest_ns != MIN_NS and (newest_ns is None or newest_ns < held.newest_ns):
            held.also_numbers[(contract.datatype, contract.unit)] = number
            return
        series = Series(number, equipment, contract, newest_ns)
        if held is not None:
            series.also_numbers = {**held.also_numbers, (held.contract.datatype, held.contract.unit): held.number}
        state.metrics[metric] = series

    def _load_intervals(self, state: EnricherState) -> None:
        rows: dict[str, list[ContextInterval]] = {}
        for row in sorted(state.intervals, key=lambda r: (r[1], r[2])):
            position, equipment, from_ns, to_ns, rev, known_from_ns, _, _, _, body, reason = row
            interval = ContextInterval(from_ns, to_ns, rev=rev, body=_decode_body(body), text=body, reason=reason)
            interval.position, interval.known_from_ns, interval.announced = position, known_from_ns, None
            self._known_ns = max(self._known_ns, known_from_ns)
            rows.setdefault(equipment, []).append(interval)
        for equipment, intervals in rows.items():
            if equipment not in self._states:
                continue
            tiling = Tiling(intervals)
            if not tiling.is_whole():
                raise LocalProtocolError(
                    f"the current context intervals of {equipment!r} do not cover all time once",
                    where="EnricherState.intervals",
                    expected="every row whose known_to_ns is MAX_NS, and no other",
                    next_step="check how the record log reads them back",
                )
            self._states[equipment].tiling = tiling

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
        self._known_ns = max(self._known_ns, now_ns)
        self._plan.raw_position = max(self._plan.raw_position, batch.provenance.raw_position)
        if not batch.metrics:
            return
        accepted = self._identify(state, batch, self._limits(batch, now_ns, past_max_ns, future_max_ns), now_ns)
        if not accepted:
            return
        self._apply_context_metrics(state, batch, accepted)
        if state.tiling is None:
            self._open_tiling(state)
        self._record(state, batch, accepted, now_ns)

    @staticmethod
    def _limits(batch: SampleBatch, now_ns: int, past_max_ns: int | None, future_max_ns: int | None) -> tuple[int, int]:
        """The times between which a stamp is believed, as of the payload's arrival."""
        arrival = batch.provenance.received_at_ns or now_ns
        return (
            MIN_NS + 1 if past_max_ns is None else arrival - past_max_ns,
            MAX_NS - 1 if future_max_ns is None else arrival + future_max_ns,
        )

    def _identify(  # noqa: C901, PLR0915 - the first half of the hot path, in one pass
        self, state: EquipmentState, batch: SampleBatch, limits: tuple[int, int], now_ns: int
    ) -> list[_Accepted]:
        """Drop duplicates and give the rest their ordinals. Samples newer than their series need no look-up."""
        self._batch += 1
        batch_number, by_name = self._batch, state.metrics
        metrics, values, times = batch.metrics, batch.values, batch.times_ns
        ordinals, qualities, codes = batch.ordinals, batch.qualities, batch.status_codes
        earliest, latest = limits
        guarded = min(times) < earliest or max(times) > latest
        places: list[int] | None = None
        accepted: list[_Accepted] = []
        conflicts: list[int] = []
        out_of_range: list[int] = []
        suspects = 0
        for at, contract in enumerate(metrics):
            series = by_name.get(contract.name)
            if series is None or series.contract is not contract:
                series = self._series_of(state, contract)
            time_ns = times[at]
            quality = 0 if qualities is None else int(qualities[at])
            code = 0 if codes is None else codes[at]
            given = None if ordinals is None else ordinals[at]
            if series.newest_ns < time_ns < series.suspect_from_ns and series.batch != batch_number and not guarded:
                if time_ns - series.newest_ns > GAP_NS:
                    series.note_gap(time_ns)
                ordinal = given or 0
                series.newest_ns = time_ns
                series.batch = batch_number
                series.at_newest = [(ordinal, values[at], quality, code)]
                accepted.append((at, series, ordinal, False))
                continue
            suspect = guarded and not earliest <= time_ns <= latest
            if not MIN_NS < time_ns < MAX_NS:
                out_of_range.append(at)
                continue
            if given is None:
                if places is None:
                    places = _places(metrics, times)
                given = places[at]
            ordinal, conflict = self.identity.settle(
                series, time_ns, given, (values[at], quality, code), batch=batch_number, suspect=suspect
            )
            if ordinal == DUPLICATE:
                self._seen_again(series, time_ns, batch.provenance)
                continue
            suspects += suspect
            if conflict:
                conflicts.append(at)
            accepted.append((at, series, ordinal, suspect))
        self._count_batch(batch, len(accepted), len(out_of_range))
        if out_of_range:
            self._reject_times(batch, out_of_range, now_ns)
        if suspects:
            self._clock_event(state, batch, limits, suspects, now_ns)
        if conflicts and batch.ours:
            self._conflict_event(state, batch, conflicts, now_ns)
        return accepted

    def _count_batch(self, batch: SampleBatch, accepted: int, out_of_range: int) -> None:
        """Births count only for what they bring that was not seen before."""
        counts, prefix = self._counts, "" if batch.ours else "foreign_"
        dropped = len(batch.metrics) - accepted - out_of_range
        if batch.origin == "birth":
            counts[f"{prefix}received_joined"] += accepted
            counts[f"{prefix}births_recorded"] += accepted
            counts[f"{prefix}births_seen"] += dropped
        else:
            counts[f"{prefix}received_joined"] += accepted + dropped
            counts[f"{prefix}duplicates_dropped"] += dropped
        counts[f"{prefix}recorded"] += accepted

    def _seen_again(self, series: Series, time_ns: int, provenance: Provenance) -> None:
        """A duplicate of the present value says that its source is alive again."""
        if series.pv_stale and time_ns == series.pv_time_ns:
            series.pv_stale = False
            series.pv_provenance = provenance
            self.board.touch(series)

    def _reject_times(self, batch: SampleBatch, which: Sequence[int], now_ns: int) -> None:
        rejected = [
            UnrecordedSample(
                metric=batch.metrics[at].name,
                source_time_ns=None,
                reason="out_of_range",
                raw=_encoder.encode([batch.times_ns[at] // 1_000_000, _plain(batch.values[at])]),
            )
            for at in which
        ]
        if batch.origin == "birth":
            return  # a birth value that cannot be kept is in no term
        self._keep_unrecorded("rejected", rejected, batch.provenance, now_ns, ours=batch.ours)

    def _series_of(self, state: EquipmentState, contract: MetricContract) -> Series:
        """The series of a metric, made when it is first seen; a retyped metric takes another number."""
        held = state.metrics.get(contract.name)
        if held is not None and (held.contract.datatype, held.contract.unit) == (contract.datatype, contract.unit):
            held.contract = contract
            return held
        form = (contract.datatype, contract.unit)
        number = None if held is None else held.also_numbers.get(form)
        if number is None:
            number = self._series_next
            self._series_next += 1
            self._plan.series.append((number, state.id, contract.name, contract.datatype.label, contract.unit))
        if held is None:
            series = Series(number, state.id, contract, None)
            state.metrics[contract.name] = series
            return series
        held.also_numbers[(held.contract.datatype, held.contract.unit)] = held.number
        held.retype(number, contract)
        return held

    def _provides(self, equipment: str, metric: str) -> str | None:
        if equipment not in self._states:
            return None
        equipment_class = self.tree.class_of(equipment)
        contract = None if equipment_class is None else equipment_class.metrics.get(metric)
        return None if contract is None or contract.role != "context" else contract.provides

    def _apply_context_metrics(self, state: EquipmentState, batch: SampleBatch, accepted: Sequence[_Accepted]) -> None:
        """Before the measurements of the same payload: what changed at t holds for the values of t."""
        windows: list[tuple[int, int]] = []
        reason = ""
        for at, series, ordinal, _ in accepted:
            provides = series.provides
            if provides is None or (batch.qualities is not None and int(batch.qualities[at]) not in _GOOD_ENOUGH):
                continue
            window = self.store.receive_step(
                state.id,
                series.metric,
                provides,
                source_time_ns=batch.times_ns[at],
                ordinal=ordinal,
                value=batch.values[at],
            )
            if window is not None:
                windows.append(window)
                reason = f"{provides} by {state.id} {series.metric} at {rfc3339(batch.times_ns[at])}"
        if windows:
            self._revise_below(state.id, windows, reason)

    # ── records ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _record(self, state: EquipmentState, batch: SampleBatch, accepted: list[_Accepted], now_ns: int) -> None:
        """Rows, ticks and present values of samples that are new; one group per context interval."""
        tiling = state.tiling
        if tiling is None:
            return
        provenance = batch.provenance
        self._plan.payloads.append(self._payload_row(provenance))
        times = [batch.times_ns[entry[0]] for entry in accepted]
        earliest, latest = min(times), max(times)
        state.newest_ns = max(state.newest_ns, latest)
        state.pending_times.append(times)
        self._pending_states[state.id] = state
        source = state.documents.source(provenance)
        interval = tiling.at(earliest)
        if latest < interval.to_ns:
            self._record_group(state, interval, batch, accepted, source=source, now_ns=now_ns)
        else:
            groups: dict[int, list[_Accepted]] = {}
            for entry in accepted:
                groups.setdefault(tiling.at(batch.times_ns[entry[0]]).from_ns, []).append(entry)
            for from_ns in sorted(groups):
                self._record_group(state, tiling.at(from_ns), batch, groups[from_ns], source=source, now_ns=now_ns)
        self._payload += 1

    def _payload_row(self, provenance: Provenance) -> PayloadRow:
        return (
            self._payload,
            provenance.group_id,
            provenance.edge_node_id,
            provenance.device_id,
            provenance.session,
            provenance.bd_seq,
            provenance.seq,
            int(provenance.historical),
            provenance.received_at_ns,
            self._known_ns,
            provenance.raw_position,
        )

    def _record_group(
        self,
        state: EquipmentState,
        interval: ContextInterval,
        batch: SampleBatch,
        accepted: list[_Accepted],
        *,
        source: str,
        now_ns: int,
    ) -> None:
        if interval.unresolved and not interval.announced:
            self._announce(state, interval, len(accepted), now_ns)
        first = self._position
        parts = self._render(batch, accepted)
        self._position += len(accepted)
        documents, topic = state.documents, state.topics.data
        payload = documents.tick(interval, parts, source, (state.last_to, first, self._position - 1))
        if len(payload) <= self._tick_bytes_max:
            self._plan.outbox.append(OutboxMessage(topic, payload))
            state.last_to = self._position - 1
        else:
            envelope = len(documents.tick_prefix(interval).encode()) + len(source.encode()) + 80
            for start, end in chunks(parts, self._tick_bytes_max - envelope):
                log = (state.last_to, first + start, first + end - 1)
                self._plan.outbox.append(OutboxMessage(topic, documents.tick(interval, parts[start:end], source, log)))
                state.last_to = log[2]
        self._logged[state.id] = state

    def _render(self, batch: SampleBatch, accepted: Sequence[_Accepted]) -> list[str]:  # noqa: C901, PLR0912, PLR0915
        """JSON and row of each sample, in one pass; the hottest loop of the host."""
        values, times, qualities, codes = batch.values, batch.times_ns, batch.qualities, batch.status_codes
        provenance, payload = batch.provenance, self._payload
        base_flags = _TIME_FLAGS[batch.time_source] | (FLAG_BIRTH if batch.origin == "birth" else 0)
        base_suffix = TIME_SOURCE_SUFFIX[batch.time_source] + (',"origin":"birth"' if batch.origin == "birth" else "")
        position = self._position
        rows_append, dirty_append = self._plan.samples.append, self.board.dirty.append
        float_texts, float_kind, double_kind = FLOAT_TEXTS, ValueKind.FLOAT, ValueKind.DOUBLE
        number: float | None
        integer: int | None
        string: str | None
        parts: list[str] = []
        time_before, time_text = None, ""
        quality = code = 0
        for at, series, ordinal, suspect in accepted:
            value = values[at]
            time_ns = times[at]
            if time_ns != time_before:
                time_text = f',"time":"{rfc3339(time_ns)}"'
                time_before = time_ns
            kind = series.kind
            if value.__class__ is float and value - value == 0.0:
                number, integer, string = value, None, None
                if kind is float_kind:
                    text = float_texts.get(value) or float32_text(value)
                elif kind is double_kind:
                    text = repr(value)
                else:
                    text = value_text(kind, value)
            else:
                if value.__class__ is int and kind <= double_kind:
                    value = float(value)
                number, integer, string = columns_of(value)
                text = value_text(kind, value)
            flags, suffix = base_flags, base_suffix
            if qualities is not None or codes is not None or ordinal or suspect:
                quality = 0 if qualities is None else int(qualities[at])
                code = 0 if codes is None else codes[at]
                suffix = _suffix(quality, code, ordinal, suspect=suspect) + base_suffix
                if suspect:
                    flags |= FLAG_CLOCK_SUSPECT
            else:
                quality = code = 0
            part = f"{series.prefix}{text}{time_text}{suffix}}}"
            parts.append(part)
            rows_append(
                (position, series.number, time_ns, ordinal, number, integer, string, quality, code, flags, payload)
            )
            position += 1
            if time_ns >= series.pv_time_ns and not suspect:
                if time_ns == series.pv_time_ns and ordinal < series.pv_ordinal:
                    continue
                series.pv_time_ns = time_ns
                series.pv_ordinal = ordinal
                series.pv_part = part
                series.pv_quality = quality
                series.pv_provenance = provenance
                series.pv_stale = False
                if not series.pv_dirty:
                    series.pv_dirty = True
                    dirty_append(series)
        return parts

    # ── facts and intervals ──────────────────────────────────────────────────────────────────────────────────────

    def receive_fact(self, fact: Fact, now_ns: int, *, source_of_topic: str | None = None) -> FactAnswer:
        """Accept or refuse a fact. Publish the answer after the next drained plan is committed, never before."""
        self._known_ns = max(self._known_ns, now_ns)
        answer, change = self.store.receive(fact, now_ns=self._known_ns, source_of_topic=source_of_topic)
        if change is None:
            self._counts["facts_repeated" if answer.accepted else "facts_refused"] += 1
            return answer
        self._counts["facts_accepted"] += 1
        self._plan.facts.append(_fact_row(change.known))
        by_equipment: dict[str, list[tuple[int, int]]] = {}
        for equipment, lo, hi in change.windows:
            by_equipment.setdefault(equipment, []).append((lo, hi))
        for equipment, windows in by_equipment.items():
            self._revise_below(equipment, windows, describe(fact))
        self._fact_events(change, now_ns)
        return answer

    def _revise_below(self, equipment: str, windows: list[tuple[int, int]], reason: str) -> None:
        """Claims changed at an equipment: compute anew there and below, in the order of their paths."""
        for below in sorted(self.tree.subtree(equipment), key=lambda e: e.path):
            self._revise(below.id, windows, reason)

    def _revise(self, equipment: str, windows: list[tuple[int, int]], reason: str) -> None:
        state = self._states[equipment]
        for lo, hi in merge_windows(self.timeline.widen(window) for window in windows):
            self.board.context_changed(equipment, (lo, hi))
            if state.tiling is None:
                continue
            segments = self.timeline.segments(equipment, lo, hi)
            closed, opened = plan_revision(state.tiling, segments, reason, self._count_of(state))
            for interval in closed:
                self._plan.intervals_closed.append((self._known_ns, interval.position))
            for revision in opened:
                self._open(state, revision)

    def _count_of(self, state: EquipmentState) -> _Count:
        return _Count(state, self._index)

    def _open_tiling(self, state: EquipmentState) -> None:
        """The first sample of an equipment: from now on its context has rows."""
        intervals = [_interval(segment, "first sample") for segment in self.timeline.segments(state.id, MIN_NS, MAX_NS)]
        state.tiling = Tiling(intervals)
        for interval in intervals:
            self._open(state, Revision(interval, None, 0))

    def _open(self, state: EquipmentState, revision: Revision) -> None:
        interval = revision.interval
        interval.position, interval.known_from_ns = self._position, self._known_ns
        self._position += 1
        self._plan.intervals_opened.append(
            (
                interval.position,
                state.id,
                interval.from_ns,
                interval.to_ns,
                interval.rev,
                interval.known_from_ns,
                MAX_NS,
                interval.body.status,
                interval.body.work_order,
                interval.text,
                interval.reason,
            )
        )
        self._counts["intervals_opened"] += 1
        if revision.old is None:
            return
        log = (state.last_to, interval.position, interval.position)
        payload = state.documents.restatement(revision.old, interval, samples=revision.samples, log=log)
        self._plan.outbox.append(OutboxMessage(state.topics.res, payload))
        state.last_to = interval.position
        self._logged[state.id] = state
        self._counts["restated_intervals"] += 1
        self._counts["restated_samples"] += revision.samples
        if interval.unresolved:
            interval.announced = True
            if not revision.old.unresolved:
                self._event(
                    state,
                    "unresolved",
                    state.documents.unresolved(interval, samples=revision.samples, now_ns=self._known_ns),
                )

    def _announce(self, state: EquipmentState, interval: ContextInterval, samples: int, now_ns: int) -> None:
        """The first samples of an unresolved interval; after a restart the log knows whether they are the first."""
        known = interval.announced is None and self._index.count(state.id, interval.from_ns, interval.to_ns) > 0
        interval.announced = True
        if not known:
            self._event(state, "unresolved", state.documents.unresolved(interval, samples=samples, now_ns=now_ns))

    # ── events ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _event(self, state: EquipmentState, event_type: str, payload: bytes) -> None:
        self._plan.outbox.append(OutboxMessage(f"{state.topics.event}/{event_type}", payload))
        self._counts[f"events_{event_type}"] += 1

    def _may_tell(self, state: EquipmentState, event_type: str, now_ns: int) -> bool:
        before = state.event_ns.get(event_type)
        if before is not None and before <= now_ns < before + EVENT_INTERVAL_NS:
            return False
        state.event_ns[event_type] = now_ns
        return True

    def _clock_event(
        self, state: EquipmentState, batch: SampleBatch, limits: tuple[int, int], suspects: int, now_ns: int
    ) -> None:
        self._counts["clock_suspect"] += suspects
        if not self._may_tell(state, "clock", now_ns):
            return
        at = next(i for i, t in enumerate(batch.times_ns) if not limits[0] <= t <= limits[1])
        event = msgspec.structs.replace(
            state.documents.blank_event("clock", now_ns),
            metric=batch.metrics[at].name,
            samples=suspects,
            from_time=rfc3339(batch.times_ns[at]),
            source=f"{batch.provenance.group_id}/{batch.provenance.edge_node_id}",
            what=f"stamped {rfc3339(batch.times_ns[at])}, received {rfc3339(batch.provenance.received_at_ns)}; "
            "check the clock of the source",
        )
        self._event(state, "clock", state.documents.event(event))

    def _conflict_event(self, state: EquipmentState, batch: SampleBatch, which: list[int], now_ns: int) -> None:
        self._counts["conflicts"] += len(which)
        if not self._may_tell(state, "conflict", now_ns):
            return
        at = which[0]
        event = msgspec.structs.replace(
            state.documents.blank_event("conflict", now_ns),
            metric=batch.metrics[at].name,
            samples=len(which),
            from_time=rfc3339(batch.times_ns[at]),
            source=f"{batch.provenance.group_id}/{batch.provenance.edge_node_id}",
            what="another value at the same source time and ordinal; both are kept",
        )
        self._event(state, "conflict", state.documents.event(event))

    def _fact_events(self, change: FactChange, now_ns: int) -> None:
        fact = change.known.fact
        state = self._states.get(fact.equipment)
        if state is None:
            return
        if fact.kind in {"job", "lot"} and (change.windows or fact.kind == "job"):
            self._event(state, fact.kind, state.documents.event(_event_of_fact(state, fact, now_ns)))
        for overlap in change.overlaps:
            event = msgspec.structs.replace(
                state.documents.blank_event("conflict", now_ns),
                from_time=rfc3339(overlap.from_ns),
                to_time=rfc3339(overlap.to_ns),
                source=fact.source,
                facts=(
                    f"{overlap.first.id}@{overlap.first.source_rev}",
                    f"{overlap.second.id}@{overlap.second.source_rev}",
                ),
                what=f"two {fact.kind} facts of one source overlap; the later valid_from counts. Correct their times",
            )
            self._counts["fact_overlaps"] += 1
            self._event(state, "conflict", state.documents.event(event))

    # ── what is no record ────────────────────────────────────────────────────────────────────────────────────────

    def count_rejected(
        self, samples: Sequence[UnrecordedSample], provenance: Provenance, now_ns: int, *, ours: bool = True
    ) -> None:
        """Samples that could not be read: kept by key, counted once each."""
        self._plan.raw_position = max(self._plan.raw_position, provenance.raw_position)
        self._keep_unrecorded("rejected", samples, provenance, now_ns, ours=ours)

    def count_unmapped(
        self, samples: Sequence[UnrecordedSample], provenance: Provenance, now_ns: int, *, ours: bool = True
    ) -> None:
        """Samples of devices or metrics that the tree does not know: kept by key, counted once each."""
        self._plan.raw_position = max(self._plan.raw_position, provenance.raw_position)
        self._keep_unrecorded("unmapped", samples, provenance, now_ns, ours=ours)

    def _keep_unrecorded(
        self, kind: str, samples: Sequence[UnrecordedSample], provenance: Provenance, now_ns: int, *, ours: bool
    ) -> None:
        self._known_ns = max(self._known_ns, now_ns)
        rows = self._unrecorded.receive(kind, samples, provenance, self._known_ns)
        self._plan.unrecorded += rows
        prefix = "" if ours else "foreign_"
        self._counts[f"{prefix}received_joined"] += len(samples)
        self._counts[f"{prefix}{kind}"] += len(rows)
        self._counts[f"{prefix}duplicates_dropped"] += len(samples) - len(rows)

    # ── plans ────────────────────────────────────────────────────────────────────────────────────────────────────

    def drain(self) -> RecordPlan:
        """All since the last drain, for one transaction. Draining again says that the plan before was committed."""
        plan = self._plan
        plan.counters = {name: n for name, n in self._counts.items() if n}
        plan.equipment_logs = [(state.id, state.last_to) for state in self._logged.values()]
        plan.next_position, plan.next_payload = self._position, self._payload
        plan.contract_hash = self.tree.contract_hash
        self.totals.update(plan.counters)
        self._counts.clear()
        self._logged = {}
        self._plan = RecordPlan()
        self.identity.plan_started(self._plan.samples)
        self._unrecorded.plan_started()
        for state in self._in_flight_states.values():
            state.in_flight_times = []
        for state in self._pending_states.values():
            state.in_flight_times, state.pending_times = state.pending_times, []
        self._in_flight_states, self._pending_states = self._pending_states, {}
        return plan

    def committed(self) -> None:
        """The plan drained last is committed: from now on the index answers for it."""
        self.identity.committed()
        self._unrecorded.committed()
        for state in self._in_flight_states.values():
            state.in_flight_times = []
        self._in_flight_states = {}


class _Count:
    """How many recorded samples of an equipment lie in [from, to); nothing is asked above its newest."""

    __slots__ = ("_index", "_state")

    def __init__(self, state: EquipmentState, index: RecordIndex) -> None:
        self._state = state
        self._index = index

    def __call__(self, from_ns: int, to_ns: int) -> int:
        if from_ns > self._state.newest_ns:
            return 0
        return self._index.count(self._state.id, from_ns, to_ns) + self._state.pending_count(from_ns, to_ns)


def _places(metrics: Sequence[MetricContract], times: Sequence[int]) -> list[int]:
    """For each sample its place among the same (metric, time) in the payload."""
    seen: dict[tuple[str, int], int] = {}
    found: list[int] = []
    for contract, time_ns in zip(metrics, times, strict=True):
        key = (contract.name, time_ns)
        place = seen.get(key, 0)
        seen[key] = place + 1
        found.append(place)
    return found


def _suffix(quality: int, code: int, ordinal: int, *, suspect: bool) -> str:
    text = f',"ordinal":{ordinal}' if ordinal else ""
    text += QUALITY_SUFFIX[quality]
    if code:
        text += f',"status_code":{code}'
    if suspect:
        text += ',"clock_suspect":true'
    return text


def _interval(segment: Segment, reason: str) -> ContextInterval:
    return ContextInterval(segment.from_ns, segment.to_ns, rev=0, body=segment.body, text=segment.text, reason=reason)


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


def _event_of_fact(state: EquipmentState, fact: Fact, now_ns: int) -> Event:
    start, end = valid_ns(fact)
    return msgspec.structs.replace(
        state.documents.blank_event(fact.kind, now_ns),
        from_time=rfc3339(start),
        to_time=None if end is None else rfc3339(end),
        job_order=fact.job_order,
        work_order=fact.work_order,
        lot=fact.lot,
        material=fact.material,
        state=fact.state,
        action=fact.action,
        source=fact.source,
        facts=(f"{fact.id}@{fact.source_rev}",),
    )


def _decode_body(text: str) -> ContextBody:
    return _body_decoder.decode(text)


def _plain(value: Value) -> str | None:
    return None if value is None else repr(value)
