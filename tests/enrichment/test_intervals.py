"""How a change of context revises a tiling: which rows end, which begin, and with which revision."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.enrichment.builders import TEMPERATURE, Host, fact
from uns.context.timeline import ContextBody, Segment
from uns.context.times import MAX_NS, MIN_NS
from uns.enrichment.intervals import ContextInterval, Tiling, plan_revision

# An interval or segment as (from, to, letter[, rev]).
Row = tuple[int, int, str, int]


def segment(from_ns: int, to_ns: int, letter: str) -> Segment:
    return Segment(from_ns, to_ns, ContextBody(status="resolved", phase=letter), letter)


def tiling(*rows: Row) -> Tiling:
    return Tiling(
        [ContextInterval(a, b, rev=rev, context=(letter, "resolved", None), reason="old") for a, b, letter, rev in rows]
    )


def revise(
    old: Tiling, *segments: tuple[int, int, str], samples: Sequence[int] = ()
) -> tuple[list[tuple[int, int, str]], list[Row], list[tuple[int, int, str | None, int]]]:
    """What is closed, what is opened, and what is restated as (from, to, old letter, samples)."""
    closed, opened = plan_revision(
        old, [segment(*s) for s in segments], "new", lambda a, b: sum(a <= s < b for s in samples)
    )
    assert old.is_whole()
    return (
        [(i.from_ns, i.to_ns, i.text) for i in closed],
        [(r.interval.from_ns, r.interval.to_ns, r.interval.text, r.interval.rev) for r in opened],
        [(r.interval.from_ns, r.interval.to_ns, r.old.text, r.samples) for r in opened if r.old is not None],
    )


ALL: Row = (MIN_NS, MAX_NS, "A", 0)


def test_equal_content_changes_nothing():
    assert revise(tiling(ALL), (5, 9, "A")) == ([], [], [])


def test_what_touches_no_sample_has_revision_0_and_is_not_restated():
    closed, opened, restated = revise(tiling((MIN_NS, MAX_NS, "A", 3)), (10, MAX_NS, "B"), samples=[1, 2])
    assert closed == [(MIN_NS, MAX_NS, "A")]
    assert opened == [(MIN_NS, 10, "A", 3), (10, MAX_NS, "B", 0)]
    assert restated == []


def test_what_touches_samples_is_restated_with_the_next_revision():
    _, opened, restated = revise(tiling((MIN_NS, MAX_NS, "A", 3)), (10, 20, "B"), samples=[1, 15, 16])
    assert opened == [(MIN_NS, 10, "A", 3), (10, 20, "B", 4), (20, MAX_NS, "A", 3)]
    assert restated == [(10, 20, "A", 2)]


def test_rows_outside_and_equal_rows_inside_stay_open():
    old = tiling((MIN_NS, 0, "A", 0), (0, 10, "B", 1), (10, 20, "C", 0), (20, MAX_NS, "A", 0))
    closed, opened, restated = revise(old, (0, 10, "B"), (10, 20, "D"), samples=[12])
    assert closed == [(10, 20, "C")]
    assert opened == [(10, 20, "D", 1)]
    assert restated == [(10, 20, "C", 1)]


def test_each_old_content_is_restated_by_itself():
    old = tiling((MIN_NS, 0, "A", 0), (0, 10, "B", 1), (10, MAX_NS, "C", 5))
    _, opened, restated = revise(old, (MIN_NS, MAX_NS, "N"), samples=[-1, 1, 11])
    assert opened == [(MIN_NS, 0, "N", 1), (0, 10, "N", 2), (10, MAX_NS, "N", 6)]
    assert [r[2] for r in restated] == ["A", "B", "C"]


def test_neighbours_with_equal_old_content_become_one_with_1_more_than_the_highest():
    old = tiling((MIN_NS, 0, "A", 1), (0, 10, "A", 4), (10, MAX_NS, "A", 2))
    _, opened, restated = revise(old, (MIN_NS, MAX_NS, "N"), samples=[5])
    assert opened == [(MIN_NS, MAX_NS, "N", 5)]
    assert restated == [(MIN_NS, MAX_NS, "A", 1)]


def test_what_nobody_has_heard_of_is_joined():
    old = tiling((MIN_NS, 0, "A", 0), (0, 10, "B", 0), (10, MAX_NS, "C", 0))
    closed, opened, _ = revise(old, (MIN_NS, MAX_NS, "N"))
    assert len(closed) == 3
    assert opened == [(MIN_NS, MAX_NS, "N", 0)]


def test_an_open_piece_that_is_half_touched_is_one_piece():
    _, opened, restated = revise(tiling(ALL), (10, MAX_NS, "B"), samples=[12])
    assert opened[-1] == (10, MAX_NS, "B", 1)
    assert restated == [(10, MAX_NS, "A", 1)]


def test_a_remainder_keeps_what_was_announced_of_its_row():
    old = tiling(ALL)
    old.intervals[0].announced = True
    plan_revision(old, [segment(10, 20, "B")], "new", lambda _a, _b: 0)
    assert [i.announced for i in old.intervals] == [True, False, True]
    assert [i.reason for i in old.intervals] == ["old", "new", "old"]


@pytest.mark.parametrize("time_ns", [MIN_NS, -1, 0, 9, 10, MAX_NS - 1])
def test_a_tiling_finds_the_interval_of_any_time(time_ns: int):
    old = tiling((MIN_NS, 0, "A", 0), (0, 10, "B", 0), (10, MAX_NS, "C", 0))
    expected = "A" if time_ns < 0 else "B" if time_ns < 10 else "C"
    assert old.at(time_ns).text == expected
    assert old.at(time_ns).text == expected


@pytest.mark.parametrize(
    "rows",
    [
        [(0, MAX_NS, "A", 0)],
        [(MIN_NS, 0, "A", 0)],
        [(MIN_NS, 0, "A", 0), (1, MAX_NS, "A", 0)],
        [(MIN_NS, 2, "A", 0), (1, MAX_NS, "A", 0)],
    ],
)
def test_rows_with_holes_or_overlaps_are_no_tiling(rows: list[Row]):
    assert not tiling(*rows).is_whole()


def test_a_message_that_only_ends_a_job_restates_none_of_its_records():
    host = Host()
    host.fact(fact("lot"))
    host.fact(fact())
    host.samples((TEMPERATURE, 182.0, 10))
    host.fact(fact(source_rev="2", valid_to=60, state="completed"))
    assert host.enricher.totals["restated_intervals"] == 0
    assert host.context(10)["facts"] == ["job:WO-1/0010@1", "lot:L-1@1"]


def test_a_corrected_fact_names_the_message_that_corrected_it():
    host = Host()
    host.fact(fact("lot"))
    host.fact(fact())
    host.samples((TEMPERATURE, 182.0, 10))
    host.fact(fact("lot", source_rev="2", lot="L-2"))
    host.fact(fact("lot", source_rev="3", lot="L-2", valid_to=60))
    assert host.enricher.totals["restated_intervals"] == 1
    assert host.context(10)["facts"] == ["job:WO-1/0010@1", "lot:L-2@2"]


def test_what_was_said_first_is_named_even_if_it_arrives_last():
    host = Host()
    host.fact(fact("lot"))
    host.fact(fact(source_rev="2", valid_to=60, state="completed"))
    host.samples((TEMPERATURE, 182.0, 10))
    assert host.context(10)["facts"] == ["job:WO-1/0010@2", "lot:L-1@1"]
    host.fact(fact())
    assert host.context(10)["facts"] == ["job:WO-1/0010@1", "lot:L-1@1"]
