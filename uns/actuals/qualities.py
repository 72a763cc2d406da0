"""A quality metric over one piece of a job: lowest, highest, last, mean weighted by time, time out of range.

A value holds from its sample to the next one; what held before the piece counts from its start on. A bad, stale or
null sample ends it; samples that are no finite number do the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from uns.actuals.evidence import is_believed, usable_value
from uns.enrichment.log import MetricRow

__all__ = ["QualityRun"]


class QualityRun(msgspec.Struct, kw_only=True):
    """What was measured so far; goes on with later samples."""

    low: float | None = None  # the declared range
    high: float | None = None
    lowest: int | float | None = None
    highest: int | float | None = None
    last: int | float | None = None
    held: int | float | None = None  # what holds now
    is_inherited: bool = False  # it held before the piece began
    since_ns: int = 0
    weighted: float = 0.0  # value times nanoseconds
    weight_ns: int = 0
    out_ns: int = 0
    samples: int = 0
    left_out: int = 0
    first_position: int = 0
    last_position: int = 0
    back_to_ns: int = 0
    read_to_ns: int = 0

    @classmethod
    def after(
        cls, held: MetricRow | None, limits: tuple[float, float] | None, *, from_ns: int, back_to_ns: int
    ) -> QualityRun:
        """A run that has read nothing yet; ``held`` is the last believed sample before it."""
        low, high = (None, None) if limits is None else limits
        run = cls(low=low, high=high, since_ns=from_ns, back_to_ns=back_to_ns, read_to_ns=from_ns)
        value = None if held is None else usable_value(held)
        if value is not None:
            run.held = run.last = run.lowest = run.highest = value
            run.is_inherited = True
        return run

    def advance(self, rows: Sequence[MetricRow]) -> None:
        """Take the next samples, in order of key."""
        for row in rows:
            value = usable_value(row)
            if self.is_inherited and is_believed(row):
                self._begin(row[0])
            if value is None:
                self.left_out += 1
                if is_believed(row):
                    self._hold(None, row[0])
                continue
            if value != self.held:
                self._hold(value, row[0])
            self.last = value
            if self.lowest is None or value < self.lowest:
                self.lowest = value
            if self.highest is None or value > self.highest:
                self.highest = value
            self.samples += 1
            position = row[5]
            self.last_position = max(self.last_position, position)
            if not self.first_position or position < self.first_position:
                self.first_position = position
        if rows:
            self.read_to_ns = rows[-1][0] + 1

    def until(self, until_ns: int) -> QualityRun:
        """What it tells if it ends there."""
        ended = msgspec.structs.replace(self)
        ended._hold(None, max(until_ns, self.since_ns))  # noqa: SLF001 - its own kind
        return ended

    def _begin(self, at_ns: int) -> None:
        """The first sample of the piece; what it replaces at the very start did not hold in the piece."""
        self.is_inherited = False
        if at_ns == self.since_ns:
            self.held = self.last = self.lowest = self.highest = None

    def _hold(self, value: float | None, at_ns: int) -> None:
        if self.held is not None:
            duration = at_ns - self.since_ns
            self.weighted += self.held * duration
            self.weight_ns += duration
            if self.low is not None and self.high is not None and not self.low <= self.held <= self.high:
                self.out_ns += duration
        self.held, self.since_ns = value, at_ns
