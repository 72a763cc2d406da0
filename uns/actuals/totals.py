"""What a job did: its counters, states, quality metrics and lots over all its pieces, up to one position of the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from decimal import Decimal
from typing import Generic, TypeVar

import msgspec

from uns.actuals.book import Leaning, is_actual
from uns.actuals.counters import CounterRules, CounterRun
from uns.actuals.evidence import EXACT, SampleRef, Step, StepKind, is_believed, plain, ref_of, usable_value
from uns.actuals.jobs import JobFact, JobId, JobPiece, JobView, LotUse
from uns.actuals.qualities import QualityRun
from uns.actuals.states import StateRun, kinds_of
from uns.context.times import MAX_NS, MIN_NS, later
from uns.context.words import ResponseState
from uns.enrichment.log import MetricRow, RecordReader, Touched
from uns.namespace.model import MetricContract, TimeKind, TopicTree

__all__ = [
    "EVIDENCE_PIECES_MAX",
    "LOOK_BACK_NS",
    "CounterActual",
    "CounterEvidence",
    "JobActuals",
    "JobRuns",
    "QualityActual",
    "TimeActual",
    "job_actuals",
]

# How far before a piece its baseline is looked for: a counter that reports by exception is silent over a holiday.
LOOK_BACK_NS = 7 * 86_400_000_000_000
# Pieces of a job whose evidence is kept with each counter; the others are counted, and count.
EVIDENCE_PIECES_MAX = 32


class CounterEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What a counter counted in one piece of a job, and the samples that show it."""

    from_ns: int
    to_ns: int
    quantity: Decimal
    baseline: SampleRef | None  # the last usable sample before the piece; None: the first one is it, and counts 0
    first: SampleRef | None  # of the piece; None: it has no usable sample
    last: SampleRef | None
    samples: int
    steps: tuple[Step, ...] = ()  # those that are not plain, the first ones
    shared: bool = False


class CounterActual(msgspec.Struct, frozen=True, kw_only=True):
    """What one counter counted for a job. Without ``counts`` it is a quantity by its own name (energy)."""

    equipment: str
    metric: str
    counts: str | None  # good, scrap, rework
    unit: str | None
    quantity: Decimal
    shared: Decimal  # the part of it that was counted while other jobs ran there: it counts to each of them
    uncertain: Decimal  # the part counted over a silence that began before a piece: some may belong to what ran before
    samples: int
    left_out: int  # bad, stale, null, not finite, of a suspect clock
    steps: Mapping[StepKind, int]  # how many were not plain
    evidence: tuple[CounterEvidence, ...]
    pieces: int  # how many there are, in the evidence or not


class TimeActual(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of time at one equipment."""

    equipment: str
    metric: str
    kind: TimeKind
    seconds: Decimal


class QualityActual(msgspec.Struct, frozen=True, kw_only=True):
    """One quality metric over the job. ``mean`` is weighted by time; None where nothing was measured."""

    equipment: str
    metric: str
    unit: str | None
    low: float | None
    high: float | None
    samples: int
    left_out: int
    lowest: float | None
    mean: float | None
    highest: float | None
    last: float | None
    out_of_range_s: Decimal | None  # None without a declared range


class EquipmentTime(msgspec.Struct, frozen=True, kw_only=True):
    """How long equipment ran the job."""

    equipment: str
    seconds: Decimal


class JobActuals(msgspec.Struct, frozen=True, kw_only=True):
    """What a job did, as the log tells it up to ``position``."""

    job: JobId
    position: int
    start_ns: int | None
    end_ns: int | None  # None while it runs
    until_ns: int | None  # up to here times are counted: its end, or the newest sample
    state: ResponseState
    counters: tuple[CounterActual, ...]
    times: tuple[TimeActual, ...]
    quality: tuple[QualityActual, ...]
    equipment: tuple[EquipmentTime, ...]
    lots: tuple[LotUse, ...]
    definition: JobFact | None
    leanings: tuple[Leaning, ...]  # for JobBook.note: samples before its pieces on which it rests
    first_position: int  # of the samples behind it, baselines included; 0 and 0 where there are none
    last_position: int

    def total(self, counts: str) -> tuple[Decimal, str] | None:
        """(quantity, unit) of all counters that count ``counts``; None where there is none, or their units differ."""
        found = [counter for counter in self.counters if counter.counts == counts]
        units = {counter.unit or "" for counter in found}
        if len(units) != 1:
            return None
        total = Decimal(0)
        for counter in found:
            total = EXACT.add(total, counter.quantity)
        return plain(total), units.pop()

    def seconds(self, kind: TimeKind) -> Decimal | None:
        """Time of one kind at all equipment; None where no metric tells it."""
        found = [time.seconds for time in self.times if time.kind == kind]
        return sum(found, Decimal(0)) if found else None


_Run = TypeVar("_Run", CounterRun, StateRun, QualityRun)


class JobRuns(msgspec.Struct, kw_only=True):
    """How far the totals of a running job have been made, so that they go on with new samples only. Small.

    Tell it every :class:`Touched` of the batches that follow; give it to :func:`job_actuals`.
    """

    position: int = 0
    counters: dict[str, CounterRun] = {}
    states: dict[str, StateRun] = {}
    qualities: dict[str, QualityRun] = {}

    def receive_touched(self, touched: Touched) -> None:
        """Forget what was made from samples between which others came; they are read again."""
        if touched.last_position <= self.position:
            return
        prefix = _key(touched.equipment, touched.metric, "")
        for runs in (self.counters, self.states, self.qualities):
            late = [
                key
                for key, run in runs.items()
                if key.startswith(prefix) and touched.from_ns < run.read_to_ns and touched.to_ns > run.back_to_ns
            ]
            for key in late:
                del runs[key]


def job_actuals(
    tree: TopicTree, reader: RecordReader, view: JobView, *, until_ns: int | None = None, runs: JobRuns | None = None
) -> JobActuals:
    """The totals of a job at the view's position, read from the record log.

    ``until_ns``: where times of a piece that has not ended end; None: at the newest sample of the job. ``runs`` from an
    earlier call are gone on with and brought up to date.
    """
    return _Totals(tree, reader, view, JobRuns() if runs is None else runs).make(until_ns)


class _Pieces(Generic[_Run]):
    """The runs of one metric, by piece."""

    def __init__(self, equipment: str, metric: MetricContract) -> None:
        self.equipment = equipment
        self.metric = metric
        self.runs: list[tuple[JobPiece, _Run]] = []


_Group = _Pieces[CounterRun] | _Pieces[StateRun] | _Pieces[QualityRun]


class _Totals:
    def __init__(self, tree: TopicTree, reader: RecordReader, view: JobView, runs: JobRuns) -> None:
        self._tree = tree
        self._reader = reader
        self._view = view
        self._runs = runs
        self._counters: list[_Pieces[CounterRun]] = []
        self._states: list[_Pieces[StateRun]] = []
        self._qualities: list[_Pieces[QualityRun]] = []

    def make(self, until_ns: int | None) -> JobActuals:
        view = self._view
        by_equipment: dict[str, list[JobPiece]] = {}
        for piece in view.pieces:
            by_equipment.setdefault(piece.equipment, []).append(piece)
        for equipment, pieces in by_equipment.items():
            place = self._tree.equipment.get(equipment)
            metrics = self._tree.classes[place.class_name].metrics if place and place.class_name else {}
            for metric in metrics.values():
                if is_actual(metric):
                    self._read(equipment, metric, pieces)
        self._keep()
        if until_ns is None:
            until_ns = view.end_ns if view.end_ns is not None else self._newest()
        positions = self._positions()
        return JobActuals(
            job=view.job,
            position=view.position,
            start_ns=view.start_ns,
            end_ns=view.end_ns,
            until_ns=until_ns,
            state=view.state,
            counters=tuple(_counter(found) for found in self._counters),
            times=tuple(time for found in self._states for time in _times(found, until_ns)),
            quality=tuple(_quality(found, until_ns) for found in self._qualities),
            equipment=tuple(
                EquipmentTime(equipment=equipment, seconds=_seconds(sum(_length(piece, until_ns) for piece in pieces)))
                for equipment, pieces in by_equipment.items()
            ),
            lots=view.lots,
            definition=view.definition,
            leanings=tuple(
                Leaning(group.equipment, group.metric.name, run.back_to_ns, piece.from_ns)
                for group in self._groups()
                for piece, run in group.runs
            ),
            first_position=min(positions, default=0),
            last_position=max(positions, default=0),
        )

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _read(self, equipment: str, metric: MetricContract, pieces: Sequence[JobPiece]) -> None:
        if metric.role == "counter":
            self._counters.append(self._count(equipment, metric, pieces))
        if metric.times is not None:
            self._states.append(self._spend(equipment, metric, pieces))
        if metric.role == "quality":
            self._qualities.append(self._measure(equipment, metric, pieces))

    def _count(self, equipment: str, metric: MetricContract, pieces: Sequence[JobPiece]) -> _Pieces[CounterRun]:
        rules = CounterRules.of(metric)

        def begin(piece: JobPiece) -> CounterRun:
            row, back_to_ns, is_broken = self._before(equipment, metric.name, piece.from_ns, _is_usable)
            value = None if row is None else usable_value(row)
            ref = None if row is None or value is None else ref_of(row, value)
            return CounterRun.after(ref, from_ns=piece.from_ns, back_to_ns=back_to_ns, is_broken=is_broken)

        found: _Pieces[CounterRun] = _Pieces(equipment, metric)
        for piece in pieces:
            run = self._run(self._runs.counters, equipment, metric.name, piece, begin)
            for rows in self._rows(equipment, metric.name, run.read_to_ns, piece.to_ns):
                run.advance(rows, rules)
            found.runs.append((piece, run))
        return found

    def _spend(self, equipment: str, metric: MetricContract, pieces: Sequence[JobPiece]) -> _Pieces[StateRun]:
        kinds = kinds_of(metric)

        def begin(piece: JobPiece) -> StateRun:
            row, back_to_ns, _ = self._before(equipment, metric.name, piece.from_ns, is_believed)
            return StateRun.after(row, kinds, from_ns=piece.from_ns, back_to_ns=back_to_ns)

        found: _Pieces[StateRun] = _Pieces(equipment, metric)
        for piece in pieces:
            run = self._run(self._runs.states, equipment, metric.name, piece, begin)
            for rows in self._rows(equipment, metric.name, run.read_to_ns, piece.to_ns):
                run.advance(rows, kinds)
            found.runs.append((piece, run))
        return found

    def _measure(self, equipment: str, metric: MetricContract, pieces: Sequence[JobPiece]) -> _Pieces[QualityRun]:
        def begin(piece: JobPiece) -> QualityRun:
            row, back_to_ns, _ = self._before(equipment, metric.name, piece.from_ns, is_believed)
            return QualityRun.after(row, metric.range, from_ns=piece.from_ns, back_to_ns=back_to_ns)

        found: _Pieces[QualityRun] = _Pieces(equipment, metric)
        for piece in pieces:
            run = self._run(self._runs.qualities, equipment, metric.name, piece, begin)
            for rows in self._rows(equipment, metric.name, run.read_to_ns, piece.to_ns):
                run.advance(rows)
            found.runs.append((piece, run))
        return found

    def _run(
        self, runs: dict[str, _Run], equipment: str, metric: str, piece: JobPiece, begin: Callable[[JobPiece], _Run]
    ) -> _Run:
        """The run of a piece to go on with; a new one where there is none, or it has read beyond the piece."""
        key = _key(equipment, metric, str(piece.from_ns))
        run = runs.get(key)
        if run is None or run.read_to_ns > piece.to_ns:
            run = runs[key] = begin(piece)
        return run

    def _rows(self, equipment: str, metric: str, from_ns: int, to_ns: int) -> Iterator[Sequence[MetricRow]]:
        return self._reader.rows(equipment, metric, from_ns, to_ns, up_to=self._view.position)

    def _before(
        self, equipment: str, metric: str, from_ns: int, fits: Callable[[MetricRow], bool]
    ) -> tuple[MetricRow | None, int, bool]:
        """(the newest row before a time that fits, from where on samples would change that, rows that did not fit)."""
        limit_ns = later(from_ns, -LOOK_BACK_NS)
        skipped = False
        rows = self._reader.rows_before(equipment, metric, from_ns, not_before_ns=limit_ns, up_to=self._view.position)
        with closing(rows):
            for row in rows:
                if fits(row):
                    return row, row[0], skipped
                skipped = True
        return None, limit_ns, skipped

    def _keep(self) -> None:
        """Forget runs of pieces that are no more."""
        used = {
            _key(group.equipment, group.metric.name, str(piece.from_ns))
            for group in self._groups()
            for piece, _ in group.runs
        }
        for runs in (self._runs.counters, self._runs.states, self._runs.qualities):
            for key in [key for key in runs if key not in used]:
                del runs[key]
        self._runs.position = self._view.position

    def _groups(self) -> list[_Group]:
        return [*self._counters, *self._states, *self._qualities]

    def _newest(self) -> int | None:
        """The newest sample that was read; the start of the job where there is none."""
        found = [
            run.read_to_ns - 1
            for group in self._groups()
            for piece, run in group.runs
            if run.read_to_ns > piece.from_ns
        ]
        return max(found, default=self._view.start_ns)

    def _positions(self) -> list[int]:
        found: list[int] = []
        for group in self._groups():
            for _, run in group.runs:
                if run.first_position:
                    found += (run.first_position, run.last_position)
        found += [
            run.baseline.position for group in self._counters for _, run in group.runs if run.baseline is not None
        ]
        return found


# ── results ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _counter(found: _Pieces[CounterRun]) -> CounterActual:
    metric, rules = found.metric, CounterRules.of(found.metric)
    quantity = shared = uncertain = Decimal(0)
    steps: dict[StepKind, int] = {}
    evidence: list[CounterEvidence] = []
    for piece, run in found.runs:
        counted = run.quantity(rules)
        quantity = EXACT.add(quantity, counted)
        uncertain = EXACT.add(uncertain, run.uncertain)
        if piece.shared:
            shared = EXACT.add(shared, counted)
        for kind, count in run.counted.items():
            steps[kind] = steps.get(kind, 0) + count
        if len(evidence) < EVIDENCE_PIECES_MAX:
            evidence.append(
                CounterEvidence(
                    from_ns=piece.from_ns,
                    to_ns=piece.to_ns,
                    quantity=plain(counted),
                    baseline=run.baseline,
                    first=run.first,
                    last=None if run.first is None else run.last,
                    samples=run.samples,
                    steps=tuple(run.steps),
                    shared=piece.shared,
                )
            )
    return CounterActual(
        equipment=found.equipment,
        metric=metric.name,
        counts=metric.counts,
        unit=metric.unit,
        quantity=plain(quantity),
        shared=plain(shared),
        uncertain=plain(uncertain),
        samples=sum(run.samples for _, run in found.runs),
        left_out=sum(run.left_out for _, run in found.runs),
        steps=dict(sorted(steps.items())),
        evidence=tuple(evidence),
        pieces=len(found.runs),
    )


def _times(found: _Pieces[StateRun], until_ns: int | None) -> list[TimeActual]:
    spent: dict[TimeKind, int] = dict.fromkeys(found.metric.times or {}, 0)
    for piece, run in found.runs:
        for kind, duration in run.spent(_end(piece, until_ns)).items():
            spent[kind] += duration
    return [
        TimeActual(equipment=found.equipment, metric=found.metric.name, kind=kind, seconds=_seconds(duration))
        for kind, duration in spent.items()
    ]


def _quality(found: _Pieces[QualityRun], until_ns: int | None) -> QualityActual:
    metric = found.metric
    ended = [run.until(_end(piece, until_ns)) for piece, run in found.runs]
    weight = sum(run.weight_ns for run in ended)
    measured = [run for run in ended if run.last is not None]
    last = measured[-1].last if measured else None
    low, high = (None, None) if metric.range is None else metric.range
    return QualityActual(
        equipment=found.equipment,
        metric=metric.name,
        unit=metric.unit,
        low=low,
        high=high,
        samples=sum(run.samples for run in ended),
        left_out=sum(run.left_out for run in ended),
        lowest=min((run.lowest for run in ended if run.lowest is not None), default=None),
        mean=sum(run.weighted for run in ended) / weight if weight else last,
        highest=max((run.highest for run in ended if run.highest is not None), default=None),
        last=last,
        out_of_range_s=None if metric.range is None else _seconds(sum(run.out_ns for run in ended)),
    )


def _is_usable(row: MetricRow) -> bool:
    return usable_value(row) is not None


def _end(piece: JobPiece, until_ns: int | None) -> int:
    return piece.to_ns if until_ns is None else min(piece.to_ns, until_ns)


def _length(piece: JobPiece, until_ns: int | None) -> int:
    end_ns = _end(piece, until_ns)
    return 0 if piece.from_ns == MIN_NS or end_ns == MAX_NS else max(end_ns - piece.from_ns, 0)


def _seconds(duration_ns: int) -> Decimal:
    return plain(EXACT.divide(Decimal(duration_ns), Decimal(1_000_000_000)))


def _key(equipment: str, metric: str, from_ns: str) -> str:
    return f"{equipment}\t{metric}\t{from_ns}"
