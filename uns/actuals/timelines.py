"""Where jobs ran at one equipment: the stretches of its context that name a job, laid over each other as revised."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

import msgspec

from uns.actuals.jobs import JobId

__all__ = ["JobTimeline", "Stretch"]


class Stretch(msgspec.Struct, frozen=True, array_like=True):
    """The same jobs and lots over [from_ns, to_ns) of one equipment. The first job is the one that records name."""

    equipment: str
    from_ns: int
    to_ns: int
    known_ns: int
    jobs: tuple[JobId, ...]
    lots: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Under which it is kept: stretches of one equipment do not overlap."""
        return f"stretch/{self.equipment}/{self.from_ns}"

    def says(self, other: Stretch) -> bool:
        """Whether another one says the same, of another time."""
        return self.jobs == other.jobs and self.lots == other.lots


class JobTimeline:
    """Stretches in order, without overlaps; holes are times without a job."""

    __slots__ = ("_starts", "_stretches")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stretches: list[Stretch] = []

    def __len__(self) -> int:
        return len(self._starts)

    def starting(self, from_ns: int) -> Stretch | None:
        """The stretch that begins exactly there."""
        at = bisect_left(self._starts, from_ns)
        return self._stretches[at] if at < len(self._starts) and self._starts[at] == from_ns else None

    def overlapping(self, lo: int, hi: int) -> list[Stretch]:
        """Those that hold somewhere in [lo, hi)."""
        first, last = self._range(lo, hi)
        return self._stretches[first:last]

    def add(self, stretch: Stretch) -> None:
        """Put in one that overlaps no other; in the place of one that begins there too."""
        at = bisect_left(self._starts, stretch.from_ns)
        if at < len(self._starts) and self._starts[at] == stretch.from_ns:
            self._stretches[at] = stretch
            return
        self._starts.insert(at, stretch.from_ns)
        self._stretches.insert(at, stretch)

    def remove(self, stretch: Stretch) -> None:
        """Take one out."""
        at = bisect_left(self._starts, stretch.from_ns)
        del self._starts[at], self._stretches[at]

    def lay(self, lo: int, hi: int, known_ns: int, new: Stretch | None) -> tuple[list[Stretch], list[Stretch]]:
        """Let ``new`` (or nothing) hold over [lo, hi); gives the stretches that are no more, and those that are new.

        ``known_ns`` of a stretch moves only where its ends do: a revision that repeats what was said is no news.
        """
        first, last = self._range(lo, hi)
        # Neighbours that say the same become one.
        if new is not None and first > 0 and self._touches(first - 1, new):
            first -= 1
        if new is not None and last < len(self._stretches) and self._touches(last, new):
            last += 1
        gone = self._stretches[first:last]
        if new is not None and len(gone) == 1 and gone[0].from_ns <= lo and gone[0].to_ns >= hi and gone[0].says(new):
            return [], []
        cut = [msgspec.structs.replace(s, known_ns=max(s.known_ns, known_ns)) for s in gone]
        come = _joined(
            [
                *(msgspec.structs.replace(s, to_ns=min(lo, s.to_ns)) for s in cut if s.from_ns < lo),
                *(() if new is None else (new,)),
                *(msgspec.structs.replace(s, from_ns=max(hi, s.from_ns)) for s in cut if s.to_ns > hi),
            ]
        )
        self._starts[first:last] = [stretch.from_ns for stretch in come]
        self._stretches[first:last] = come
        return gone, come

    def _range(self, lo: int, hi: int) -> tuple[int, int]:
        first = bisect_right(self._starts, lo) - 1
        if first < 0 or self._stretches[first].to_ns <= lo:
            first += 1
        return first, max(bisect_left(self._starts, hi), first)

    def _touches(self, at: int, new: Stretch) -> bool:
        stretch = self._stretches[at]
        return stretch.says(new) and new.from_ns <= stretch.to_ns and stretch.from_ns <= new.to_ns


def _joined(stretches: list[Stretch]) -> list[Stretch]:
    found: list[Stretch] = []
    for stretch in stretches:
        last = found[-1] if found else None
        if last is not None and last.to_ns == stretch.from_ns and last.says(stretch):
            known_ns = max(last.known_ns, stretch.known_ns)
            found[-1] = msgspec.structs.replace(last, to_ns=stretch.to_ns, known_ns=known_ns)
        else:
            found.append(stretch)
    return found
