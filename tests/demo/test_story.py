"""What the demo tells fits into its time, and tells it late where it means to."""

from __future__ import annotations

import pytest

from uns.runtime.demo.story import FIRST_ORDER, SECOND_LOT, SECOND_ORDER, opening, story

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


def test_the_first_order_runs_before_anything_is_read() -> None:
    running = [each.fact for each in opening(START_NS) if each.fact.state == "running"]
    assert FIRST_ORDER in {fact.work_order for fact in running}


def test_no_two_messages_share_their_name() -> None:
    names = [(t.fact.source, t.fact.id, t.fact.source_rev) for t in (*opening(START_NS), *story(START_NS, 60))]
    assert len(names) == len(set(names))
