"""What the demo tells fits into its time, and tells it late where it means to."""

from __future__ import annotations

import pytest

from uns.runtime.demo.story import FIRST_LOT, FIRST_ORDER, SECOND_LOT, SECOND_ORDER, first_start, opening, story

START_NS = 1_780_000_000_000_000_000


@pytest.mark.parametrize("seconds", [15.0, 60.0, 3600.0])
def test_everything_is_told_before_the_demo_ends(seconds: float) -> None:
    told = story(START_NS, seconds)
    assert [each.at_s for each in told] == sorted(each.at_s for each in told)
    assert all(0 < each.at_s < seconds * 0.9 for each in told)


@pytest.mark.parametrize("seconds", [15.0, 60.0])
def test_the_second_orders_start_is_told_late(seconds: float) -> None:
    (late,) = (each for each in story(START_NS, seconds) if each.fact.work_order == SECOND_ORDER)
    told_ns = START_NS + int(late.at_s * 1e9)
    late_s = (told_ns / 1e9) - late.fact.valid_from.timestamp()
    assert late_s == pytest.approx(min(10.0, seconds * 0.2), abs=0.01)


def test_line_2_is_idle_between_its_orders() -> None:
    jobs = sorted((t.fact for t in story(START_NS, 60) if t.fact.kind == "job"), key=lambda fact: fact.valid_from)
    assert [job.job_order for job in jobs] == [None, f"{SECOND_ORDER}/0010"]


def test_a_lot_is_corrected_under_the_same_id() -> None:
    first, second = (each.fact for each in story(START_NS, 60) if each.fact.kind == "lot")
    assert (first.id, first.valid_from) == (second.id, second.valid_from)
    assert (first.source_rev, second.source_rev, second.lot) == ("1", "2", SECOND_LOT)


def test_no_order_of_line_2_runs_before_its_order_has_come() -> None:
    said = {each.fact.equipment: each.fact for each in opening(START_NS) if each.fact.state != "released"}
    assert (said["line2"].kind, said["line2"].job_order) == ("job", None)  # idle, and that is said


def test_the_lot_is_there_before_the_first_order_is_started() -> None:
    lot, job = (each.fact for each in first_start(START_NS))
    assert (lot.lot, job.work_order, job.state) == (FIRST_LOT, FIRST_ORDER, "running")


def test_no_two_messages_share_their_name() -> None:
    told = (*opening(START_NS), *first_start(START_NS), *story(START_NS, 60))
    names = [(t.fact.source, t.fact.id, t.fact.source_rev) for t in told]
    assert len(names) == len(set(names))
