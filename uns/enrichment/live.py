"""Present values and present context: retained, conflated, cheap.

The pipeline marks a series dirty and leaves the text of its newest sample; JSON is built only when it is due, at most
once per ``pv_interval_ms`` and metric.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Container
from typing import TYPE_CHECKING

from uns.context.timeline import Timeline
from uns.context.times import MAX_NS, MIN_NS, rfc3339
from uns.enrichment.plan import OutboxMessage
from uns.enrichment.samples import Provenance, Quality
from uns.enrichment.series import Series
from uns.enrichment.values import json_text
from uns.namespace.topics import EquipmentTopics, metric_level
from uns.sparkplug.topics import EdgeNodeDescriptor

if TYPE_CHECKING:
    from uns.enrichment.equipment import EquipmentState

__all__ = ["PV_INTERVAL_MS", "PV_TOPICS_MAX", "PvBoard", "Way", "Why"]

Way = tuple[EdgeNodeDescriptor, str | None]  # by which a value comes: edge node and device
Why = tuple[int | None, str]  # since when a way does not live (ns; None: not known), and the reason as one word

PV_INTERVAL_MS = 1000
PV_TOPICS_MAX = 100_000  # metrics with a retained topic of their own; what is beyond is in snapshots only, and counted
SNAPSHOT_BYTES_MAX = 1 << 20  # a larger snapshot is not published, and counted
_SLICES = 10  # the board looks this often per interval


class PvBoard:
    """Newest values per metric, newest context per equipment. Time is given to :meth:`due`."""

    def __init__(
        self, timeline: Timeline, *, pv_interval_ms: int = PV_INTERVAL_MS, pv_topics_max: int = PV_TOPICS_MAX
    ) -> None:
        self.dirty: list[Series] = []  # appended to by the pipeline, which sets pv_dirty too
        self.pv_topics_max = pv_topics_max
        self.pv_topics = 0
        self.counters = {"pv_published": 0, "pv_topics_refused": 0, "pv_snapshots_refused": 0, "ctx_published": 0}
        self._timeline = timeline
        self._interval_ns = pv_interval_ms * 1_000_000
        self._slice_ns = max(self._interval_ns // _SLICES, 1)
        self._equipment: dict[str, EquipmentState] = {}
        self._last_look_ns = MIN_NS
        self._snapshots: dict[str, None] = {}  # equipment whose snapshot changed
        self._snapshot_ns: dict[str, int] = {}
        self._ctx_dirty: dict[str, None] = {}
        self._ctx_text: dict[str, str] = {}
        self._ctx_changes: list[tuple[int, str]] = []  # heap of (when the context of an equipment changes by itself)
        self._ctx_next: dict[str, int] = {}
        self._refused: set[int] = set()
        self._live: Container[Way] | None = None  # None: nobody said yet which ways live
        self._heard: Container[EdgeNodeDescriptor] | None = None
        self._why: Callable[[Way], Why] | None = None
        self._without_topics: set[str] = set()  # equipment whose class opted out of a topic per metric
        # (equipment, metric) to the source time of a value that was shown before it could be recorded
        self.previewed: dict[tuple[str, str], int] = {}

    def attach(self, state: EquipmentState, *, topics: bool = True) -> None:
        """An equipment whose values and context are shown; without ``topics`` its values stand in the snapshot only."""
        self._equipment[state.id] = state
        if not topics:
            self._without_topics.add(state.id)

    def context_changed(self, equipment: str, window: tuple[int, int] | None = None) -> None:
        """The context of an equipment changed; values whose time lies in the window are shown with it anew."""
        self._ctx_dirty[equipment] = None
        if window is not None:
            for series in self._equipment[equipment].metrics.values():
                if window[0] <= series.pv_time_ns < window[1] and series.pv_part:
                    self.touch(series)

    def may_preview(self, equipment: str, metric: str, time_ns: int) -> bool:
        """Whether a value that is not recorded yet is newer than the one shown; then no older one is shown after it."""
        state = self._equipment.get(equipment)
        series = None if state is None else state.metrics.get(metric)
        if series is not None and series.pv_time_ns > time_ns:
            return False
        self.previewed[equipment, metric] = time_ns
        return True

    def touch(self, series: Series) -> None:
        """Show a series anew when it is due."""
        if not series.pv_dirty:
            series.pv_dirty = True
            self.dirty.append(series)

    def mark_stale(
        self,
        edge_node: EdgeNodeDescriptor,
        device_id: str | None = None,
        *,
        since_ns: int | None = None,
        reason: str = "",
    ) -> int:
        """After a death: values that came from that device (or, without one, from that node) are stale since then.

        ``since_ns``: the host's UTC at receipt of an NDEATH, the payload's timestamp of a DDEATH.
        """
        return self._mark(edge_node, device_id, stale=True, note=_note((since_ns, reason)))

    def mark_alive(self, edge_node: EdgeNodeDescriptor, device_id: str | None = None) -> int:
        """After a node came back without a birth (it named a session whose births are held): its values hold."""
        return self._mark(edge_node, device_id, stale=False, note="")

    def _mark(self, edge_node: EdgeNodeDescriptor, device_id: str | None, *, stale: bool, note: str) -> int:
        marked = 0
        for state in self._equipment.values():
            for series in state.metrics.values():
                way = series.pv_provenance
                if (
                    way is not None
                    and series.pv_stale is not stale
                    and way.edge_node_id == edge_node.edge_node_id
                    and way.group_id == edge_node.group_id
                    and (device_id is None or way.device_id == device_id)
                ):
                    series.pv_stale = stale
                    # A value that was stale before (its node had lost the host, say) has been so since then.
                    series.pv_stale_note = series.pv_away_note if stale and series.pv_away else note
                    self.touch(series)
                    marked += 1
        return marked

    def follow(
        self,
        live: Container[Way],
        *,
        heard: Container[EdgeNodeDescriptor] | None = None,
        why: Callable[[Way], Why] | None = None,
    ) -> None:
        """A value is stale, too, while its way is not in ``live``; of nodes not in ``heard`` nothing is said.

        ``why`` tells of a way that does not live since when and for what reason.

        Both are looked at whenever a value is shown, so their owner may change them in place; :meth:`reconcile` then
        finds the values that nothing else would show anew.
        """
        self._live, self._heard, self._why = live, heard, why

    def reconcile(self, named: Container[Way] = ()) -> int:
        """One pass over all values: those whose staleness changed are shown anew; how many.

        The ways ``named`` live by the word of a session whose births are held: what died there before is alive again,
        as by :meth:`mark_alive`, which may have been lost.
        """
        changed = 0
        for state in self._equipment.values():
            for series in state.metrics.values():
                way = series.pv_provenance
                if way is None:
                    continue
                was_stale = series.pv_stale or series.pv_away
                self._look(series, way)
                if series.pv_stale and _way(way) in named:
                    series.pv_stale = False
                if was_stale is not (series.pv_stale or series.pv_away):
                    self.touch(series)
                    changed += 1
        return changed

    def _look(self, series: Series, provenance: Provenance) -> None:
        """Whether its source lives. The note is of the moment when it did so no more."""
        away = self._is_away(provenance)
        if away is not series.pv_away:
            series.pv_away = away
            series.pv_away_note = _note(self._why(_way(provenance))) if away and self._why is not None else ""

    def _is_away(self, way: Provenance) -> bool:
        if self._live is None:
            return False
        edge_node, device_id = _way(way)
        if self._heard is not None and edge_node not in self._heard:
            return False
        return (edge_node, device_id) not in self._live

    def next_deadline_ns(self) -> int | None:
        """When :meth:`due` has something to say; None while nothing is waiting."""
        deadline = MAX_NS
        if self.dirty or self._snapshots or self._ctx_dirty:
            deadline = self._last_look_ns + self._slice_ns
        if self._ctx_changes:
            deadline = min(deadline, self._ctx_changes[0][0])
        return None if deadline == MAX_NS else deadline

    def due(self, now_ns: int) -> list[OutboxMessage]:
        """What is to be published now, retained. Nothing of it is kept: the next value makes it good."""
        messages: list[OutboxMessage] = []
        while self._ctx_changes and self._ctx_changes[0][0] <= now_ns:
            at_ns, equipment = heapq.heappop(self._ctx_changes)
            self._ctx_dirty[equipment] = None
            if self._ctx_next.get(equipment) == at_ns:
                del self._ctx_next[equipment]
        if now_ns - self._last_look_ns < self._slice_ns and self._last_look_ns <= now_ns:
            return messages
        self._last_look_ns = now_ns
        if self._ctx_dirty:
            self._due_contexts(now_ns, messages)
        if self.dirty:
            self._due_values(now_ns, messages)
        if self._snapshots:
            self._due_snapshots(now_ns, messages)
        return messages

    def _due_values(self, now_ns: int, messages: list[OutboxMessage]) -> None:
        border = now_ns - self._interval_ns
        later: list[Series] = []
        for series in self.dirty:
            if border < series.pv_published_ns <= now_ns:
                later.append(series)
                continue
            series.pv_dirty = False
            series.pv_published_ns = now_ns
            if series.pv_provenance is not None:
                self._look(series, series.pv_provenance)
            state = self._equipment[series.equipment]
            self._snapshots[series.equipment] = None
            topic = None if series.equipment in self._without_topics else self._topic(series, state.topics)
            if self.previewed and self._is_behind_preview(series):
                continue
            if topic is not None:
                messages.append(OutboxMessage(topic, self._value_document(state, series), 1, retain=True))
                self.counters["pv_published"] += 1
        self.dirty[:] = later

    def _is_behind_preview(self, series: Series) -> bool:
        key = (series.equipment, series.metric)
        if self.previewed.get(key, MIN_NS) > series.pv_time_ns and not (series.pv_stale or series.pv_away):
            return True
        self.previewed.pop(key, None)
        return False

    def _topic(self, series: Series, topics: EquipmentTopics) -> str | None:
        if series.pv_topic is None:
            if self.pv_topics >= self.pv_topics_max:
                if series.number not in self._refused:
                    self._refused.add(series.number)
                    self.counters["pv_topics_refused"] += 1
                return None
            self.pv_topics += 1
            series.pv_topic = topics.pv.get(series.metric) or f"{topics.place}/_pv/{metric_level(series.metric)}"
        return series.pv_topic

    @staticmethod
    def _value_document(state: EquipmentState, series: Series) -> bytes:
        context = "" if state.tiling is None else f',"context":{state.tiling.at(series.pv_time_ns).text}'
        return (
            f'{{"schema":"uns1.pv/1","equipment":{json_text(state.id)},{_with_quality(series)[1:-1]}{context}}}'
        ).encode()

    def _due_snapshots(self, now_ns: int, messages: list[OutboxMessage]) -> None:
        border = now_ns - self._interval_ns
        for equipment in list(self._snapshots):
            if border < self._snapshot_ns.get(equipment, MIN_NS) <= now_ns:
                continue
            del self._snapshots[equipment]
            self._snapshot_ns[equipment] = now_ns
            state = self._equipment[equipment]
            values = ",".join(_with_quality(series) for series in state.metrics.values() if series.pv_part)
            payload = (
                f'{{"schema":"uns1.pv_snapshot/1","equipment":{json_text(state.id)},"path":{json_text(state.path)},'
                f'"values":[{values}]}}'
            ).encode()
            if len(payload) > SNAPSHOT_BYTES_MAX:
                self.counters["pv_snapshots_refused"] += 1
            else:
                messages.append(OutboxMessage(state.topics.pv_snapshot, payload, 1, retain=True))

    def _due_contexts(self, now_ns: int, messages: list[OutboxMessage]) -> None:
        for equipment in self._ctx_dirty:
            state = self._equipment[equipment]
            segments = self._timeline.segments(equipment, now_ns, MAX_NS)
            # An earlier look that is planned already will see this one too.
            if len(segments) > 1 and segments[0].to_ns < self._ctx_next.get(equipment, MAX_NS):
                self._ctx_next[equipment] = segments[0].to_ns
                heapq.heappush(self._ctx_changes, (segments[0].to_ns, equipment))
            since = "" if state.tiling is None else _since(state, now_ns)
            text = (
                f'{{"schema":"uns1.ctx/1","enterprise":{json_text(state.enterprise)},'
                f'"equipment":{json_text(equipment)},"path":{json_text(state.path)},{since}'
                f'"context":{segments[0].text}}}'
            )
            if self._ctx_text.get(equipment) != text:
                self._ctx_text[equipment] = text
                messages.append(OutboxMessage(state.topics.ctx, text.encode(), 1, retain=True))
                self.counters["ctx_published"] += 1
        self._ctx_dirty.clear()


def _with_quality(series: Series) -> str:
    """The sample as it stands in ticks, with its quality said in any case, stale after a death."""
    part = series.pv_part
    note = ""
    if series.pv_stale or series.pv_away:
        word = Quality.STALE.label
        note = series.pv_stale_note if series.pv_stale else series.pv_away_note
    else:
        word = Quality(series.pv_quality).label
    if series.pv_quality:
        head, _, tail = part.rpartition(f',"quality":"{Quality(series.pv_quality).label}"')
        part = head + tail
    return f'{part[:-1]},"quality":"{word}"{note}}}'


def _note(why: Why) -> str:
    since_ns, reason = why
    since = "" if since_ns is None else f',"stale_since":"{rfc3339(since_ns)}"'
    return since + (f',"stale_reason":{json_text(reason)}' if reason else "")


def _way(provenance: Provenance) -> Way:
    return EdgeNodeDescriptor(provenance.group_id, provenance.edge_node_id), provenance.device_id or None


def _since(state: EquipmentState, now_ns: int) -> str:
    """Since when the present context has held; neighbouring rows may say the same in two revisions."""
    if state.tiling is None:
        return ""
    first, _ = state.tiling.overlapping(now_ns, now_ns + 1)
    rows = state.tiling.intervals
    while first > 0 and rows[first - 1].text == rows[first].text:
        first -= 1
    from_ns = rows[first].from_ns
    return "" if from_ns == MIN_NS else f'"since":"{rfc3339(from_ns)}",'
