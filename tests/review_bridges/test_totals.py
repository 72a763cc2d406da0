"""Numbers that no plant counts and devices say nevertheless: they cost neither the job nor anybody else's."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from tests.actuals.plants import GOOD, JOB, TEMPERATURE, Plant, job, line
from tests.bridges.b2mml.outbound import Follower
from tests.enrichment.builders import at, when
from uns.actuals.order_board import OrderBoard
from uns.actuals.response import job_response
from uns.adapters.sqlite.record_cursor import Progress
from uns.enrichment.samples import Quality
from uns.namespace.model import TopicTree
from uns.sparkplug.datatypes import DataType

COUNTER = msgspec.structs.replace(GOOD, datatype=DataType.DOUBLE, rollover=None)
MEASURED = msgspec.structs.replace(TEMPERATURE, datatype=DataType.DOUBLE)


def doubles() -> TopicTree:
    tree = line()
    packer = tree.classes["Packer"]
    metrics = {**packer.metrics, COUNTER.name: COUNTER, MEASURED.name: MEASURED}
    return msgspec.structs.replace(
        tree, classes={**tree.classes, "Packer": msgspec.structs.replace(packer, metrics=metrics)}
    )


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    made = Plant(tmp_path, doubles())
    made.now_ns = at(1000)
    made.samples((COUNTER, 1.0, -5), (MEASURED, 21.5, -5))
    made.fact(job(start=0, end=60))
    yield made
    made.close()


@pytest.mark.parametrize("garbage", [1e31, 1.7976931348623157e308, -9.2559631349317831e61])
def test_a_number_beyond_what_anything_counts_is_left_out(plant: Plant, garbage: float) -> None:
    plant.samples((COUNTER, 4.0, 5), (COUNTER, garbage, 10), (COUNTER, 6.5, 20))
    plant.samples((MEASURED, garbage, 10), (MEASURED, 22.5, 20))
    actuals = plant.actuals()
    (good,) = [one for one in actuals.counters if one.counts == "good"]
    assert (good.quantity, good.left_out) == (Decimal("5.5"), 1)
    (told,) = Follower(plant).tell()
    assert told.good is not None
    assert told.good.value == Decimal("5.5")
    (quality,) = told.quality
    assert (quality.min, quality.max, quality.mean) == (Decimal("21.5"), Decimal("22.5"), Decimal("22.3"))


@pytest.mark.parametrize("tiny", [5e-324, 1.2e-70, -3e-61])
def test_a_number_that_is_next_to_nothing_is_told_as_nothing(plant: Plant, tiny: float) -> None:
    plant.samples((COUNTER, 1.0 + 0.0, 5), (MEASURED, tiny, 5))
    response = job_response(plant.actuals(), plant.tree, response_id="r-1", published_at=when(1000))
    (quality,) = response.quality
    assert quality.last == 0
    assert len(Follower(plant).tell()) == 1


def test_a_range_without_bounds_worth_the_name_keeps_no_job_from_being_told(plant: Plant) -> None:
    packer = plant.tree.classes["Packer"]
    wide = msgspec.structs.replace(MEASURED, range=(-1e308, 1e308))
    classes = {"Packer": msgspec.structs.replace(packer, metrics={**packer.metrics, wide.name: wide})}
    plant.tree = msgspec.structs.replace(plant.tree, classes={**plant.tree.classes, **classes})
    plant.samples((MEASURED, 22.5, 5))
    (told,) = Follower(plant).tell()
    assert (told.quality[0].low, told.quality[0].high) == (None, None)


def test_orders_are_shown_though_a_counter_said_garbage(plant: Plant) -> None:
    plant.samples((COUNTER, 1e300, 10), (COUNTER, 3.0, 20))
    board = OrderBoard(plant.tree)
    batch, _, _ = plant.reader.read(Progress(), positions_max=1_000)
    board.receive(batch)
    messages, _ = board.due(plant.reader, plant.now_ns)
    (order,) = [message for message in messages if b"uns1.work_order_state" in message.payload]
    assert b'"good":{"value":"2"' in order.payload
    assert JOB.job_order.encode() in order.payload


def test_what_a_sample_at_the_very_start_replaced_was_not_measured_in_the_job(plant: Plant) -> None:
    """A PLC names its job and tells its values at one time."""
    plant.samples((MEASURED, 99.0, -2))
    plant.samples((MEASURED, 22.0, 0), (MEASURED, 23.0, 30))
    (quality,) = plant.actuals().quality
    assert (quality.lowest, quality.highest, quality.mean, quality.out_of_range_s) == (
        22.0, 23.0, 22.5, Decimal(0),
    )  # fmt: skip


def test_a_bad_sample_at_the_very_start_leaves_nothing_measured(plant: Plant) -> None:
    plant.samples((MEASURED, 99.0, -2))
    plant.samples((MEASURED, 22.0, 0, Quality.BAD))
    (quality,) = plant.actuals().quality
    assert (quality.lowest, quality.highest, quality.last, quality.mean) == (None, None, None, None)
