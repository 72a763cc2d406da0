"""What totals read of a record log: where samples were added, and rows of one metric up to a position."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.actuals.plants import ENERGY, GOOD, SCRAP, STATE, Plant
from tests.enrichment.builders import at
from uns.adapters.sqlite import record_cursor
from uns.adapters.sqlite.record_cursor import Progress
from uns.context.times import MAX_NS, MIN_NS
from uns.enrichment.log import LogBatch, MetricRow, Touched
from uns.enrichment.samples import Quality
from uns.sparkplug.datatypes import DataType


def batch_of(plant: Plant, progress: Progress | None = None, **options: Any) -> LogBatch:
    return plant.reader.read(progress or Progress(), positions_max=options.pop("positions_max", 10_000), **options)[0]


def rows_of(
    plant: Plant, metric: str, *, up_to: int = MAX_NS, span: tuple[int, int] = (MIN_NS, MAX_NS)
) -> list[MetricRow]:
    return [row for chunk in plant.reader.rows("packer1", metric, *span, up_to=up_to) for row in chunk]


# ── touched ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_batch_tells_where_samples_were_added_without_giving_them(plant: Plant):
    plant.samples((GOOD, 1, 30), (SCRAP, 1, 10), (GOOD, 2, 5))
    plant.samples((STATE, 6, 7), equipment="packer2")
    batch = batch_of(plant)
    assert batch.samples == ()
    spans = {(t.equipment, t.metric): (t.from_ns, t.to_ns, t.samples) for t in batch.touched}
    assert spans == {
        ("packer1", "good"): (at(5), at(30) + 1, 2),
        ("packer1", "scrap"): (at(10), at(10) + 1, 1),
        ("packer2", "state"): (at(7), at(7) + 1, 1),
    }
    assert [t.first_position for t in batch.touched] == sorted(t.first_position for t in batch.touched)
    assert all(batch.after < t.first_position <= t.last_position <= batch.to for t in batch.touched)


def test_a_batch_tells_of_its_own_positions_only(plant: Plant):
    plant.samples((GOOD, 1, 5))
    progress = plant.reader.read(Progress(), positions_max=10_000)[1]
    plant.samples((GOOD, 2, 3))
    (touched,) = batch_of(plant, progress).touched
    assert touched == Touched("packer1", "good", at(3), at(3) + 1, 1, progress.position + 1, progress.position + 1)


def test_batches_of_one_position_tell_the_same_together(plant: Plant):
    plant.samples((GOOD, 1, 30), (SCRAP, 1, 10), (GOOD, 2, 5))
    progress, seen = Progress(), []
    while not (found := plant.reader.read(progress, positions_max=1))[0].is_empty():
        seen += [(t.metric, t.from_ns, t.samples) for t in found[0].touched]
        progress = found[1]
    assert seen == [("good", at(30), 1), ("scrap", at(10), 1), ("good", at(5), 1)]


def test_a_retyped_metric_is_touched_once(plant: Plant):
    plant.samples((GOOD, 1, 5), (msgspec.structs.replace(GOOD, datatype=DataType.UINT64), 2, 9))
    (touched,) = batch_of(plant).touched
    assert (touched.from_ns, touched.to_ns, touched.samples) == (at(5), at(9) + 1, 2)


def test_nothing_new_touches_nothing(plant: Plant):
    plant.samples((GOOD, 1, 5))
    progress = plant.reader.read(Progress(), positions_max=10_000)[1]
    assert batch_of(plant, progress).touched == ()


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_rows_come_by_time_then_ordinal_however_they_arrived(plant: Plant):
    plant.samples((GOOD, 4, 20, Quality.GOOD, 1), (GOOD, 3, 20, Quality.GOOD, 0), (GOOD, 1, 5), (SCRAP, 9, 6))
    assert [(r[0], r[1], r[2]) for r in rows_of(plant, "good")] == [(at(5), 0, 1), (at(20), 0, 3), (at(20), 1, 4)]


def test_rows_lie_in_their_span_closed_on_the_left(plant: Plant):
    plant.samples((GOOD, 1, 5), (GOOD, 2, 6), (GOOD, 3, 7))
    assert [r[2] for r in rows_of(plant, "good", span=(at(5), at(7)))] == [1, 2]


def test_rows_of_later_positions_are_left_out(plant: Plant):
    plant.samples((GOOD, 1, 5))
    head = plant.reader.head()
    plant.samples((GOOD, 2, 4))
    assert [r[2] for r in rows_of(plant, "good", up_to=head)] == [1]
    assert [r[2] for r in rows_of(plant, "good")] == [2, 1]


@pytest.mark.parametrize(
    ("metric", "value", "read"),
    [
        (ENERGY, 0.1, 0.1),
        (ENERGY, float("nan"), "NaN"),
        (ENERGY, float("-inf"), "-Infinity"),
        (msgspec.structs.replace(GOOD, datatype=DataType.UINT64), 2**64 - 1, str(2**64 - 1)),
        (msgspec.structs.replace(GOOD, datatype=DataType.INT64), -(2**63), -(2**63)),
        (msgspec.structs.replace(STATE, datatype=DataType.BOOLEAN), True, 1),
        (msgspec.structs.replace(STATE, datatype=DataType.STRING), "ACTIVE", "ACTIVE"),
        (GOOD, None, None),
    ],
)
def test_a_value_comes_in_the_type_it_is_kept_in(plant: Plant, metric: Any, value: Any, read: Any):
    plant.samples((metric, value, 5))
    ((_, _, found, _, _, _),) = rows_of(plant, metric.name)
    assert found == read
    assert type(found) is type(read)


def test_a_metric_that_is_not_in_the_log_has_no_rows(plant: Plant):
    plant.samples((GOOD, 1, 5))
    assert rows_of(plant, "unheard of") == []


def test_rows_before_a_time_come_newest_first_and_reach_back_so_far(plant: Plant):
    plant.samples((GOOD, 1, 5), (GOOD, 2, 6), (GOOD, 3, 7), (GOOD, 4, 8))
    rows = plant.reader.rows_before("packer1", "good", at(8), not_before_ns=at(6), up_to=MAX_NS)
    assert [r[2] for r in rows] == [3, 2]


def test_rows_that_were_not_read_to_their_end_hold_nothing_up(plant: Plant):
    plant.samples((GOOD, 1, 5), (GOOD, 2, 6))
    rows = plant.reader.rows_before("packer1", "good", at(8), not_before_ns=at(0), up_to=MAX_NS)
    assert next(rows)[2] == 2
    rows.close()
    assert [r[2] for r in rows_of(plant, "good")] == [1, 2]


# ── a metric that is mostly silent ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("noted", [True, False], ids=["noted", "not noted yet"])
def test_a_silent_metric_is_found_wherever_it_spoke(plant: Plant, monkeypatch: pytest.MonkeyPatch, *, noted: bool):
    monkeypatch.setattr(record_cursor, "_HAS_MANY", "SELECT ?1 + ?2")  # as in a log with many others
    hour = 3_600
    times = [-50 * hour, -hour, -599, -1, 0, 1, 599, 600, 601, 7 * hour, 7 * hour + 0.5]
    for number, seconds in enumerate(times):
        plant.samples((SCRAP, number, seconds), (GOOD, number, seconds + 300))
    if noted:
        plant.restart_host()
    plant.samples((SCRAP, 90, -2 * hour), (SCRAP, 91, 300))  # late ones, after the host had noted the others
    found = [(r[0], r[2]) for r in rows_of(plant, "scrap")]
    expected = sorted([*((at(s), n) for n, s in enumerate(times)), (at(-2 * hour), 90), (at(300), 91)])
    assert found == expected
    for lo, hi in ((-hour, 600), (-hour + 1, 601), (0, 0.001), (2, 299), (-60 * hour, -50 * hour), (hour, 8 * hour)):
        within = [item for item in expected if at(lo) <= item[0] < at(hi)]
        assert [(r[0], r[2]) for r in rows_of(plant, "scrap", span=(at(lo), at(hi)))] == within
        back = plant.reader.rows_before("packer1", "scrap", at(hi), not_before_ns=at(lo), up_to=MAX_NS)
        assert [(r[0], r[2]) for r in back] == within[::-1]


def test_many_rows_come_in_chunks_whatever_their_spans(plant: Plant):
    for start in range(0, 12_000, 3_000):
        plant.samples(*((GOOD, n, n) for n in range(start, start + 3_000)))
    chunks = list(plant.reader.rows("packer1", "good", MIN_NS, MAX_NS, up_to=MAX_NS))
    assert [len(chunk) for chunk in chunks] == [5_000, 5_000, 2_000]
    assert [r[2] for chunk in chunks for r in chunk] == list(range(12_000))
