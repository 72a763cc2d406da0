"""Context intervals: the present tiling of time per equipment, and how a change of context revises it.

A tiling covers all time, from MIN_NS to MAX_NS. A revision closes the rows that changed and opens others:

    old   [────────── A, rev 0 ──────────)
    new   [── A, rev 0 ──)[── B, rev 1 ──)    B touches recorded samples: rev 1, and a restatement says so
    new   [── A, rev 0 ──)[── B, rev 0 ──)    it touches none: nobody has heard of it yet
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

import msgspec

from uns.context.timeline import ContextBody, Segment
from uns.context.times import MAX_NS, MIN_NS

__all__ = ["Context", "ContextInterval", "Revision", "Tiling", "context_of", "plan_revision"]

Context = tuple[str, str, str | None]  # JSON of the body, status, work order

_body_decoder = msgspec.json.Decoder(ContextBody)


def context_of(segment: Segment) -> Context:
    """What an interval keeps of a segment."""
    return segment.text, segment.body.status, segment.body.work_order


class ContextInterval:
    """One current row of ``context_intervals``. All of them are in memory, so each keeps only text."""

    __slots__ = (
        "announced",
        "from_ns",
        "known_from_ns",
        "position",
        "reason",
        "rev",
        "status",
        "text",
        "to_ns",
        "work_order",
    )

    def __init__(self, from_ns: int, to_ns: int, *, rev: int, context: Context, reason: str) -> None:
        self.from_ns = from_ns
        self.to_ns = to_ns
        self.rev = rev
        self.text, self.status, self.work_order = context
        self.reason = reason
        self.position = 0  # both are set when the row is opened
        self.known_from_ns = 0
        self.announced: bool | None = False  # whether _event/unresolved went out; None: ask the record log

    @property
    def context(self) -> Context:
        """What it says, for another interval that says the same."""
        return self.text, self.status, self.work_order

    @property
    def unresolved(self) -> bool:
        """Whether samples in it lack what their class requires."""
        return self.status == "unresolved"

    @property
    def body(self) -> ContextBody:
        """The context as a struct, made anew at each call."""
        return _body_decoder.decode(self.text)


class Tiling:
    """The current intervals of one equipment, in order and without holes."""

    __slots__ = ("_last", "_starts", "intervals")

    def __init__(self, intervals: Sequence[ContextInterval]) -> None:
        self.intervals = list(intervals)
        self._starts = [interval.from_ns for interval in intervals]
        self._last = self.intervals[-1]

    def at(self, time_ns: int) -> ContextInterval:
        """The interval that holds a time; the one asked for last answers at once."""
        last = self._last
        if last.from_ns <= time_ns < last.to_ns:
            return last
        self._last = self.intervals[max(bisect_right(self._starts, time_ns) - 1, 0)]
        return self._last

    def overlapping(self, lo: int, hi: int) -> tuple[int, int]:
        """Index range of the intervals that overlap [lo, hi)."""
        first = max(bisect_right(self._starts, lo) - 1, 0)
        return first, max(bisect_right(self._starts, hi - 1), first + 1)

    def replace(self, first: int, last: int, intervals: Sequence[ContextInterval]) -> None:
        """Put other intervals over the same time in place of [first, last)."""
        self.intervals[first:last] = intervals
        self._starts[first:last] = [interval.from_ns for interval in intervals]
        self._last = self.intervals[min(first, len(self.intervals) - 1)]

    def is_whole(self) -> bool:
        """Whether all time is covered exactly once; what a store hands back is checked by it."""
        at = MIN_NS
        for interval in self.intervals:
            if interval.from_ns != at or interval.to_ns <= at:
                return False
            at = interval.to_ns
        return at == MAX_NS


class Revision:
    """One interval to open. ``old`` and ``samples`` are set where recorded samples get another context."""

    __slots__ = ("interval", "old", "samples")

    def __init__(self, interval: ContextInterval, old: ContextInterval | None, samples: int) -> None:
        self.interval = interval
        self.old = old
        self.samples = samples


class _Piece:
    """A stretch with one old row's text and one new text; ``old`` is its row with the highest rev."""

    __slots__ = ("from_ns", "old", "segment", "to_ns")

    def __init__(self, from_ns: int, to_ns: int, old: ContextInterval, segment: Segment | None) -> None:
        self.from_ns = from_ns
        self.to_ns = to_ns
        self.old = old
        self.segment = segment  # None: nothing changes here


def plan_revision(
    tiling: Tiling, segments: Sequence[Segment], reason: str, count: Callable[[int, int], int]
) -> tuple[list[ContextInterval], list[Revision]]:
    """Lay ``segments`` over a tiling: which rows end, and which begin in their place.

    The tiling is changed. ``count`` tells how many recorded samples lie in [from, to).
    """
    first, last = tiling.overlapping(segments[0].from_ns, segments[-1].to_ns)
    rows = tiling.intervals[first:last]
    cutter = _Cutter()
    cutter.cut(rows, segments)
    changed = cutter.changed
    if not changed:
        return [], []
    closed = [row for row in rows if id(row) in changed]
    kept: list[ContextInterval] = []
    opened: list[Revision] = []
    free: Revision | None = None  # the last opened one, while no sample lies in it: it may grow
    for piece in cutter.pieces:
        if piece.segment is None:
            free = None
            if id(piece.old) in changed:
                opened.append(_remainder(piece))
                kept.append(opened[-1].interval)
            else:
                kept.append(piece.old)
            continue
        samples = count(piece.from_ns, piece.to_ns)
        if samples == 0 and free is not None and free.interval.text == piece.segment.text:
            free.interval.to_ns = piece.to_ns
            continue
        rev = piece.old.rev + 1 if samples else 0
        interval = ContextInterval(
            piece.from_ns, piece.to_ns, rev=rev, context=context_of(piece.segment), reason=reason
        )
        opened.append(Revision(interval, piece.old if samples else None, samples))
        kept.append(interval)
        free = opened[-1] if samples == 0 else None
    tiling.replace(first, last, kept)
    return closed, opened


def _remainder(piece: _Piece) -> Revision:
    """What is left of a row that was cut: same revision, same words."""
    old = piece.old
    interval = ContextInterval(piece.from_ns, piece.to_ns, rev=old.rev, context=old.context, reason=old.reason)
    interval.announced = old.announced
    return Revision(interval, None, 0)


class _Cutter:
    """Cuts rows and segments along each other; neighbours that change from the same to the same are one piece."""

    def __init__(self) -> None:
        self.pieces: list[_Piece] = []
        self.changed: set[int] = set()  # identities of the rows in which something changes

    def cut(self, rows: Sequence[ContextInterval], segments: Sequence[Segment]) -> None:
        lo, hi = segments[0].from_ns, segments[-1].to_ns
        at = 0
        for row in rows:
            if row.from_ns < lo:
                self._same(row.from_ns, min(lo, row.to_ns), row)
            while at < len(segments):
                segment = segments[at]
                start, end = max(row.from_ns, segment.from_ns), min(row.to_ns, segment.to_ns)
                if start < end and segment.text == row.text:
                    self._same(start, end, row)
                elif start < end:
                    self._other(start, end, row, segment)
                if segment.to_ns > row.to_ns:
                    break
                at += 1
            if row.to_ns > hi:
                self._same(max(row.from_ns, hi), row.to_ns, row)

    def _same(self, from_ns: int, to_ns: int, row: ContextInterval) -> None:
        before = self.pieces[-1] if self.pieces else None
        if before is not None and before.segment is None and before.old is row:
            before.to_ns = to_ns
        else:
            self.pieces.append(_Piece(from_ns, to_ns, row, None))

    def _other(self, from_ns: int, to_ns: int, row: ContextInterval, segment: Segment) -> None:
        self.changed.add(id(row))
        before = self.pieces[-1] if self.pieces else None
        if (
            before is not None
            and before.segment is not None
            and before.segment.text == segment.text
            and before.old.text == row.text
        ):
            before.to_ns = to_ns
            if row.rev > before.old.rev:
                before.old = row
        else:
            self.pieces.append(_Piece(from_ns, to_ns, row, segment))
