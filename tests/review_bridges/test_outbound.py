"""What a receiver of performances may rely on when clocks, bounds and names are not kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.actuals.plants import GOOD, Plant, job
from tests.bridges.b2mml.outbound import SECOND, Follower, books
from tests.enrichment.builders import at
from uns.actuals.jobs import JobId

NOW_S = 1000
YEAR_S = 366 * 86_400


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    made = Plant(tmp_path)
    made.now_ns = at(NOW_S)
    yield made
    made.close()


def test_a_host_whose_clock_was_ahead_once_does_not_hold_performances_back(plant: Plant) -> None:
    plant.now_ns = at(YEAR_S)  # knowledge time never runs back
    plant.samples((GOOD, 100, -5))
    plant.now_ns = at(NOW_S)
    plant.fact(job(start=0, end=60))
    plant.samples((GOOD, 110, 30))
    follower = Follower(plant, grace_ns=300 * SECOND)
    assert follower.tell() == []
    (told,) = follower.tell(later_s=301)
    assert told.good is not None
    assert told.good.value == 10


def test_orders_whose_ids_hold_the_separator_are_told_each(plant: Plant) -> None:
    one, other = JobId("B|C", "A", None), JobId("C", "A|B", None)
    plant.samples((GOOD, 100, -5))
    plant.fact(job(one, id="mes:1", start=0, end=60))
    plant.fact(job(other, id="mes:2", start=60, end=120))
    plant.samples((GOOD, 110, 30), (GOOD, 117, 90))
    follower = Follower(plant)
    items = follower.tell_items()
    assert len({item.key for item in items}) == 2
    assert books(items) == {"B|C": ("10", "Completed"), "C": ("7", "Completed")}


def test_a_correction_of_a_job_beyond_the_bound_does_not_pass_for_the_whole(plant: Plant) -> None:
    follower = Follower(plant)
    follower.mapping._book.jobs_max = 4
    plant.samples((GOOD, 0, -5))
    jobs = [JobId(f"J{number}", "W", None) for number in range(8)]
    for number, job_id in enumerate(jobs):
        plant.fact(job(job_id, start=number * 10, end=number * 10 + 10))
        plant.samples((GOOD, number * 10 + 5, number * 10 + 5), (GOOD, number * 10 + 9, number * 10 + 9))
        follower.tell()
    before = books(follower.items)
    assert before["J0"] == ("9", "Completed")
    for revision, end in (("2", 8), ("3", 10)):
        plant.fact(job(jobs[0], start=0, end=end, source_rev=revision))
        assert follower.tell() == []
    plant.fact(job(jobs[0], id="mes:again", start=100, end=110))  # it goes on
    plant.samples((GOOD, 103, 103), equipment="packer1")
    assert follower.tell() == []
    assert books(follower.items) == before
    # What is not beyond it is corrected as ever, also by a later process.
    follower.restart()
    follower.mapping._book.jobs_max = 4
    plant.fact(job(jobs[7], start=70, end=78, source_rev="2"))
    plant.fact(job(jobs[0], start=0, end=9, source_rev="4"))
    assert [told.job_order for told in follower.tell()] == ["J7"]


def test_a_correction_is_dated_after_what_it_reverses_though_the_clock_was_set_back(plant: Plant) -> None:
    plant.samples((GOOD, 100, -5))
    plant.fact(job(start=0, end=60))
    plant.samples((GOOD, 110, 30))
    follower = Follower(plant)
    plant.now_ns = at(NOW_S + 7200)
    (first,) = follower.tell()
    follower.restart()
    plant.samples((GOOD, 112, 40))
    plant.now_ns = at(NOW_S)
    (second,) = follower.tell()
    assert second.reverses == first.response_id
    assert second.published_at > first.published_at


def test_a_correction_that_was_planned_by_a_clock_that_ran_ahead_comes_with_the_next_change(plant: Plant) -> None:
    plant.samples((GOOD, 100, -5))
    plant.fact(job(start=0, end=60))
    plant.samples((GOOD, 110, 30))
    follower = Follower(plant, grace_ns=300 * SECOND)
    follower.tell()
    (first,) = follower.tell(later_s=301)
    plant.samples((GOOD, 112, 40))
    follower.step(now_ns=at(YEAR_S))  # the bridge's clock
    plant.samples((GOOD, 113, 50))
    assert follower.tell() == []
    (second,) = follower.tell(later_s=301)
    assert second.good is not None
    assert second.reverses == first.response_id
    assert second.good.value == 13
