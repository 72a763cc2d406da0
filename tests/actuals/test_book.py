"""Which jobs there are and which changed, from intervals, facts and touched ranges alone."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.actuals.plants import JOB, NEXT, job, line, lot
from tests.enrichment.builders import at
from uns.actuals.book import JobBook, Leaning
from uns.actuals.jobs import JobId, JobPiece, LotUse
from uns.context.facts import Fact
from uns.context.timeline import ContextBody
from uns.context.times import MAX_NS, MIN_NS, ns_of
from uns.context.words import MaterialUse, ResponseState
from uns.enrichment.log import LogBatch, Touched
from uns.enrichment.plan import FactRow, IntervalRow


class Log:
    """Batches written by hand; each call is one, and gives the jobs that changed."""

    def __init__(self, *, allow_parallel: bool = False, **bounds: int) -> None:
        self.tree = line(allow_parallel=allow_parallel)
        self.bounds = bounds
        self.book = JobBook(self.tree, **bounds)
        self.kept: dict[str, bytes] = {}
        self.position = 0
        self.known_ns = 1_000

    def batch(
        self,
        *,
        intervals: tuple[tuple[float | None, float | None, Any], ...] = (),
        facts: tuple[Fact, ...] = (),
        touched: tuple[tuple[str, float, float], ...] = (),
        equipment: str = "packer1",
    ) -> list[JobId]:
        """Intervals are (from, to, job or None or body), None for no end; touched is (metric, first, last)."""
        after = self.position
        rows = [self._interval(equipment, *interval) for interval in intervals]
        spans = []
        for metric, first, last in touched:
            self.position += 2
            spans.append(Touched(equipment, metric, at(first), at(last) + 1, 2, self.position - 1, self.position))
        self.book.receive_batch(
            LogBatch(after=after, to=self.position, intervals=rows, facts=[self._fact(f) for f in facts], touched=spans)
        )
        for key, body in self.book.drain_state().items():
            self.kept.pop(key, None)
            if body is not None:
                self.kept[key] = body
        return self.book.take_changed()

    def restart(self) -> None:
        self.book = JobBook(self.tree, **self.bounds)
        self.book.load(self.kept)

    def pieces(self, job_id: JobId = JOB) -> list[tuple[str, float, float | None]]:
        view = self.book.job(job_id)
        assert view is not None
        return [
            (p.equipment, _seconds(p.from_ns), None if p.to_ns == MAX_NS else _seconds(p.to_ns)) for p in view.pieces
        ]

    def _interval(self, equipment: str, start: float | None, end: float | None, said: Any) -> IntervalRow:
        self.position += 1
        self.known_ns += 1
        if said is None:
            body = ContextBody(status="unassigned")
        elif isinstance(said, JobId):
            body = body_of(said)
        else:
            body = said
        text = msgspec.json.encode(body).decode()
        return (
            self.position,
            equipment,
            MIN_NS if start is None else at(start),
            MAX_NS if end is None else at(end),
            0,
            self.known_ns,
            MAX_NS,
            body.status,
            body.work_order,
            text,
            "test",
        )

    def _fact(self, fact: Fact) -> FactRow:
        self.known_ns += 1
        return (
            fact.source,
            fact.id,
            fact.source_rev,
            1,
            fact.kind,
            fact.equipment,
            fact.action,
            ns_of(fact.valid_from) or 0,
            None if fact.valid_to is None else ns_of(fact.valid_to),
            self.known_ns,
            msgspec.json.encode(fact).decode(),
            "hash",
        )


def body_of(job_id: JobId, **fields: Any) -> ContextBody:
    return ContextBody(
        status="resolved",
        job_order=job_id.job_order,
        work_order=job_id.work_order,
        operation=job_id.operation,
        **fields,
    )


def _seconds(time_ns: int) -> float:
    return (time_ns - at(0)) / 1_000_000_000


@pytest.fixture
def log() -> Log:
    return Log()


# ── where jobs ran ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_job_begins_ends_and_makes_way(log: Log):
    assert log.batch(intervals=((None, None, None),)) == []
    assert log.batch(intervals=((None, 0, None), (0, None, JOB))) == [JOB]
    assert log.pieces() == [("packer1", 0, None)]
    assert log.batch(intervals=((0, 60, JOB), (60, None, NEXT))) == [JOB, NEXT]
    assert log.pieces() == [("packer1", 0, 60)]
    assert log.pieces(NEXT) == [("packer1", 60, None)]


def test_a_change_of_context_that_is_none_of_the_job_changes_nothing(log: Log):
    log.batch(intervals=((0, None, body_of(JOB, phase="mix")),))
    assert log.batch(intervals=((0, 30, body_of(JOB, phase="mix")), (30, None, body_of(JOB, phase="fill")))) == []
    assert log.pieces() == [("packer1", 0, None)]


def test_a_job_may_have_pieces_at_several_equipment_and_with_a_night_between(log: Log):
    log.batch(intervals=((0, 10, JOB), (50, 60, JOB)))
    log.batch(intervals=((5, 70, JOB),), equipment="packer2")
    assert log.pieces() == [("packer1", 0, 10), ("packer1", 50, 60), ("packer2", 5, 70)]
    view = log.book.job(JOB)
    assert view is not None
    assert (view.start_ns, view.end_ns) == (at(0), at(70))


def test_a_restated_span_moves_from_one_job_to_another(log: Log):
    log.batch(intervals=((0, 60, JOB), (60, 120, NEXT)))
    assert log.batch(intervals=((0, 40, JOB), (40, 120, NEXT))) == [JOB, NEXT]
    assert (log.pieces(), log.pieces(NEXT)) == ([("packer1", 0, 40)], [("packer1", 40, 120)])


def test_a_job_that_is_taken_back_has_no_pieces(log: Log):
    log.batch(intervals=((0, 60, JOB),))
    assert log.batch(intervals=((0, 60, None),)) == [JOB]
    assert log.pieces() == []


def test_equal_numbers_in_two_orders_are_two_jobs(log: Log):
    one, other = JobId("0010", "WO-1"), JobId("0010", "WO-2")
    log.batch(intervals=((0, 60, one), (60, 90, other)))
    assert log.book.jobs() == [one, other]


def test_a_batch_that_comes_again_changes_nothing(log: Log):
    log.batch(intervals=((0, 60, JOB),))
    batch = LogBatch(after=0, to=log.position, intervals=[log._interval("packer1", 0, 90, NEXT)])
    log.book.receive_batch(batch)
    assert log.book.take_changed() == []


# ── parallel jobs ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_parallel_jobs_share_a_piece_and_facts_tell_who_they_are():
    log = Log(allow_parallel=True)
    both = body_of(JOB, job_orders=(JOB.job_order, NEXT.job_order))
    log.batch(facts=(job(JOB), job(NEXT, start=20, also=True)))
    assert log.batch(intervals=((0, 20, JOB), (20, 40, both), (40, 60, JOB))) == [JOB, NEXT]
    view = log.book.job(JOB)
    assert view is not None
    assert view.pieces == (
        JobPiece("packer1", at(0), at(20)),
        JobPiece("packer1", at(20), at(40), shared=True),
        JobPiece("packer1", at(40), at(60)),
    )
    assert log.pieces(NEXT) == [("packer1", 20, 40)]


def test_a_parallel_job_gets_its_order_when_its_fact_comes():
    log = Log(allow_parallel=True)
    unnamed = JobId(NEXT.job_order)
    both = body_of(JOB, job_orders=(JOB.job_order, NEXT.job_order))
    assert log.batch(intervals=((0, 60, both),)) == [JOB, unnamed]
    assert NEXT in log.batch(facts=(job(NEXT),))
    assert (log.pieces(unnamed), log.pieces(NEXT)) == ([], [("packer1", 0, 60)])


# ── facts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("completed", ResponseState.COMPLETED),
        ("Closed", ResponseState.CLOSED),
        ("aborted", ResponseState.ABORTED),
        ("stopped", ResponseState.ABORTED),
        ("running", ResponseState.COMPLETED),
        ("held", ResponseState.HELD),
        ("interrupted", ResponseState.HELD),
        ("suspended", ResponseState.SUSPENDED),
        ("paused", ResponseState.PAUSED),
        ("released", ResponseState.COMPLETED),
    ],
)
def test_the_state_of_a_job_that_is_over_is_what_its_fact_says(log: Log, word: str, state: ResponseState):
    log.batch(intervals=((0, 60, JOB),), facts=(job(end=60, state=word),))
    view = log.book.job(JOB)
    assert view is not None
    assert view.state is state


def test_the_highest_revision_of_a_fact_counts_whenever_it_comes(log: Log):
    log.batch(intervals=((0, 60, JOB),), facts=(job(end=60, state="aborted", source_rev="10"),))
    assert log.batch(facts=(job(end=60, state="completed", source_rev="9"),)) == []
    assert log.batch(facts=(job(end=60, state="closed", source_rev="11"),)) == [JOB]


def test_the_plan_of_a_job_is_the_fact_that_defined_it(log: Log):
    planned = job(state="released", id="erp-1", recipe="RCP-7@3", start=-100, end=500)
    log.batch(facts=(planned,), intervals=((0, 60, JOB),))
    log.batch(facts=(job(end=60),))
    view = log.book.job(JOB)
    assert view is not None
    assert view.definition is not None
    assert (view.definition.id, view.definition.recipe, len(view.facts)) == ("erp-1", "RCP-7@3", 2)


def test_lots_are_those_of_the_context_with_what_their_facts_say(log: Log):
    log.batch(
        facts=(lot("L-1"), lot("L-2", "Consumed", material="RM-1"), lot("L-3", "Filled", end=10), lot("L-9")),
        intervals=((0, 60, body_of(JOB, lots=("L-1", "L-2", "L-3", "L-4"))),),
    )
    view = log.book.job(JOB)
    assert view is not None
    assert view.lots == (
        LotUse("L-1", "FG-77", MaterialUse.PRODUCED),
        LotUse("L-2", "RM-1", MaterialUse.CONSUMED),
        LotUse("L-3", "FG-77", MaterialUse.OTHER, "Filled"),
        LotUse("L-4"),
    )


def test_a_corrected_lot_fact_changes_the_jobs_that_had_the_lot(log: Log):
    log.batch(facts=(lot("L-1"),), intervals=((0, 60, body_of(JOB, lots=("L-1",))), (60, 90, NEXT)))
    assert log.batch(facts=(lot("L-1", material="FG-78", source_rev="2"),)) == [JOB]


# ── samples ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_samples_within_a_piece_change_its_job(log: Log):
    log.batch(intervals=((0, 60, JOB), (60, None, NEXT)))
    assert log.batch(touched=(("good", 59, 59),)) == [JOB]
    assert log.batch(touched=(("good", 59, 60),)) == [JOB, NEXT]
    assert log.batch(touched=(("good", -10, -1),)) == []


@pytest.mark.parametrize("metric", ["good", "energy", "state", "temperature"])
def test_metrics_that_totals_are_made_from_change_a_job(log: Log, metric: str):
    log.batch(intervals=((0, 60, JOB),))
    assert log.batch(touched=((metric, 10, 10),)) == [JOB]


@pytest.mark.parametrize("metric", ["speed", "unheard of"])
def test_other_metrics_do_not(log: Log, metric: str):
    log.batch(intervals=((0, 60, JOB),))
    assert log.batch(touched=((metric, 10, 10),)) == []


def test_late_samples_after_the_baseline_of_a_told_job_change_it(log: Log):
    log.batch(intervals=((0, 60, JOB),))
    log.book.note(JOB, [Leaning("packer1", "good", at(-30), at(0))])
    assert log.batch(touched=(("good", -40, -35),)) == []
    assert log.batch(touched=(("scrap", -20, -20),)) == []
    assert log.batch(touched=(("good", -20, -20),)) == [JOB]


# ── state and bounds ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_book_goes_on_after_a_restart_as_if_there_had_been_none():
    once, twice = Log(allow_parallel=True), Log(allow_parallel=True)
    both = body_of(JOB, job_orders=(JOB.job_order, NEXT.job_order), lots=("L-1",))
    steps: list[dict[str, Any]] = [
        {"facts": (job(JOB), lot("L-1")), "intervals": ((0, None, body_of(JOB, lots=("L-1",))),)},
        {"intervals": ((0, 20, JOB), (20, 40, both), (40, None, NEXT)), "facts": (job(NEXT, start=20),)},
        {"touched": (("good", 10, 30),)},
        {"touched": (("good", -10, -10),)},
        {"intervals": ((0, 40, None),), "facts": (job(JOB, action="delete", source_rev="2"),)},
        {"facts": (lot("L-1", material="FG-79", source_rev="2"),)},
        {"intervals": ((0, 15, JOB),)},
    ]
    for step in steps:
        assert once.batch(**step) == twice.batch(**step)
        for log in (once, twice):
            if JOB in log.book.jobs():
                log.book.note(JOB, [Leaning("packer1", "good", at(-30), at(0))])
        twice.batch()
        twice.restart()
        assert [once.book.job(j) for j in once.book.jobs()] == [twice.book.job(j) for j in twice.book.jobs()]


def test_jobs_that_are_over_are_forgotten_at_the_bound_the_oldest_first():
    log = Log(jobs_max=8)
    for number in range(20):
        log.batch(intervals=((number * 10, number * 10 + 10, JobId(f"J-{number:02}")),))
    running = JobId("R")
    log.batch(intervals=((500, None, running),))
    names = [j.job_order for j in log.book.jobs()]
    assert len(names) <= 8
    assert names[-1] == "R"
    assert names[0] > "J-11"
    assert log.book.forgotten["jobs"] == 21 - len(names)
    kept = [key for key in log.kept if key.startswith("stretch/")]
    assert len(kept) == len(names)
    log.restart()
    assert [j.job_order for j in log.book.jobs()] == names


def test_running_jobs_are_never_forgotten():
    log = Log(jobs_max=1)
    log.batch(intervals=((0, None, JOB),))
    log.batch(intervals=((0, None, NEXT),), equipment="packer2")
    assert len(log.book.jobs()) == 2
