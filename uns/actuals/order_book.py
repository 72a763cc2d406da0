"""What the board of orders knows of jobs beyond a job book, and how totals go on without looking back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from uns.actuals.book import JobBook
from uns.actuals.jobs import JobId, JobPiece, JobView
from uns.actuals.totals import JobRuns
from uns.context.levels import DEFINITION_STATES, NEVER_STATES
from uns.enrichment.log import MetricRow, RecordReader
from uns.namespace.model import TopicTree

__all__ = ["OrderBook", "RecentReader", "lean"]


class OrderBook(JobBook):
    """A book that also tells what was planned and never ran, and where a lot was."""

    def planned(self, job: JobId) -> JobView | None:
        """A job of which nothing is known but a plan, or that it will never be; None for any other."""
        facts = self._statements.of(job)
        standing = [fact for fact in facts if not fact.deleted]
        if not standing or any(fact.state not in DEFINITION_STATES | NEVER_STATES for fact in standing):
            return None
        return JobView(
            job=job,
            position=self.position,
            pieces=(),
            start_ns=None,
            end_ns=None,
            known_ns=0,
            state=self._statements.state_without_run(facts),
            facts=facts,
            definition=self._statements.definition(facts),
        )

    def pieces_of_lot(self, lot: str) -> dict[JobId, list[JobPiece]]:
        """Where a lot was while jobs ran, by job; neighbours are one piece."""
        found: dict[JobId, list[JobPiece]] = {}
        for stretch in sorted(self._with_lot.get(lot, ()), key=lambda one: (one.equipment, one.from_ns)):
            shared = len(stretch.jobs) > 1
            for job in stretch.jobs:
                pieces = found.setdefault(job, [])
                last = pieces[-1] if pieces else None
                before = None if last is None else (last.equipment, last.to_ns, last.shared)
                if last is not None and before == (stretch.equipment, stretch.from_ns, shared):
                    pieces[-1] = JobPiece(last.equipment, last.from_ns, stretch.to_ns, shared)
                else:
                    pieces.append(JobPiece(stretch.equipment, stretch.from_ns, stretch.to_ns, shared))
        return found


class RecentReader:
    """A reader that gives what running totals go on with from memory, and reads anything else.

    A run has read every sample up to ``runs.position``, and is gone if one came between those that it has read. So all
    that it may ask for, from where it stands on, is in memory.
    """

    def __init__(
        self, reader: RecordReader, recent: Mapping[str, Mapping[str, Sequence[MetricRow]]], runs: JobRuns
    ) -> None:
        self._reader = reader
        self._recent = recent
        self._after = runs.position
        self._standing = {
            (*key.split("\t")[:2], run.read_to_ns)
            for group in (runs.counters, runs.states, runs.qualities)
            for key, run in group.items()
        }
        self.intervals = reader.intervals
        self.samples = reader.samples
        self.last_before = reader.last_before
        self.rows_before = reader.rows_before
        self.facts = reader.facts

    def rows(
        self, equipment: str, metric: str, from_ns: int, to_ns: int, *, up_to: int
    ) -> Iterator[Sequence[MetricRow]]:
        """As a record reader answers."""
        if (equipment, metric, from_ns) not in self._standing:
            yield from self._reader.rows(equipment, metric, from_ns, to_ns, up_to=up_to)
            return
        recent = self._recent.get(equipment, {}).get(metric, ())
        found = [row for row in recent if from_ns <= row[0] < to_ns and self._after < row[5] <= up_to]
        if found:
            yield sorted(found, key=_by_key)


def lean(tree: TopicTree) -> TopicTree:
    """A tree with the metrics alone that these documents tell: what else is measured costs nothing."""
    classes = {
        name: msgspec.structs.replace(
            one,
            metrics={
                m.name: m for m in one.metrics.values() if (m.role == "counter" and m.counts) or m.times is not None
            },
        )
        for name, one in tree.classes.items()
    }
    return msgspec.structs.replace(tree, classes=classes)


def _by_key(row: MetricRow) -> tuple[int, int]:
    return row[0], row[1]
