"""How long a state metric said what: seconds of machine, set-up and labour time in one piece of a job.

A state holds from its sample to the next one. What held before the piece counts from its start on; over a bad, stale
or null sample nothing is counted. A sample of a suspect clock is left out: nobody knows when it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from uns.actuals.evidence import is_believed
from uns.enrichment.log import MetricRow
from uns.enrichment.samples import Quality
from uns.namespace.model import MetricContract, TimeKind

__all__ = ["StateRun", "kinds_of"]


def kinds_of(metric: MetricContract) -> dict[int | str, TimeKind]:
    """Which value of a state metric is which kind of time."""
    return {value: kind for kind, values in (metric.times or {}).items() for value in values}


class StateRun(msgspec.Struct, kw_only=True):
    """Time spent so far; goes on with later samples."""

    spent_ns: dict[TimeKind, int] = {}
    kind: TimeKind | None = None  # of what holds now
    since_ns: int = 0
    samples: int = 0
    left_out: int = 0
    first_position: int = 0
    last_position: int = 0
    back_to_ns: int = 0
    read_to_ns: int = 0

    @classmethod
    def after(
        cls, held: MetricRow | None, kinds: Mapping[int | str, TimeKind], *, from_ns: int, back_to_ns: int
    ) -> StateRun:
        """A run that has read nothing yet; ``held`` is the last believed sample before it."""
        kind = None if held is None else _kind(held, kinds)
        return cls(kind=kind, since_ns=from_ns, back_to_ns=back_to_ns, read_to_ns=from_ns)

    def advance(self, rows: Sequence[MetricRow], kinds: Mapping[int | str, TimeKind]) -> None:
        """Take the next samples, in order of key."""
        for row in rows:
            if not is_believed(row):
                self.left_out += 1
                continue
            if row[3] >= Quality.BAD or row[2] is None:
                self.left_out += 1
            else:
                self.samples += 1
                self.first_position = min(self.first_position or row[5], row[5])
                self.last_position = max(self.last_position, row[5])
            kind = _kind(row, kinds)
            if kind != self.kind:
                self._spend(row[0])
                self.kind, self.since_ns = kind, row[0]
        if rows:
            self.read_to_ns = rows[-1][0] + 1

    def spent(self, until_ns: int) -> dict[TimeKind, int]:
        """Nanoseconds by kind, up to a time."""
        found = dict(self.spent_ns)
        if self.kind is not None and until_ns > self.since_ns:
            found[self.kind] = found.get(self.kind, 0) + until_ns - self.since_ns
        return found

    def _spend(self, until_ns: int) -> None:
        if self.kind is not None:
            self.spent_ns[self.kind] = self.spent_ns.get(self.kind, 0) + until_ns - self.since_ns


def _kind(row: MetricRow, kinds: Mapping[int | str, TimeKind]) -> TimeKind | None:
    value = row[2]
    if row[3] >= Quality.BAD or value is None or isinstance(value, float):
        return None
    return kinds.get(value.strip() if isinstance(value, str) else value)
