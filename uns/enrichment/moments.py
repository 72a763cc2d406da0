"""All samples of one series at one time, by ordinal, so that finding a place costs no more the more there are."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable

from uns.enrichment.samples import Content

__all__ = ["DUPLICATE", "Moment", "Run"]

DUPLICATE = -1

Run = tuple[int, int]  # every ordinal in [first, below) is taken


class Moment(dict[int, Content]):
    """What stands at each ordinal. Add with :meth:`put` only; nothing is ever taken away."""

    __slots__ = ("_places", "run")

    _places: dict[Content, list[int]] | None  # ordinals of each content, ascending; made when first asked for
    run: Run  # the longest run of taken ordinals that was met

    def __init__(self, found: Iterable[tuple[int, Content]] = ()) -> None:
        super().__init__(found)
        self._places = None
        self.run = (0, 0)

    def put(self, ordinal: int, content: Content) -> None:
        """Enter a sample; one that is known already changes nothing."""
        if ordinal in self:
            return
        self[ordinal] = content
        if self._places is not None:
            insort(self._places.setdefault(content, []), ordinal)

    def holds(self, content: Content, first: int, below: int) -> bool:
        """Whether a content stands at an ordinal in [first, below)."""
        if self._places is None:
            self._places = {}
            for ordinal in sorted(self):
                self._places.setdefault(self[ordinal], []).append(ordinal)
        places = self._places.get(content, ())
        at = bisect_left(places, first)
        return at < len(places) and places[at] < below

    def settle(self, start: int, content: Content) -> int:
        """The first free ordinal from ``start`` on, or DUPLICATE where the content stands before it."""
        if start not in self:
            return start
        free = self._next_free(start)
        return DUPLICATE if self.holds(content, start, free) else free

    def _next_free(self, start: int) -> int:
        lo, hi = self.run
        free = hi if lo <= start < hi else start
        while free in self:
            free += 1
        if lo <= start <= hi:
            self.run = lo, max(free, hi)
        elif free - start > hi - lo:
            self.run = start, free
        return free
