"""The tilings of all equipment: opened with the first sample, revised when claims change, told to who must know."""

from __future__ import annotations

from collections.abc import Sequence

from uns.context.claims import Window, merge_windows
from uns.context.timeline import Timeline
from uns.context.times import MAX_NS, MIN_NS
from uns.enrichment.equipment import EquipmentState
from uns.enrichment.intervals import ContextInterval, Revision, Tiling, context_of, plan_revision
from uns.enrichment.live import PvBoard
from uns.enrichment.plan import FOREIGN_STATUS_COUNTERS, STATUS_COUNTERS, IntervalRow
from uns.enrichment.plan_writer import PlanWriter
from uns.enrichment.samples import RecordIndex
from uns.errors import LocalProtocolError
from uns.namespace.model import TopicTree

__all__ = ["Contexts"]


class Contexts:
    """Keeps every tiling equal to what the timeline says, and writes down each step of it."""

    def __init__(
        self,
        tree: TopicTree,
        timeline: Timeline,
        index: RecordIndex,
        states: dict[str, EquipmentState],
        *,
        writer: PlanWriter,
        board: PvBoard,
    ) -> None:
        self._timeline = timeline
        self._index = index
        self._states = states
        self._writer = writer
        self._board = board
        below: dict[str, list[tuple[tuple[str, ...], str]]] = {name: [] for name in states}
        for equipment in tree.equipment.values():
            for above in tree.lineage(equipment.id):
                below[above.id].append((equipment.path, equipment.id))
        self._below = {name: [equipment for _, equipment in sorted(found)] for name, found in below.items()}

    def load(self, rows: Sequence[IntervalRow]) -> None:
        """Take back the current rows; they must cover all time of each equipment once."""
        by_equipment: dict[str, list[ContextInterval]] = {}
        for row in sorted(rows, key=lambda r: (r[1], r[2])):
            position, equipment, from_ns, to_ns, rev, known_from_ns, _, status, work_order, text, reason = row
            interval = ContextInterval(from_ns, to_ns, rev=rev, context=(text, status, work_order), reason=reason)
            interval.position, interval.known_from_ns, interval.announced = position, known_from_ns, None
            self._writer.learn(known_from_ns)
            by_equipment.setdefault(equipment, []).append(interval)
        for equipment, intervals in by_equipment.items():
            if equipment not in self._states:
                continue  # the tree lost it; its records stay as they are
            tiling = Tiling(intervals)
            if not tiling.is_whole():
                raise LocalProtocolError(
                    f"the current context intervals of {equipment!r} do not cover all time once",
                    where="EnricherState.intervals",
                    expected="every row whose known_to_ns is MAX_NS, and no other",
                    next_step="check how the record log reads them back",
                )
            self._states[equipment].tiling = tiling

    def tiling_of(self, state: EquipmentState) -> Tiling:
        """The tiling of an equipment; opened with its first sample, from what is known by then."""
        if state.tiling is None:
            intervals = [
                ContextInterval(s.from_ns, s.to_ns, rev=0, context=context_of(s), reason="first sample")
                for s in self._timeline.segments(state.id, MIN_NS, MAX_NS)
            ]
            state.tiling = Tiling(intervals)
            for interval in intervals:
                self._open(state, Revision(interval, None, 0))
        return state.tiling

    def revise_below(self, equipment: str, windows: Sequence[Window], reason: str) -> None:
        """Claims changed at an equipment: compute anew there and below, in the order of their paths."""
        merged = merge_windows(self._timeline.widen(window) for window in windows)
        for below in self._below[equipment]:
            self._revise(self._states[below], merged, reason)

    def revise_all(self, reason: str) -> None:
        """The rules changed: compute everything anew."""
        for state in self._states.values():
            self._revise(state, [(MIN_NS, MAX_NS)], reason)

    def announce(self, state: EquipmentState, interval: ContextInterval, samples: int, now_ns: int) -> None:
        """The first samples of an unresolved interval; after a restart the log knows whether they are the first."""
        known = interval.announced is None and self._index.count(state.id, interval.from_ns, interval.to_ns) > 0
        interval.announced = True
        if not known:
            payload = state.documents.unresolved(interval, samples=samples, now_ns=now_ns)
            self._writer.publish_event(state, "unresolved", payload)

    def _revise(self, state: EquipmentState, windows: Sequence[Window], reason: str) -> None:
        if windows:
            self._board.context_changed(state.id, (windows[0][0], windows[-1][1]))
        if state.tiling is None:
            return
        for lo, hi in windows:
            segments = self._timeline.segments(state.id, lo, hi)
            closed, opened = plan_revision(state.tiling, segments, reason, _Count(state, self._index))
            for interval in closed:
                self._writer.plan.intervals_closed.append((self._writer.known_ns, interval.position))
            for revision in opened:
                self._open(state, revision)

    def _open(self, state: EquipmentState, revision: Revision) -> None:
        """Write one interval down; it takes a position of the log, and a restatement where samples are concerned."""
        interval, writer = revision.interval, self._writer
        interval.position, interval.known_from_ns = writer.position, writer.known_ns
        writer.position += 1
        writer.plan.intervals_opened.append(_row(state.id, interval))
        writer.counts["intervals_opened"] += 1
        old = revision.old
        if old is None:
            return
        payload = state.documents.restatement(
            old, interval, samples=revision.samples, log=(state.last_to, interval.position, interval.position)
        )
        writer.publish(state, state.topics.res, payload, interval.position)
        writer.counts["restated_intervals"] += 1
        writer.counts["restated_samples"] += revision.samples
        if old.status != interval.status:
            self._move_status(state, old, revision)
        if interval.unresolved:
            interval.announced = True
            if not old.unresolved:
                event = state.documents.unresolved(interval, samples=revision.samples, now_ns=writer.known_ns)
                writer.publish_event(state, "unresolved", event)

    def _move_status(self, state: EquipmentState, old: ContextInterval, revision: Revision) -> None:
        """Restated samples are counted under another status from now on."""
        interval, counts = revision.interval, self._writer.counts
        counts[STATUS_COUNTERS[old.status]] -= revision.samples
        counts[STATUS_COUNTERS[interval.status]] += revision.samples
        if any(self._writer.totals[name] or counts[name] for name in FOREIGN_STATUS_COUNTERS.values()):
            from_ns, to_ns = interval.from_ns, interval.to_ns
            foreign = self._index.count(state.id, from_ns, to_ns, foreign=True)
            foreign += state.foreign_pending_count(from_ns, to_ns)
            counts[FOREIGN_STATUS_COUNTERS[old.status]] -= foreign
            counts[FOREIGN_STATUS_COUNTERS[interval.status]] += foreign


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


def _row(equipment: str, interval: ContextInterval) -> IntervalRow:
    return (
        interval.position,
        equipment,
        interval.from_ns,
        interval.to_ns,
        interval.rev,
        interval.known_from_ns,
        MAX_NS,
        interval.status,
        interval.work_order,
        interval.text,
        interval.reason,
    )
