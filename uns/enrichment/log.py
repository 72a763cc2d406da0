"""The record log as those read it who come after the enricher: batches by cursor, and questions."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Protocol

import msgspec

from uns.enrichment.plan import FactRow, IntervalRow
from uns.sparkplug.datatypes import Value

__all__ = ["LogBatch", "LogSample", "MetricRow", "RecordReader", "Touched"]


class LogSample(msgspec.Struct, frozen=True, gc=False):
    """One recorded sample."""

    position: int
    equipment: str
    metric: str
    type: str
    unit: str | None
    source_time_ns: int
    ordinal: int
    value: Value
    quality: int  # of uns.enrichment.samples.Quality
    flags: int


class Touched(msgspec.Struct, frozen=True, gc=False):
    """Where samples of one metric were added: source times in [from_ns, to_ns), whatever lies between."""

    equipment: str
    metric: str
    from_ns: int
    to_ns: int
    samples: int
    first_position: int
    last_position: int


class LogBatch(msgspec.Struct, frozen=True, kw_only=True):
    """What the record log has beyond the cursor: positions in (``after``, ``to``] and newly accepted facts.

    ``samples`` only where they are asked for; ``touched`` always: one entry a metric, by first position.
    ``intervals`` are revisions of context, restatements included (``rev`` > 0); rows as INTERVAL_COLUMNS, in order of
    position: each says what holds over its time from now on. ``facts`` are rows as FACT_COLUMNS in order of knowledge;
    they may run ahead of positions while a bridge catches up, and one may come again: (source, id, source_rev) tells.
    """

    after: int
    to: int
    samples: Sequence[LogSample] = ()
    touched: Sequence[Touched] = ()
    intervals: Sequence[IntervalRow] = ()
    facts: Sequence[FactRow] = ()
    facts_after_ns: int = 0  # these facts became known in (facts_after_ns, facts_to_ns]
    facts_to_ns: int = 0

    def is_empty(self) -> bool:
        """Whether there is nothing new."""
        return self.to == self.after and not self.facts


# A sample of a metric that is known, as a plain tuple, because a million of them are read at once:
# source_time_ns, ordinal, value, quality, flags, position. The value is int (Boolean too), float, None, or text: what a
# text metric said, an integer beyond 64 bits, or NaN and the infinities.
MetricRow = tuple[int, int, int | float | str | None, int, int, int]


class RecordReader(Protocol):
    """Questions to the record log. Each answer is of one commit; blocks on the disk.

    ``up_to`` leaves out samples of later positions, so that an answer is a function of the log up to there.
    Iterators stream: consume or close one before asking again.
    """

    def intervals(self, equipment: str, from_ns: int, to_ns: int) -> list[IntervalRow]:
        """The current context intervals that touch [from, to), oldest first."""

    def samples(self, equipment: str, metrics: Sequence[str], from_ns: int, to_ns: int) -> Iterator[LogSample]:
        """Samples of [from, to) in order of source time, then ordinal."""

    def last_before(self, equipment: str, metric: str, time_ns: int) -> LogSample | None:
        """The newest sample before ``time_ns``."""

    def rows(
        self, equipment: str, metric: str, from_ns: int, to_ns: int, *, up_to: int
    ) -> Iterator[Sequence[MetricRow]]:
        """Samples of one metric in [from, to), in chunks, in order of source time, then ordinal."""

    def rows_before(
        self, equipment: str, metric: str, time_ns: int, *, not_before_ns: int, up_to: int
    ) -> Generator[MetricRow, None, None]:
        """Samples of one metric in [not_before, time), the newest first."""

    def facts(self, *, kind: str | None = None, equipment: str | None = None) -> list[FactRow]:
        """Accepted fact messages in order of knowledge."""
