"""The quantity of an order and the counter samples behind it, from the record log as it is now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from uns.actuals.evidence import SampleRef, plain
from uns.actuals.jobs import JobId, JobView
from uns.actuals.order_book import OrderBook
from uns.actuals.orders import LotRef, Span, UpTo
from uns.actuals.response import job_response
from uns.actuals.totals import CounterActual, CounterEvidence, JobActuals, job_actuals
from uns.adapters.sqlite.record_cursor import RecordCursor
from uns.context.records import JobResponse
from uns.context.times import MAX_NS, MIN_NS, rfc3339, rfc3339_or_none
from uns.enrichment.log import LogBatch
from uns.enrichment.plan import IntervalRow
from uns.errors import ConfigurationError
from uns.namespace.model import TopicTree

__all__ = [
    "CONTEXTS_SHOWN_MAX",
    "ExplainedContext",
    "ExplainedCounter",
    "ExplainedJob",
    "ExplainedPiece",
    "ExplainedQuantity",
    "ExplainedSample",
    "ExplainedStep",
    "Explanation",
    "LateSamples",
    "explain_order",
]

CONTEXTS_SHOWN_MAX = 16  # of one piece
_COUNTS = ("good", "scrap", "rework")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ExplainedSample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A sample, as people and programs find it in the log."""

    value: int | float
    time: str
    ordinal: int = 0
    position: int


class ExplainedStep(msgspec.Struct, frozen=True, kw_only=True):
    """From one sample to the next where that is not plain, and what was counted for it."""

    kind: str
    before: ExplainedSample
    after: ExplainedSample
    counted: Decimal


class ExplainedContext(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"start": "from", "end": "to"}
):
    """An interval of context, by which samples belong to the job."""

    equipment: str
    start: str | None = None
    end: str | None = None
    rev: int
    position: int
    known_from: str
    status: str
    work_order: str | None = None
    reason: str
    facts: tuple[str, ...] = ()


class ExplainedPiece(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"start": "from", "end": "to"}
):
    """What was counted in one piece of the job. Without a baseline its first sample is it, and counts nothing."""

    start: str | None = None
    end: str | None = None
    counted: Decimal
    samples: int
    shared: bool = False
    baseline: ExplainedSample | None = None
    first: ExplainedSample | None = None
    last: ExplainedSample | None = None
    steps: tuple[ExplainedStep, ...] = ()
    contexts: tuple[ExplainedContext, ...] = ()
    contexts_count: int = 0


class ExplainedCounter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one counter counted."""

    equipment: str
    metric: str
    counts: str | None = None
    unit: str = ""
    counted: Decimal
    samples: int
    left_out: int = 0
    shared: Decimal | None = None
    uncertain: Decimal | None = None
    steps: dict[str, int] = {}
    pieces: tuple[ExplainedPiece, ...] = ()
    pieces_count: int = 0


class ExplainedQuantity(msgspec.Struct, frozen=True, kw_only=True):
    """The sum of the counters that count the same in the same unit."""

    quantity: str
    value: Decimal
    unit: str


class LateSamples(msgspec.Struct, frozen=True, kw_only=True):
    """Samples of a counter that were recorded after a document was published."""

    equipment: str
    metric: str
    samples: int
    first_position: int
    last_position: int


class ExplainedJob(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One job. ``response``, ``restatements`` and ``late`` where a document is compared with it."""

    job_order: str
    work_order: str | None = None
    operation: str | None = None
    state: str
    actual: Span
    equipment: tuple[str, ...] = ()
    lots: tuple[LotRef, ...] = ()
    quantities: tuple[ExplainedQuantity, ...] = ()
    counters: tuple[ExplainedCounter, ...] = ()
    response: JobResponse | None = None
    restatements: tuple[ExplainedContext, ...] = ()
    late: tuple[LateSamples, ...] = ()


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Every job that a name stands for, up to one position of the log."""

    subject: str
    jobs: tuple[ExplainedJob, ...]
    log: UpTo


def explain_order(
    tree: TopicTree,
    cursor: RecordCursor,
    name: str,
    *,
    quantity: str | None = None,
    published: JobResponse | None = None,
) -> Explanation | None:
    """A work order or a job by its name; None where the log knows none.

    ``quantity``: good, scrap, rework, or the name of a counter; :class:`ConfigurationError` for one that it has not.
    ``published``: what was said of this job; what changed in the log since then is told too. Blocks on the disk.
    """
    book = _book(tree, cursor, name)

    def is_meant(job: JobId) -> bool:
        if published is not None:
            return job == JobId(published.job_order, published.work_order, published.operation)
        return name in (job.work_order, job.job_order)

    views = [view for job in book.jobs() if is_meant(job) and (view := book.job(job)) is not None and view.pieces]
    if not views:
        return None
    explained = [(view, job_actuals(tree, cursor, view)) for view in views]
    if quantity is not None:
        _check(quantity, name, [actuals for _, actuals in explained])
    return Explanation(
        subject=name,
        jobs=tuple(
            _explained(tree, cursor, view, actuals, quantity=quantity, published=published)
            for view, actuals in explained
        ),
        log=UpTo(book.position),
    )


def _book(tree: TopicTree, cursor: RecordCursor, name: str) -> OrderBook:
    """A book of the jobs that a name may stand for, as the log has them now."""
    of_job = cursor.standing_of_job(name)
    orders = {name, *(row[8] for row in of_job if row[8] is not None)}
    head, of_orders = cursor.standing(work_orders=orders)
    book = OrderBook(tree)
    book.receive_batch(
        LogBatch(
            after=0,
            to=head,
            intervals=sorted({*of_job, *of_orders}),
            facts=[*cursor.facts(kind="job"), *cursor.facts(kind="lot")],
        )
    )
    return book


def _check(quantity: str, name: str, found: Iterable[JobActuals]) -> None:
    counters = [counter for actuals in found for counter in actuals.counters]
    known = sorted({counter.counts or counter.metric for counter in counters} | {c.metric for c in counters})
    if quantity not in known:
        raise ConfigurationError(
            f"no counter of {name} counts {quantity!r}",
            expected=", ".join(known) or "a class with a metric of role counter",
            next_step="`counts:` of a metric in the topic tree says what it counts",
        )


# ── one job ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _explained(
    tree: TopicTree,
    cursor: RecordCursor,
    view: JobView,
    actuals: JobActuals,
    *,
    quantity: str | None,
    published: JobResponse | None,
) -> ExplainedJob:
    counters = [c for c in actuals.counters if quantity is None or quantity in (c.counts, c.metric)]
    names = dict.fromkeys(counter.counts for counter in counters if counter.counts is not None)
    totals = [(counts, actuals.total(counts)) for counts in (*_COUNTS, *sorted(set(names) - set(_COUNTS)))]
    contexts = {equipment: _contexts(cursor, view, equipment) for equipment in {c.equipment for c in counters}}
    known_ns = None if published is None else _ns(published.published_at)
    return ExplainedJob(
        job_order=view.job.job_order,
        work_order=view.job.work_order,
        operation=view.job.operation,
        state=view.state.value,
        actual=Span(
            start=None if view.start_ns is None else rfc3339_or_none(view.start_ns),
            end=None if view.end_ns is None else rfc3339(view.end_ns),
        ),
        equipment=tuple(sorted({piece.equipment for piece in view.pieces})),
        lots=tuple(
            LotRef(lot=use.lot, material=use.material, use=use.other_use or (use.use and use.use.value))
            for use in view.lots
        ),
        quantities=tuple(
            ExplainedQuantity(quantity=counts, value=total[0], unit=total[1])
            for counts, total in totals
            if total is not None and counts in names
        ),
        counters=tuple(_counter(counter, contexts[counter.equipment]) for counter in counters),
        response=None
        if published is None
        else job_response(actuals, tree, response_id="now", published_at=_EPOCH, source=published.source),
        restatements=() if known_ns is None or published is None else _restated(cursor, view, published, known_ns),
        late=() if known_ns is None else _late(cursor, view, actuals, known_ns),
    )


def _contexts(cursor: RecordCursor, view: JobView, equipment: str) -> list[IntervalRow]:
    pieces = [piece for piece in view.pieces if piece.equipment == equipment]
    return cursor.intervals(equipment, min(p.from_ns for p in pieces), max(p.to_ns for p in pieces))


def _counter(counter: CounterActual, contexts: Sequence[IntervalRow]) -> ExplainedCounter:
    return ExplainedCounter(
        equipment=counter.equipment,
        metric=counter.metric,
        counts=counter.counts,
        unit=counter.unit or "",
        counted=counter.quantity,
        samples=counter.samples,
        left_out=counter.left_out,
        shared=counter.shared or None,
        uncertain=counter.uncertain or None,
        steps={str(kind): count for kind, count in counter.steps.items()},
        pieces=tuple(_piece(evidence, contexts) for evidence in counter.evidence),
        pieces_count=counter.pieces,
    )


def _piece(evidence: CounterEvidence, contexts: Sequence[IntervalRow]) -> ExplainedPiece:
    touching = [row for row in contexts if row[2] < evidence.to_ns and row[3] > evidence.from_ns]
    return ExplainedPiece(
        start=rfc3339_or_none(evidence.from_ns),
        end=rfc3339_or_none(evidence.to_ns),
        counted=evidence.quantity,
        samples=evidence.samples,
        shared=evidence.shared,
        baseline=_sample(evidence.baseline),
        first=_sample(evidence.first),
        last=_sample(evidence.last),
        steps=tuple(
            ExplainedStep(
                kind=step.kind, before=_known(step.before), after=_known(step.after), counted=plain(step.amount)
            )
            for step in evidence.steps
        ),
        contexts=tuple(_context(row) for row in touching[:CONTEXTS_SHOWN_MAX]),
        contexts_count=len(touching),
    )


def _known(ref: SampleRef) -> ExplainedSample:
    return ExplainedSample(
        value=ref.value, time=rfc3339(ref.source_time_ns), ordinal=ref.ordinal, position=ref.position
    )


def _sample(ref: SampleRef | None) -> ExplainedSample | None:
    return None if ref is None else _known(ref)


class _Body(msgspec.Struct):
    facts: tuple[str, ...] = ()


_body = msgspec.json.Decoder(_Body)


def _context(row: IntervalRow) -> ExplainedContext:
    return ExplainedContext(
        equipment=row[1],
        start=rfc3339_or_none(row[2]),
        end=rfc3339_or_none(row[3]),
        rev=row[4],
        position=row[0],
        known_from=rfc3339(row[5]),
        status=row[7],
        work_order=row[8],
        reason=row[10],
        facts=_body.decode(row[9]).facts,
    )


# ── since a document was published ───────────────────────────────────────────────────────────────────────────────────


def _restated(
    cursor: RecordCursor, view: JobView, published: JobResponse, known_ns: int
) -> tuple[ExplainedContext, ...]:
    """Restatements of what the document speaks of, and of what the job is now."""
    equipment = {piece.equipment for piece in view.pieces} | {used.equipment for used in published.equipment}
    actual = published.actual
    starts = [piece.from_ns for piece in view.pieces]
    ends = [piece.to_ns for piece in view.pieces]
    starts.append(MIN_NS if actual is None or actual.start is None else _ns(actual.start))
    ends.append(MAX_NS if actual is None or actual.end is None else _ns(actual.end))
    rows = [
        row for place in sorted(equipment) for row in cursor.revisions_since(place, min(starts), max(ends), known_ns)
    ]
    return tuple(_context(row) for row in sorted(rows)[:CONTEXTS_SHOWN_MAX])


def _late(cursor: RecordCursor, view: JobView, actuals: JobActuals, known_ns: int) -> tuple[LateSamples, ...]:
    found: list[LateSamples] = []
    for equipment, metric in {(counter.equipment, counter.metric): None for counter in actuals.counters}:
        pieces = [piece for piece in view.pieces if piece.equipment == equipment]
        late = [cursor.recorded_since(equipment, metric, p.from_ns, p.to_ns, known_ns) for p in pieces]
        late = [(count, first, last) for count, first, last in late if count]
        if late:
            found.append(
                LateSamples(
                    equipment=equipment,
                    metric=metric,
                    samples=sum(count for count, _, _ in late),
                    first_position=min(first for _, first, _ in late),
                    last_position=max(last for _, _, last in late),
                )
            )
    return tuple(found)


def _ns(moment: datetime) -> int:
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000_000 + delta.microseconds * 1000
