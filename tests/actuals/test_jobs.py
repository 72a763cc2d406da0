"""What a job did, through the real enricher and a real record log."""

from __future__ import annotations

from decimal import Decimal

from tests.actuals.plants import GOOD, JOB, NEXT, SCRAP, STATE, TEMPERATURE, Plant, job, lot
from tests.enrichment.builders import at, when
from uns.actuals.jobs import JobPiece
from uns.actuals.response import job_response
from uns.context.times import MAX_NS
from uns.context.words import ResponseState


def test_a_job_counts_from_the_last_sample_before_it(plant: Plant) -> None:
    plant.samples((GOOD, 100, -5), (STATE, 6, -5), (TEMPERATURE, 25.0, -5))
    plant.fact(job(start=0, end=60))
    plant.fact(lot("L-1", start=0, end=60))
    plant.samples((GOOD, 101, 5), (SCRAP, 7, 6), (GOOD, 110, 30), (STATE, 1, 40), (SCRAP, 9, 50))
    plant.samples((GOOD, 130, 61), (TEMPERATURE, 45.0, 20), (TEMPERATURE, 25.0, 30))
    found = plant.actuals()
    assert found.total("good") == (Decimal(10), "C62")
    assert found.total("scrap") == (Decimal(2), "C62")
    assert found.seconds("machine") == 40
    assert found.seconds("setup") == 0
    (quality,) = found.quality
    assert (quality.lowest, quality.highest, quality.out_of_range_s) == (25.0, 45.0, Decimal(10))
    assert (found.start_ns, found.end_ns, found.state) == (at(0), at(60), ResponseState.COMPLETED)
    response = job_response(found, plant.tree, response_id="r-1", published_at=when(100))
    assert response.good is not None
    assert response.good.value == 10
    assert response.lot == "L-1"
    assert response.materials[0].quantity == response.good


def test_a_running_job_has_no_end_and_the_next_one_ends_it(plant: Plant) -> None:
    plant.samples((GOOD, 1, -5))
    plant.fact(job(start=0))
    plant.samples((GOOD, 2, 5))
    view = plant.view()
    assert view.pieces == (JobPiece("packer1", at(0), MAX_NS),)
    assert (view.is_over, view.state) == (False, ResponseState.RUNNING)
    plant.fact(job(NEXT, start=60))
    assert plant.follow() == [JOB, NEXT]
    view = plant.view()
    assert (view.end_ns, view.state) == (at(60), ResponseState.COMPLETED)
