"""Gaps: stretches of source time for which samples of an equipment are missing, as far as we know.

Two things make one, and both follow from the log in its own order, so that a second reading makes the same:

    dropped        an edge node tells what its quota dropped (metric ``uns/gap``): from the first to the last of them
    death,         a way (gateway and device) died, or came back with another session although nobody told its death:
    session_lost   from its last sample before to its first after; open until that one comes

A way that went on reading while nobody heard it brings history, and what history covers is no gap. Historical samples
inside cut a gap into the silences between them. Those longer than FILLED_SILENCE_NS stay as gaps, each with its own
ends; where none is left the gap is ``filled``. So whatever the order history comes in, the gaps that are not filled are
the same. Live samples inside prove nothing: a source that is read again tells its old values with their old stamps. Nor
does a birth of ours: it tells what was stored last, which may be from before a power loss.

Liveness is ordered by session and only tells *that* there is a gap. Where it begins and ends is told by source times.
A revision is a new row; the one before it is closed, so that what was known at any time can be asked. Why it is so:
docs/decisions/0010 and 0012.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Literal

import msgspec

from uns.context.times import MAX_NS, MIN_NS, ns_of
from uns.enrichment.identity import Accepted
from uns.enrichment.plan import GapRow, WayRow
from uns.enrichment.plan_writer import PlanWriter
from uns.enrichment.samples import Provenance, RecordIndex, SampleBatch

__all__ = [
    "FILLED_SILENCE_NS",
    "UNFILLED_PER_WAY_MAX",
    "WAYS_MAX",
    "DroppedGap",
    "GapBook",
    "GapReason",
    "read_dropped",
]

GapReason = Literal["death", "session_lost", "dropped"]

WAYS_MAX = 100_000  # beyond it new ways keep no gaps, and are counted
UNFILLED_PER_WAY_MAX = 64  # closed gaps of one way that history may still fill; older ones stay as they are
FILLED_SILENCE_NS = 30_000_000_000  # a longer silence between samples of a gap is not filled by them

WayKey = tuple[str, str, str]  # group, edge node, device ("" for the node itself)


class DroppedGap(msgspec.Struct, frozen=True, kw_only=True):
    """What an edge node says that it dropped. Ends are those of samples, both inclusive; None where it told none."""

    from_ns: int | None
    to_ns: int | None
    count: int
    reason: str


class _Wire(msgspec.Struct, rename={"from_": "from"}):
    from_: datetime | None = None
    to: datetime | None = None
    count: int = 0
    reason: str = ""


def read_dropped(text: str) -> DroppedGap:
    """A value of ``uns/gap``. What cannot be read is told in its own words, without times."""
    try:
        wire = msgspec.json.decode(text, type=_Wire)
        start = None if wire.from_ is None else ns_of(wire.from_)
        end = None if wire.to is None else ns_of(wire.to)
    except (msgspec.DecodeError, TypeError, ValueError):  # a time without a zone is no time
        return DroppedGap(from_ns=None, to_ns=None, count=0, reason=text[:200])
    if start is None or end is None or end < start:
        start = end = None
    return DroppedGap(from_ns=start, to_ns=end, count=min(max(wire.count, 0), MAX_NS), reason=wire.reason[:200])


class _Gap:
    """The current revision of one gap."""

    __slots__ = ("closed_by", "from_ns", "gap", "position", "reason", "rev", "status", "to_ns", "written_at")

    def __init__(self, reason: str, from_ns: int) -> None:
        self.gap = 0  # the position of its first revision names it; set when it is written
        self.position = 0
        self.rev = -1
        self.reason = reason
        self.status = "open"
        self.from_ns = from_ns
        self.to_ns = MAX_NS
        self.closed_by: str | None = None
        self.written_at: tuple[int, int] | None = None  # plan, and place in it, of a revision that history may change

    @property
    def is_known_of_history(self) -> bool:
        """Of an open gap: whether history moved its begin. Nothing else revises it."""
        return self.rev > 0


class _Way:
    """What is known of one gateway and device as a source of one equipment."""

    __slots__ = ("equipment", "key", "newest_ns", "open", "session", "unfilled")

    def __init__(self, key: WayKey, equipment: str) -> None:
        self.key = key
        self.equipment = equipment
        self.session: str | None = None  # None: not known which
        self.newest_ns = MIN_NS  # of its samples that are believed
        self.open: _Gap | None = None
        self.unfilled: list[_Gap] = []  # closed, oldest first


class GapBook:
    """Follows ways and writes rows of gaps into the plan."""

    def __init__(self, writer: PlanWriter, index: RecordIndex) -> None:
        self._writer = writer
        self._index = index
        self._ways: dict[WayKey, _Way] = {}
        self._of_node: dict[tuple[str, str], list[_Way]] = {}
        self._dropped: set[tuple[object, ...]] = set()  # of plans that the index does not have yet
        self._dropped_in_flight: set[tuple[object, ...]] = set()
        self._plan = 0  # which one is being made

    # ── start and plans ──────────────────────────────────────────────────────────────────────────────────────────

    def load(self, ways: Iterable[WayRow], gaps: Iterable[GapRow]) -> None:
        """Take back what was committed: ``gaps`` are current rows that are not settled."""
        for group_id, edge_node_id, device_id, equipment, session in ways:
            way = self._add((group_id, edge_node_id, device_id), equipment)
            if way is not None:
                way.session = session
        for row in sorted(gaps):
            held = self._ways.get((row[4], row[5], row[6]))
            if held is None or held.equipment != row[3]:
                continue
            gap = _Gap(row[7], row[9])
            gap.position, gap.gap, gap.rev = row[:3]
            gap.status, gap.to_ns, gap.closed_by = row[8], row[10], row[11]
            if gap.to_ns == MAX_NS:
                gap.status = "open"  # one that was filled while open, as logs before 0012 have them, is open as well
                held.open = gap
            else:
                self._keep_unfilled(held, gap)

    def seen(self, key: WayKey, equipment: str, time_ns: int) -> None:
        """At start: the newest samples, and the way they came."""
        way = self._ways.get(key) or self._add(key, equipment)
        if way is not None and way.equipment == equipment:
            way.newest_ns = max(way.newest_ns, time_ns)

    def plan_started(self) -> None:
        """What is pending goes into flight."""
        self._plan += 1
        self._dropped_in_flight, self._dropped = self._dropped, set()

    def committed(self) -> None:
        """What was in flight is in the index now."""
        self._dropped_in_flight = set()

    # ── what comes ───────────────────────────────────────────────────────────────────────────────────────────────

    def receive_batch(self, batch: SampleBatch, accepted: Sequence[Accepted], *, suspects: int) -> None:
        """The samples of one payload: ``accepted`` are new, ``suspects`` of them have a stamp that is not believed."""
        provenance = batch.provenance
        key = (provenance.group_id, provenance.edge_node_id, provenance.device_id or "")
        way = self._ways.get(key)
        if way is None or way.equipment != batch.equipment:
            way = self._add(key, batch.equipment)
            if way is None:
                return
        if way.session != provenance.session:
            self._take_session(way, provenance.session)
        times = _believed(batch, accepted, suspects)
        if provenance.historical and times and (way.open is not None or way.unfilled):
            self._fill(way, times)
        newest_ns = max(times, default=MIN_NS)
        if newest_ns <= way.newest_ns:
            return
        way.newest_ns = newest_ns
        gap = way.open
        is_live = not provenance.historical and not (batch.origin == "birth" and batch.ours)
        if gap is not None and is_live and newest_ns > gap.from_ns:
            self._close(way, gap, newest_ns, batch.origin)

    def receive_death(self, group_id: str, edge_node_id: str, device_id: str | None) -> None:
        """A logged death: of the node, which takes its devices with it, or of one device."""
        for way in self._of_node.get((group_id, edge_node_id), ()):
            if device_id is None or way.key[2] == device_id:
                self._open(way, "death")

    def receive_dropped(self, gap: DroppedGap, provenance: Provenance, equipment: Iterable[str]) -> list[str]:
        """What a quota dropped; of the equipment it may concern, those for which that is news."""
        told: list[str] = []
        start, end = gap.from_ns, gap.to_ns
        if start is None or end is None:
            return list(equipment)
        for one in equipment:
            where = (one, provenance.group_id, provenance.edge_node_id)
            key = (*where, start, end, gap.count)
            if key in self._dropped or key in self._dropped_in_flight:
                continue
            if self._index.holds_dropped(*where, from_ns=start, to_ns=end, samples=gap.count):
                continue
            self._dropped.add(key)
            told.append(one)
            position = self._take_position()
            self._writer.plan.gaps_opened.append(
                (
                    position, position, 0, one, provenance.group_id, provenance.edge_node_id,
                    provenance.device_id or "", "dropped", "closed", start, end, None, gap.count, gap.reason,
                    self._writer.known_ns, MAX_NS,
                )
            )  # fmt: skip
        return told

    # ── ways ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _add(self, key: WayKey, equipment: str) -> _Way | None:
        held = self._ways.get(key)
        if held is None and len(self._ways) >= WAYS_MAX:
            self._writer.counts["gap_ways_left_out"] += 1
            return None
        way = self._ways[key] = _Way(key, equipment)
        of_node = self._of_node.setdefault(key[:2], [])
        if held is not None:  # the device feeds another equipment now
            of_node.remove(held)
        of_node.append(way)
        return way

    def _take_session(self, way: _Way, session: str) -> None:
        if way.session is not None and way.open is None:
            self._open(way, "session_lost")
        way.session = session
        self._writer.plan.ways.append((*way.key, way.equipment, session))

    # ── one gap ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _open(self, way: _Way, reason: GapReason) -> None:
        if way.open is None and way.newest_ns > MIN_NS:
            way.open = _Gap(reason, way.newest_ns)
            self._write(way, way.open)

    def _close(self, way: _Way, gap: _Gap, to_ns: int, origin: str) -> None:
        gap.to_ns, gap.closed_by = to_ns, origin
        way.open = None
        if gap.is_known_of_history and to_ns - gap.from_ns <= FILLED_SILENCE_NS:
            gap.status = "filled"
        else:
            gap.status = "closed"
            self._keep_unfilled(way, gap)
        self._write(way, gap)

    def _fill(self, way: _Way, times_ns: Sequence[int]) -> None:
        low_ns, high_ns = min(times_ns), max(times_ns)
        for gap in way.unfilled if way.open is None else [*way.unfilled, way.open]:
            if low_ns < gap.to_ns and gap.from_ns < high_ns:
                inside = sorted({time_ns for time_ns in times_ns if gap.from_ns < time_ns < gap.to_ns})
                if inside:
                    self._cut(way, gap, inside)

    def _cut(self, way: _Way, gap: _Gap, inside: Sequence[int]) -> None:
        """What history leaves of a gap: the last silence keeps its name, those before are gaps of their own."""
        every = list(pairwise((gap.from_ns, *inside, gap.to_ns)))
        silences = [(start, end) for start, end in every if end - start > FILLED_SILENCE_NS]
        if gap is not way.open:
            way.unfilled = [one for one in way.unfilled if one is not gap]
        for start, end in silences[:-1]:
            part = _Gap(gap.reason, start)
            part.status, part.to_ns, part.closed_by = "closed", end, "history"
            self._write(way, part)
            self._keep_unfilled(way, part)
        gap.from_ns, end = (silences or every)[-1]
        if end != gap.to_ns:
            gap.to_ns, gap.closed_by = end, "history"
        if not silences:
            gap.status = "filled"
        elif gap is not way.open:
            self._keep_unfilled(way, gap)
        self._write(way, gap, by_history=True)

    @staticmethod
    def _keep_unfilled(way: _Way, gap: _Gap) -> None:
        way.unfilled.append(gap)
        if len(way.unfilled) > UNFILLED_PER_WAY_MAX:
            del way.unfilled[0]

    def _write(self, way: _Way, gap: _Gap, *, by_history: bool = False) -> None:
        """A new revision, known from now on; what history makes of a gap within one plan is one revision."""
        plan = self._writer.plan
        if by_history and gap.written_at is not None and gap.written_at[0] == self._plan:
            at = gap.written_at[1]
            plan.gaps_opened[at] = self._row(way, gap, plan.gaps_opened[at][14])
            return
        if gap.rev >= 0:
            plan.gaps_closed.append((self._writer.known_ns, gap.position))
        gap.rev += 1
        gap.position = self._take_position()
        gap.gap = gap.gap or gap.position
        gap.written_at = (self._plan, len(plan.gaps_opened)) if by_history else None
        plan.gaps_opened.append(self._row(way, gap, self._writer.known_ns))

    @staticmethod
    def _row(way: _Way, gap: _Gap, known_ns: int) -> GapRow:
        return (
            gap.position, gap.gap, gap.rev, way.equipment, *way.key, gap.reason, gap.status, gap.from_ns,
            gap.to_ns, gap.closed_by, None, "", known_ns, MAX_NS,
        )  # fmt: skip

    def _take_position(self) -> int:
        position = self._writer.position
        self._writer.position += 1
        return position


def _believed(batch: SampleBatch, accepted: Sequence[Accepted], suspects: int) -> Sequence[int]:
    """Times of samples that are new and not suspect; or known, by another way: that it is there they show as well."""
    times = batch.times_ns
    if not suspects and len(accepted) == len(times):  # the common payload
        return times
    is_suspect = {at: suspect for at, _, _, suspect in accepted}
    latest_ns = batch.provenance.received_at_ns
    return [time_ns for at, time_ns in enumerate(times) if not is_suspect.get(at, time_ns > latest_ns)]
