"""Rows of one metric, as a reader gives them; and a reader over rows in memory."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any

from uns.enrichment.log import MetricRow
from uns.enrichment.plan import FLAG_CLOCK_SUSPECT
from uns.enrichment.samples import Quality

S = 1_000_000_000
GOOD_Q, UNCERTAIN, BAD, STALE = (int(quality) for quality in Quality)
SUSPECT = FLAG_CLOCK_SUSPECT


def row(
    seconds: float, value: Any, *, quality: int = 0, ordinal: int = 0, flags: int = 0, position: int = 0
) -> MetricRow:
    """A sample ``seconds`` after the start; its position follows its time unless it is said."""
    return (round(seconds * S), ordinal, value, quality, flags, position or round(seconds * 10) + 1_000 + ordinal)


def rows(*values: Any, every: float = 1, start: float = 0) -> list[MetricRow]:
    """Samples ``every`` so many seconds; a row stands for itself, None is a null."""
    return [value if isinstance(value, tuple) else row(start + at * every, value) for at, value in enumerate(values)]


class MemoryReader:
    """The two questions that totals ask, over rows in memory, however they came there."""

    def __init__(self, samples: dict[tuple[str, str], Sequence[MetricRow]], *, chunk: int = 5_000) -> None:
        self.samples = {key: sorted(found) for key, found in samples.items()}
        self.chunk = chunk
        self.read = 0

    def rows(
        self, equipment: str, metric: str, from_ns: int, to_ns: int, *, up_to: int
    ) -> Iterator[Sequence[MetricRow]]:
        found = [r for r in self.samples.get((equipment, metric), ()) if from_ns <= r[0] < to_ns and r[5] <= up_to]
        for at in range(0, len(found), self.chunk):
            self.read += len(found[at : at + self.chunk])
            yield found[at : at + self.chunk]

    def rows_before(
        self, equipment: str, metric: str, time_ns: int, *, not_before_ns: int, up_to: int
    ) -> Generator[MetricRow, None, None]:
        for r in reversed(self.samples.get((equipment, metric), ())):
            if not_before_ns <= r[0] < time_ns and r[5] <= up_to:
                yield r
