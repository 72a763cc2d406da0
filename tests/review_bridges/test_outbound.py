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
