"""What a job did, through the real enricher and a real record log."""

from __future__ import annotations

import struct
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.actuals.plants import (
    ENERGY,
    EXECUTION,
    GOOD,
    JOB,
    LOT,
    NEXT,
    PROGRAM,
    SCRAP,
    STATE,
    TEMPERATURE,
    Plant,
    job,
    line,
    lot,
)
from tests.enrichment.builders import at, when
from uns.actuals.jobs import JobId, JobPiece, LotUse
from uns.actuals.response import job_response
from uns.actuals.totals import LOOK_BACK_NS, JobActuals, JobRuns, job_actuals
from uns.context.records import JobResponse, MaterialActual, Quantity
from uns.context.times import MAX_NS
from uns.context.words import MaterialUse, ResponseState
from uns.enrichment.samples import Quality
from uns.namespace.model import MetricContract, TopicTree
from uns.sparkplug.datatypes import DataType

MakePlant = Callable[..., Plant]


def good(found: JobActuals) -> Decimal:
    total = found.total("good")
    assert total is not None
    assert total[1] == "C62"
    return total[0]


def response(plant: Plant, found: JobActuals, **options: Any) -> JobResponse:
    return job_response(found, plant.tree, response_id="r-1", published_at=when(1_000), **options)


def pieces(quantity: int | str) -> Quantity:
    return Quantity(value=Decimal(quantity), unit="C62", unit_as_received="C62")


# ── a job from its start to its end ──────────────────────────────────────────────────────────────────────────────────


def test_a_job_counts_from_the_last_sample_before_it(plant: Plant):
    plant.samples((GOOD, 100, -5), (STATE, 6, -5), (TEMPERATURE, 25.0, -5))
    plant.fact(job(start=0, end=60))
    plant.fact(lot("L-1", start=0, end=60))
    plant.samples((GOOD, 101, 5), (SCRAP, 7, 6), (GOOD, 110, 30), (STATE, 1, 40), (SCRAP, 9, 50))
    plant.samples((GOOD, 130, 61), (TEMPERATURE, 45.0, 20), (TEMPERATURE, 25.0, 30))
    found = plant.actuals()
    assert good(found) == 10
    assert found.total("scrap") == (Decimal(2), "C62")
    assert found.seconds("machine") == 40
    assert found.seconds("setup") == 0
    (quality,) = found.quality
    assert (quality.lowest, quality.highest, quality.out_of_range_s) == (25.0, 45.0, Decimal(10))
    assert (found.start_ns, found.end_ns, found.state) == (at(0), at(60), ResponseState.COMPLETED)


def test_increments_between_two_jobs_are_counted_once(plant: Plant):
    plant.samples((GOOD, 100, -5))
    plant.fact(job(start=0))
    plant.fact(job(NEXT, start=60))
    plant.samples((GOOD, 150, 50), (GOOD, 170, 70), (GOOD, 200, 100))
    assert good(plant.actuals()) == 50
    assert good(plant.actuals(NEXT)) == 50


def test_a_sample_at_the_very_start_is_in_the_job_and_one_at_its_end_is_not(plant: Plant):
    plant.samples((GOOD, 10, -1), (GOOD, 11, 0), (GOOD, 12, 60))
    plant.fact(job(start=0, end=60))
    assert good(plant.actuals()) == 1


def test_a_counter_that_was_reset_in_the_middle_goes_on_from_zero(plant: Plant):
    plant.samples((GOOD, 500, -5))
    plant.fact(job(start=0, end=60))
    plant.samples((GOOD, 520, 10), (GOOD, 4, 20), (GOOD, 30, 50))
    found = plant.actuals()
    assert good(found) == 20 + 4 + 26
    (counter,) = (c for c in found.counters if c.metric == "good")
    assert counter.steps == {"reset": 1}
    ((step,),) = (evidence.steps for evidence in counter.evidence)
    assert (step.before.value, step.after.value, step.amount) == (520, 4, Decimal(4))


def test_a_counter_that_says_no_counts_is_a_quantity_by_its_name(plant: Plant):
    plant.samples((ENERGY, 10.1, -5))
    plant.fact(job(start=0, end=60))
    plant.samples((ENERGY, 10.4, 10))
    (counter,) = (c for c in plant.actuals().counters if c.metric == "energy")
    assert (counter.counts, counter.unit, counter.quantity) == (None, "KWH", Decimal("0.3"))


def test_a_job_without_samples_made_nothing_and_says_who_ran_it(plant: Plant):
    plant.samples((STATE, 6, -5))
    plant.fact(job(start=0, end=60))
    found = plant.actuals()
    assert good(found) == 0
    assert (found.first_position, found.last_position) == (0, 0)
    assert [(used.equipment, used.seconds) for used in found.equipment] == [("packer1", Decimal(60))]


def test_a_job_of_a_line_adds_up_its_machines(plant: Plant):
    for equipment, counted in (("packer1", 10), ("packer2", 32)):
        plant.samples((GOOD, 0, -5), (STATE, 6, -5), (GOOD, counted, 30), equipment=equipment)
    plant.fact(job(equipment="line7", start=0, end=60))
    found = plant.actuals()
    assert good(found) == 42
    assert found.seconds("machine") == 120
    assert [used.equipment for used in found.equipment] == ["packer1", "packer2"]


def test_a_job_with_a_night_in_between_leaves_out_what_others_made(plant: Plant):
    plant.samples((GOOD, 0, -5))
    plant.fact(job(start=0, end=20, id="a"))
    plant.fact(job(start=40, end=60, id="b"))
    plant.samples((GOOD, 5, 10), (GOOD, 50, 30), (GOOD, 57, 50))
    found = plant.actuals()
    assert good(found) == 5 + 7
    assert (found.start_ns, found.end_ns) == (at(0), at(60))
    assert [used.seconds for used in found.equipment] == [Decimal(40)]


def test_counters_of_different_units_are_not_added_up(make_plant: MakePlant):
    tree = line()
    weighed = msgspec.structs.replace(GOOD, unit="KGM")
    mill = msgspec.structs.replace(tree.classes["Mill"], metrics={**tree.classes["Mill"].metrics, "good": weighed})
    plant = make_plant(msgspec.structs.replace(tree, classes={**tree.classes, "Mill": mill}))
    plant.samples((GOOD, 0, -5), (GOOD, 5, 5))
    plant.samples((weighed, 0, -5), (weighed, 5, 5), equipment="mill1")
    plant.fact(job(equipment="line7", start=0, end=60))
    found = plant.actuals()
    assert found.total("good") is None
    assert response(plant, found).good is None
    assert [counter.quantity for counter in found.counters if counter.counts == "good"] == [5, 5]


def test_a_baseline_further_back_than_it_is_looked_for_is_none(plant: Plant):
    days = LOOK_BACK_NS / 1e9
    plant.samples((GOOD, 100, -days - 1), (SCRAP, 100, -days))
    plant.fact(job(start=0, end=60))
    plant.samples((GOOD, 150, 10), (SCRAP, 150, 10))
    found = plant.actuals()
    assert good(found) == 0
    assert found.total("scrap") == (Decimal(50), "C62")


def test_a_silence_over_the_start_makes_its_amount_uncertain(plant: Plant):
    plant.samples((GOOD, 100, -3_600))
    plant.fact(job(start=0, end=60))
    plant.samples((GOOD, 112, 10), (GOOD, 115, 20))
    (counter,) = (c for c in plant.actuals().counters if c.metric == "good")
    assert (counter.quantity, counter.uncertain) == (Decimal(15), Decimal(12))


def test_a_retyped_counter_goes_on(plant: Plant):
    wide = msgspec.structs.replace(GOOD, datatype=DataType.UINT64)
    plant.samples((GOOD, 100, -5), (GOOD, 110, 5))
    plant.samples((wide, 115, 15), (wide, 2**64 - 1, 20))
    plant.fact(job(start=0, end=60))
    assert good(plant.actuals()) == 2**64 - 1 - 100


# ── running ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_running_job_has_no_end_and_the_next_one_ends_it(plant: Plant):
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


def test_times_of_a_running_job_go_up_to_its_newest_sample(plant: Plant):
    plant.samples((STATE, 6, -5))
    plant.fact(job(start=0))
    plant.samples((GOOD, 2, 42))
    found = plant.actuals()
    assert found.until_ns == at(42)
    assert found.seconds("machine") == 42
    assert plant.actuals(until=50).seconds("machine") == 50
    assert response(plant, found).final is False


def test_totals_of_a_running_job_go_on_with_new_samples_only(plant: Plant):
    plant.samples((GOOD, 0, -5), (STATE, 6, -5))
    plant.fact(job(start=0))
    runs = JobRuns()
    for number in range(1, 20):
        plant.samples((GOOD, number, number))
        found = plant.actuals(runs=runs)
        assert good(found) == number
        runs = msgspec.json.decode(msgspec.json.encode(runs), type=JobRuns)
    assert found == plant.actuals()
    assert len(msgspec.json.encode(runs)) < 3_000


def test_a_late_sample_makes_running_totals_read_again(plant: Plant):
    plant.samples((GOOD, 10, -5))
    plant.fact(job(start=0))
    plant.samples((GOOD, 20, 20))
    runs = JobRuns()
    assert good(plant.actuals(runs=runs)) == 10
    for late, counted in ((5, 10), (10, 20), (-2, 20)):  # at 5 s it says 3: there was a reset, and so on
        plant.samples((GOOD, 3, late))
        batch, _, _ = plant.reader.read(plant.progress, positions_max=1_000)
        for touched in batch.touched:
            runs.receive_touched(touched)
        assert good(plant.actuals(runs=runs)) == good(plant.actuals())
        assert counted


# ── late and corrected ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_late_sample_of_a_finished_job_restates_its_total(plant: Plant):
    plant.samples((GOOD, 100, -5), (GOOD, 110, 5))
    plant.fact(job(start=0, end=60))
    assert good(plant.note()) == 10
    plant.follow()
    plant.samples((GOOD, 125, 59))
    assert plant.follow() == [JOB]
    assert good(plant.actuals()) == 25


def test_a_late_baseline_restates_a_total_that_was_told(plant: Plant):
    plant.samples((GOOD, 100, -50), (GOOD, 110, 5))
    plant.fact(job(start=0, end=60))
    assert good(plant.note()) == 10
    plant.samples((GOOD, 104, -20))
    assert plant.follow() == [JOB]
    assert good(plant.note()) == 6
    plant.samples((GOOD, 101, -30))
    assert plant.follow() == [], "the baseline is a later one"


def test_a_corrected_end_moves_what_was_made_after_it(plant: Plant):
    plant.samples((GOOD, 100, -5), (GOOD, 110, 5), (GOOD, 120, 50))
    plant.fact(job(start=0, end=60))
    assert good(plant.actuals()) == 20
    plant.fact(job(start=0, end=30, source_rev="2"))
    assert plant.follow() == [JOB]
    assert good(plant.actuals()) == 10


def test_a_deleted_fact_leaves_a_job_without_pieces(plant: Plant):
    plant.samples((GOOD, 100, -5), (GOOD, 110, 5))
    plant.fact(job(start=0, end=60))
    plant.note()
    plant.fact(job(start=0, end=60, source_rev="2", action="delete"))
    assert plant.follow() == [JOB]
    found = plant.actuals()
    assert (found.start_ns, found.end_ns, found.counters, found.equipment) == (None, None, (), ())


def test_another_order_for_the_same_time_gets_its_samples(plant: Plant):
    plant.samples((GOOD, 100, -5), (GOOD, 110, 5))
    plant.fact(job(start=0, end=60))
    plant.follow()
    plant.fact(job(NEXT, start=0, end=60, id="mes:WO-1/0010", source_rev="2"))
    assert plant.follow() == [JOB, NEXT]
    assert good(plant.actuals(NEXT)) == 10


def test_a_view_of_an_earlier_position_gives_the_totals_of_then(plant: Plant):
    plant.samples((GOOD, 100, -5), (GOOD, 110, 5))
    plant.fact(job(start=0, end=60))
    before = plant.actuals()
    then = plant.view()
    plant.samples((GOOD, 104, -2), (GOOD, 500, 50))
    plant.follow()
    assert plant.book.position > then.position
    assert job_actuals(plant.tree, plant.reader, then) == before


# ── parallel jobs ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_two_jobs_at_once_each_get_the_whole_increment_and_say_so(make_plant: MakePlant):
    plant = make_plant(line(allow_parallel=True))
    plant.samples((GOOD, 100, -5))
    plant.fact(job(start=0, end=60))
    plant.fact(job(NEXT, start=20, end=80))
    plant.samples((GOOD, 110, 10), (GOOD, 130, 40), (GOOD, 135, 70))
    one, other = plant.actuals(), plant.actuals(NEXT)
    assert [good(one), good(other)] == [30, 25]
    assert [c.shared for a in (one, other) for c in a.counters if c.metric == "good"] == [20, 20]
    assert [piece.shared for piece in plant.view(NEXT).pieces] == [True, False]


def test_where_only_one_may_run_the_later_one_gets_it(plant: Plant):
    plant.samples((GOOD, 100, -5))
    plant.fact(job(start=0, end=60))
    plant.fact(job(NEXT, start=20, end=80))
    plant.samples((GOOD, 110, 10), (GOOD, 130, 40), (GOOD, 135, 70))
    assert [good(plant.actuals()), good(plant.actuals(NEXT))] == [10, 25]


# ── jobs that a PLC names ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_program_that_names_a_planned_job_is_its_start_and_end(plant: Plant):
    plant.fact(job(equipment="mill1", id="erp:1", state="released", recipe="P1@4", start=-600, end=600))
    plant.samples((GOOD, 7, -5), (EXECUTION, "ACTIVE", -5), (PROGRAM, "P1", 0), (LOT, "L-8", 0), equipment="mill1")
    plant.samples((GOOD, 8, 10), (EXECUTION, "READY", 30), (GOOD, 9, 35), equipment="mill1")
    assert plant.view().state is ResponseState.RUNNING
    plant.samples((PROGRAM, "", 40), (GOOD, 99, 45), equipment="mill1")
    found = plant.actuals()
    assert good(found) == 2
    assert found.seconds("machine") == 30
    assert (found.start_ns, found.end_ns, found.state) == (at(0), at(40), ResponseState.COMPLETED)
    told = response(plant, found)
    assert (told.work_master, told.work_master_version, told.lot, told.final) == ("P1", "4", "L-8", True)


def test_a_definition_that_comes_late_makes_a_job_of_a_run(plant: Plant):
    plant.samples((GOOD, 7, -5), (PROGRAM, "P1", 0), (GOOD, 9, 10), (PROGRAM, "", 40), equipment="mill1")
    assert plant.follow() == []
    plant.fact(job(equipment="mill1", id="erp:1", state="released", recipe="P1", start=-600, end=600))
    assert plant.follow() == [JOB]
    assert good(plant.actuals()) == 2


# ── the response ─────────────────────────────────────────────────────────────────────────────────────────────────────


def finished(plant: Plant, *lots: Any) -> JobResponse:
    plant.samples((GOOD, 0, -5), (SCRAP, 0, -5), (STATE, 15, -5), (TEMPERATURE, 25.0, -5))
    plant.fact(job(start=0, end=60))
    for one in lots:
        plant.fact(one)
    plant.samples((GOOD, 40, 30), (SCRAP, 2, 30), (STATE, 6, 20), (TEMPERATURE, 31.0, 45))
    return response(plant, plant.actuals())


def test_the_response_tells_quantities_times_and_equipment(plant: Plant):
    told = finished(plant)
    assert (told.good, told.scrap, told.rework) == (pieces(40), pieces(2), None)
    assert told.setup_time == Quantity(value=Decimal(20), unit="SEC", unit_as_received="SEC")
    assert told.machine_time == Quantity(value=Decimal(40), unit="SEC", unit_as_received="SEC")
    assert told.labour_time is None
    assert (told.job_order, told.work_order, told.operation) == (JOB.job_order, JOB.work_order, JOB.operation)
    assert told.actual is not None
    assert (told.actual.start, told.actual.end) == (when(0), when(60))
    (used,) = told.equipment
    assert (used.equipment, used.level, used.time) == (
        "packer1",
        "WorkCell",
        Quantity(value=Decimal(60), unit="SEC", unit_as_received="SEC"),
    )
    (quality,) = told.quality
    assert (quality.mean, quality.low, quality.high) == (Decimal("26.5"), Decimal(20), Decimal(30))
    assert quality.out_of_range_s == 15


def test_a_quality_value_of_32_bits_is_told_as_it_was_said(plant: Plant):
    (as_it_travels,) = struct.unpack("<f", struct.pack("<f", 24.1))
    plant.fact(job(end=60))
    plant.samples((TEMPERATURE, as_it_travels, 10))
    (quality,) = response(plant, plant.actuals()).quality
    assert (quality.min, quality.max, quality.last) == (Decimal("24.1"), Decimal("24.1"), Decimal("24.1"))


def test_the_one_lot_that_was_made_has_the_good_quantity(plant: Plant):
    told = finished(plant, lot("L-1", end=60), lot("RM-1", "Consumed", material="RM-7", end=60))
    assert told.materials == (
        MaterialActual(material="FG-77", use=MaterialUse.PRODUCED, lot="L-1", quantity=pieces(40), basis="measured"),
        MaterialActual(material="RM-7", use=MaterialUse.CONSUMED, lot="RM-1"),
    )
    assert (told.lot, told.material) == ("L-1", "FG-77")


def test_of_two_lots_that_were_made_counters_do_not_say_how_much_is_which(plant: Plant):
    told = finished(plant, lot("L-1", end=30), lot("L-2", start=30, end=60))
    assert [(made.lot, made.quantity) for made in told.materials] == [("L-1", None), ("L-2", None)]
    assert told.lot is None


def test_a_lot_of_which_nobody_says_what_it_was_for_is_named_and_no_material(plant: Plant):
    told = finished(plant, lot("L-1", None, end=60))
    assert (told.lot, told.materials) == ("L-1", ())
    assert plant.view().lots == (LotUse("L-1", "FG-77"),)


def test_an_aborted_job_is_final_and_a_held_one_is_not(plant: Plant):
    plant.samples((GOOD, 0, -5))
    plant.fact(job(start=0, end=60, state="aborted"))
    assert response(plant, plant.actuals()).final is True
    plant.fact(job(start=0, end=60, state="held", source_rev="2"))
    told = response(plant, plant.actuals())
    assert (told.state, told.final) == (ResponseState.HELD, False)


def test_quantities_are_told_with_twelve_places(plant: Plant):
    energy = MetricContract(name="good", datatype=DataType.DOUBLE, unit="KGM", role="counter", counts="good")
    tree: TopicTree = plant.tree
    packer = msgspec.structs.replace(tree.classes["Packer"], metrics={"good": energy})
    plant.tree = msgspec.structs.replace(tree, classes={**tree.classes, "Packer": packer})
    plant.samples((energy, 0.0, -5), (energy, 1e-9 + 1e-20, 5))
    plant.fact(job(start=0, end=60))
    told = response(plant, plant.actuals())
    assert told.good is not None
    assert told.good.value == Decimal("0.000000001")


@pytest.mark.parametrize(
    ("name", "told"),
    [("WO-1 ", "WO-1"), (" WO", "WO"), ("a\u2028b", "a\ufffdb"), ("\ufffe", "\ufffd"), ("x" * 100, "x" * 100)],
)
def test_names_that_a_record_does_not_take_are_told_as_it_can(plant: Plant, name: str, told: str):
    plant.samples((GOOD, 100, -5))
    job_id = JobId(name, name, name)
    plant.fact(job(job_id, id="1", start=0, end=60, recipe=f"{name}@{name}"))
    plant.fact(lot(name, id="2", material=name, use=name, end=60))
    plant.fact(lot(name, id="3", material=name, end=60))
    found = response(plant, plant.actuals(job_id))
    assert {found.job_order, found.work_order, found.operation, found.work_master, found.lot, found.material} == {told}
    assert [(made.lot, made.material, made.other_use) for made in found.materials] == [
        (told, told, told),
        (told, told, None),
    ]


@pytest.mark.parametrize("quality", [Quality.BAD, Quality.STALE])
def test_what_was_left_out_is_counted(plant: Plant, quality: Quality):
    plant.samples((GOOD, 100, -5), (GOOD, 999, 5, quality), (GOOD, 101, 6))
    plant.fact(job(start=0, end=60))
    (counter,) = (c for c in plant.actuals().counters if c.metric == "good")
    assert (counter.quantity, counter.samples, counter.left_out) == (Decimal(1), 1, 1)
