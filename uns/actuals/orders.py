"""State and actuals of a work order and of a lot, as ``_wo`` and ``_lot`` show them: documents, and how they are made.

They are views of the record log: a function of the samples and intervals up to one position. Quantities stand with
each job and are not added up over an order: its operations count the same parts one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import msgspec

from uns.actuals.evidence import EXACT, StepKind, plain
from uns.actuals.jobs import JobPiece, JobView, LotUse
from uns.actuals.totals import JobActuals
from uns.context.levels import DEFINITION_STATES
from uns.context.times import MAX_NS, rfc3339_or_none
from uns.context.words import PRODUCING, ResponseState
from uns.namespace.model import TimeKind

__all__ = [
    "PIECES_SHOWN_MAX",
    "CountedQuantity",
    "JobState",
    "LotJob",
    "LotRef",
    "LotState",
    "PieceState",
    "Span",
    "UpTo",
    "WorkOrderState",
    "is_counted",
    "job_state",
    "lot_job",
    "lot_state",
    "planned_state",
    "work_order_state",
]

PIECES_SHOWN_MAX = 32  # of one job; the others are counted

_WAITING = (ResponseState.HELD, ResponseState.SUSPENDED, ResponseState.PAUSED, ResponseState.OTHER)
_OVER = frozenset({ResponseState.COMPLETED, ResponseState.CLOSED, ResponseState.ABORTED})


class UpTo(msgspec.Struct, frozen=True, rename={"to_position": "to"}):
    """The position of the record log up to which a document holds."""

    to_position: int


class Span(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"start": "from", "end": "to"}):
    """A span of time; an end that is not known is left out."""

    start: str | None = None
    end: str | None = None


class CountedQuantity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What counters counted.

    ``shared``: the part that was counted while other jobs ran there too; ``uncertain``: the part counted over a silence
    that began before the job. ``steps`` counts what was not a plain step: rollover, reset, dip, gap, jump, boundary.
    """

    value: Decimal
    unit: str = ""
    shared: Decimal | None = None
    uncertain: Decimal | None = None
    left_out: int = 0  # samples that were not usable
    steps: dict[str, int] = {}


class PieceState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"start": "from", "end": "to"}):
    """Equipment worked on it from … to …; without ``to`` it does so now. ``shared``: other jobs ran there too."""

    equipment: str
    start: str | None = None
    end: str | None = None
    shared: bool = False


class LotRef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A lot that was there while the job ran."""

    lot: str
    material: str | None = None
    use: str | None = None


class JobState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One job of a work order. Times of work in seconds, where a state metric tells them."""

    job_order: str
    state: ResponseState
    operation: str | None = None
    recipe: str | None = None
    planned: Span | None = None
    actual: Span | None = None
    equipment: tuple[str, ...] = ()
    pieces: tuple[PieceState, ...] = ()  # the first of them
    pieces_count: int = 0
    good: CountedQuantity | None = None
    scrap: CountedQuantity | None = None
    rework: CountedQuantity | None = None
    machine_time_s: Decimal | None = None
    setup_time_s: Decimal | None = None
    labour_time_s: Decimal | None = None
    lots: tuple[LotRef, ...] = ()


class WorkOrderState(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    tag_field="schema",
    tag="uns1.work_order_state/1",
):
    """A work order at one site, on ``…/{site}/_wo/{work_order}``. ``as_of`` and ``log`` say how far it holds."""

    enterprise: str
    site: str
    work_order: str
    state: ResponseState
    planned: Span | None = None
    actual: Span | None = None
    equipment: tuple[str, ...] = ()
    lots: tuple[LotRef, ...] = ()
    jobs: tuple[JobState, ...]
    as_of: str
    log: UpTo


class LotJob(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one job did while the lot was there; quantities where the job produced it, or nobody says what it did."""

    job_order: str
    work_order: str | None = None
    operation: str | None = None
    use: str | None = None
    material: str | None = None
    actual: Span
    equipment: tuple[str, ...] = ()
    pieces: tuple[PieceState, ...] = ()
    pieces_count: int = 0
    good: CountedQuantity | None = None
    scrap: CountedQuantity | None = None
    rework: CountedQuantity | None = None


class LotState(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="schema", tag="uns1.lot_state/1"
):
    """A lot at one site, on ``…/{site}/_lot/{lot}``: the jobs that it was in. ``in_use``: one of them runs."""

    enterprise: str
    site: str
    lot: str
    materials: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    in_use: bool = False
    actual: Span | None = None
    equipment: tuple[str, ...] = ()
    jobs: tuple[LotJob, ...]
    as_of: str
    log: UpTo


# ── jobs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def job_state(view: JobView, actuals: JobActuals) -> JobState:
    """A job that ran."""
    pieces = view.pieces
    return JobState(
        job_order=view.job.job_order,
        operation=view.job.operation,
        state=view.state,
        recipe=None if view.definition is None else view.definition.recipe,
        planned=_planned(view),
        actual=_span(pieces),
        equipment=_equipment(pieces),
        pieces=_pieces(pieces),
        pieces_count=len(pieces),
        good=_counted(actuals, "good"),
        scrap=_counted(actuals, "scrap"),
        rework=_counted(actuals, "rework"),
        machine_time_s=_time(actuals, "machine"),
        setup_time_s=_time(actuals, "setup"),
        labour_time_s=_time(actuals, "labour"),
        lots=_lots(view.lots),
    )


def planned_state(view: JobView) -> JobState | None:
    """A job of which only is said that it will run, or never will; None where nothing is said of it any more."""
    told = [fact for fact in view.facts if not fact.deleted]
    if not told:
        return None
    return JobState(
        job_order=view.job.job_order,
        operation=view.job.operation,
        state=view.state,
        recipe=None if view.definition is None else view.definition.recipe,
        planned=_planned(view),
        equipment=tuple(sorted({fact.equipment for fact in told})),
    )


# ── orders ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def work_order_state(
    jobs: Sequence[JobState], *, enterprise: str, site: str, work_order: str, position: int, as_of: str
) -> WorkOrderState:
    """An order from its jobs, in the order of their operations."""
    ordered = sorted(jobs, key=lambda job: (job.operation or "", job.job_order))
    return WorkOrderState(
        enterprise=enterprise,
        site=site,
        work_order=work_order,
        state=_order_state([job.state for job in ordered]),
        planned=_hull([job.planned for job in ordered if job.planned is not None]),
        actual=_hull([job.actual for job in ordered if job.actual is not None]),
        equipment=tuple(sorted({equipment for job in ordered for equipment in job.equipment})),
        lots=_distinct(lot for job in ordered for lot in job.lots),
        jobs=tuple(ordered),
        as_of=as_of,
        log=UpTo(position),
    )


def _order_state(states: Sequence[ResponseState]) -> ResponseState:
    """Running while a job runs, or some are over and others wait; else what is said of all of them."""
    if ResponseState.RUNNING in states:
        return ResponseState.RUNNING
    for state in _WAITING:
        if state in states:
            return state
    over = [state for state in states if state in _OVER]
    if not over:
        return ResponseState.READY if ResponseState.READY in states else ResponseState.WAITING
    if len(over) < len(states):
        return ResponseState.RUNNING
    return over[0] if len(set(over)) == 1 else ResponseState.COMPLETED


# ── lots ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def lot_job(view: JobView, use: LotUse, actuals: JobActuals | None) -> LotJob:
    """What a job did in the pieces of ``view``: those in which the lot was there."""
    return LotJob(
        job_order=view.job.job_order,
        work_order=view.job.work_order,
        operation=view.job.operation,
        use=_use(use),
        material=use.material,
        actual=_span(view.pieces) or Span(),
        equipment=_equipment(view.pieces),
        pieces=_pieces(view.pieces),
        pieces_count=len(view.pieces),
        good=None if actuals is None else _counted(actuals, "good"),
        scrap=None if actuals is None else _counted(actuals, "scrap"),
        rework=None if actuals is None else _counted(actuals, "rework"),
    )


def is_counted(use: LotUse) -> bool:
    """Whether what the job counted is of this lot. What a consumed lot gave is told by no counter of what was made."""
    return use.use is None or use.use in PRODUCING


def lot_state(jobs: Sequence[LotJob], *, enterprise: str, site: str, lot: str, position: int, as_of: str) -> LotState:
    """A lot from the jobs that it was in, in the order of time."""
    ordered = sorted(jobs, key=lambda job: (job.actual.start or "", job.job_order, job.operation or "", job.use or ""))
    return LotState(
        enterprise=enterprise,
        site=site,
        lot=lot,
        materials=tuple(sorted({job.material for job in ordered if job.material})),
        uses=tuple(sorted({job.use for job in ordered if job.use})),
        in_use=any(job.actual.end is None for job in ordered),
        actual=_hull([job.actual for job in ordered]),
        equipment=tuple(sorted({equipment for job in ordered for equipment in job.equipment})),
        jobs=tuple(ordered),
        as_of=as_of,
        log=UpTo(position),
    )


# ── parts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _counted(actuals: JobActuals, counts: str) -> CountedQuantity | None:
    total = actuals.total(counts)
    if total is None:
        return None
    shared = uncertain = Decimal(0)
    steps: dict[StepKind, int] = {}
    left_out = 0
    for counter in actuals.counters:
        if counter.counts == counts:
            shared = EXACT.add(shared, counter.shared)
            uncertain = EXACT.add(uncertain, counter.uncertain)
            left_out += counter.left_out
            for kind, count in counter.steps.items():
                steps[kind] = steps.get(kind, 0) + count
    return CountedQuantity(
        value=total[0],
        unit=total[1],
        shared=plain(shared) if shared else None,
        uncertain=plain(uncertain) if uncertain else None,
        left_out=left_out,
        steps=dict(sorted(steps.items())),
    )


def _time(actuals: JobActuals, kind: TimeKind) -> Decimal | None:
    seconds = actuals.seconds(kind)
    return None if seconds is None else plain(seconds)


def _planned(view: JobView) -> Span | None:
    plan = view.definition
    if plan is None or plan.state not in DEFINITION_STATES:
        return None
    end_ns = MAX_NS if plan.valid_to_ns is None else plan.valid_to_ns
    return Span(start=rfc3339_or_none(plan.valid_from_ns), end=rfc3339_or_none(end_ns))


def _span(pieces: Iterable[JobPiece]) -> Span | None:
    ends = [(piece.from_ns, piece.to_ns) for piece in pieces]
    if not ends:
        return None
    return Span(
        start=rfc3339_or_none(min(from_ns for from_ns, _ in ends)),
        end=rfc3339_or_none(max(to_ns for _, to_ns in ends)),
    )


def _hull(spans: Sequence[Span]) -> Span | None:
    """From the first start to the last end; open where one is open."""
    if not spans:
        return None
    starts = [span.start for span in spans if span.start is not None]
    ends = [span.end for span in spans if span.end is not None]
    return Span(
        start=min(starts, key=_moment) if len(starts) == len(spans) else None,
        end=max(ends, key=_moment) if len(ends) == len(spans) else None,
    )


def _moment(text: str) -> str:
    """RFC 3339 of ours sorts as text once the Z is gone: digits that are left out are zeros."""
    return text.removesuffix("Z")


def _equipment(pieces: Iterable[JobPiece]) -> tuple[str, ...]:
    return tuple(sorted({piece.equipment for piece in pieces}))


def _pieces(pieces: Sequence[JobPiece]) -> tuple[PieceState, ...]:
    ordered = sorted(pieces, key=lambda piece: (piece.from_ns, piece.equipment))
    return tuple(
        PieceState(
            equipment=piece.equipment,
            start=rfc3339_or_none(piece.from_ns),
            end=rfc3339_or_none(piece.to_ns),
            shared=piece.shared,
        )
        for piece in ordered[:PIECES_SHOWN_MAX]
    )


def _lots(lots: Sequence[LotUse]) -> tuple[LotRef, ...]:
    return tuple(LotRef(lot=use.lot, material=use.material, use=_use(use)) for use in lots)


def _use(use: LotUse) -> str | None:
    return use.other_use or (None if use.use is None else use.use.value)


def _distinct(lots: Iterable[LotRef]) -> tuple[LotRef, ...]:
    found: Mapping[LotRef, None] = dict.fromkeys(lots)
    return tuple(sorted(found, key=lambda lot: (lot.lot, lot.use or "", lot.material or "")))
