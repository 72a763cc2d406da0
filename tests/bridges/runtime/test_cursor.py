from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.bridges.logs import T0, HandLog, S
from uns.adapters.sqlite.record_cursor import Progress, RecordCursor
from uns.context.facts import Fact
from uns.enrichment.plan import MAX_NS, MIN_NS
from uns.errors import ConfigurationError


def fact(id_: str) -> Fact:
    return Fact(
        id=id_, kind="job", equipment="reactor4", valid_from=datetime(2026, 6, 3, tzinfo=UTC), source="mes",
        source_rev="1", job_order="WO-1/0010",
    )  # fmt: skip


@pytest.fixture
def log(tmp_path: Path):
    made = HandLog(tmp_path / "host")
    yield made
    made.close()


@pytest.fixture
def cursor(log: HandLog):
    made = RecordCursor(log.path)
    yield made
    made.close()


def test_batches_follow_one_another_to_the_head(log: HandLog, cursor: RecordCursor) -> None:
    log.write(*map(float, range(10)))
    progress, seen = Progress(), []
    for _ in range(4):
        batch, progress, head = cursor.read(progress, positions_max=4, samples=True)
        seen += [sample.value for sample in batch.samples]
    assert seen == list(map(float, range(10)))
    assert progress.position == head == 11
    assert batch.is_empty()


def test_a_restatement_is_an_interval_of_a_higher_revision(log: HandLog, cursor: RecordCursor) -> None:
    log.write(1.0)
    _, progress, _ = cursor.read(Progress(), positions_max=100)
    log.restate("WO-2")
    batch, _, _ = cursor.read(progress, positions_max=100)
    assert [(row[4], row[8]) for row in batch.intervals] == [(1, "WO-2")]


def test_each_fact_comes_once(log: HandLog, cursor: RecordCursor) -> None:
    progress, seen = Progress(), []
    for number in range(3):
        log.state(fact(f"mes:{number}"))
        log.write(1.0)
        batch, progress, _ = cursor.read(progress, positions_max=100)
        seen += [row[1] for row in batch.facts]
    assert cursor.read(progress, positions_max=100)[0].is_empty()
    assert seen == ["mes:0", "mes:1", "mes:2"]


def test_facts_come_in_batches_and_those_known_at_one_time_stay_together(log: HandLog, cursor: RecordCursor) -> None:
    for number in range(6):
        log.state(fact(f"mes:{number}"), known_at_ns=T0 + number // 3)
    batch, progress, _ = cursor.read(Progress(), positions_max=100, facts_max=2)
    assert [row[1] for row in batch.facts] == ["mes:0", "mes:1", "mes:2"]
    batch, progress, _ = cursor.read(progress, positions_max=100, facts_max=2)
    assert [row[1] for row in batch.facts] == ["mes:3", "mes:4", "mes:5"]
    batch, progress, _ = cursor.read(progress, positions_max=100, facts_max=2)
    assert not batch.facts


def test_a_fact_known_before_the_last_one_is_found_too(log: HandLog, cursor: RecordCursor) -> None:
    log.state(fact("mes:1"), known_at_ns=T0 + S)
    _, progress, _ = cursor.read(Progress(), positions_max=100)
    log.state(fact("mes:2"), known_at_ns=T0)  # the host's clock was set back while it was down
    batch, progress, _ = cursor.read(progress, positions_max=100)
    assert "mes:2" in [row[1] for row in batch.facts]
    assert cursor.read(progress, positions_max=100)[0].is_empty()


def test_another_log_in_its_place_is_refused(log: HandLog, cursor: RecordCursor) -> None:
    log.write(1.0)
    with pytest.raises(ConfigurationError, match="not the record log"):
        cursor.read(Progress(position=1, log_id="somebody else"), positions_max=10)
    with pytest.raises(ConfigurationError, match="not the record log"):
        cursor.read(Progress(position=100), positions_max=10)


def test_rows_of_a_range_are_the_log_as_it_was_then(log: HandLog, cursor: RecordCursor) -> None:
    log.write(1.0)
    log.restate("WO-2")
    first = cursor.table_rows(0, 2, facts_after_ns=0, facts_to_ns=0)
    assert [row[6] for row in first.intervals] == [MAX_NS]  # open, as it was before the restatement
    assert first.closed == []
    second = cursor.table_rows(2, 3, facts_after_ns=0, facts_to_ns=0)
    assert [position for _, position in second.closed] == [1]
    assert [position for _, position in first.closed_since] == [1]


def test_samples_of_a_time_come_in_order_and_the_last_one_before_it(log: HandLog, cursor: RecordCursor) -> None:
    log.write(1.0, 2.0, 3.0)
    samples = list(cursor.samples("reactor4", ["temperature"], MIN_NS, MAX_NS))
    assert [sample.value for sample in samples] == [1.0, 2.0, 3.0]
    before = cursor.last_before("reactor4", "temperature", samples[1].source_time_ns)
    assert before is not None
    assert before.value == 1.0
    assert list(cursor.samples("reactor4", ["unknown"], MIN_NS, MAX_NS)) == []
    assert [row[8] for row in cursor.intervals("reactor4", T0, T0 + S)] == ["WO-1"]


def test_the_standing_intervals_of_an_order_are_all_of_them_also_the_old_ones(
    log: HandLog, cursor: RecordCursor
) -> None:
    assert cursor.last_recorded_ns() is None
    log.write(1.0)
    log.write(1.0, equipment="mixer1")
    log.restate("WO-2")
    head, rows = cursor.standing(work_orders=["WO-1", "WO-2", "WO-3"])
    assert head == log.head
    assert [(row[1], row[8]) for row in rows] == [("mixer1", "WO-1"), ("reactor4", "WO-2")]  # in order of position
    assert cursor.standing(since_ns=MIN_NS)[1] == rows
    assert cursor.standing()[1] == []
    known_ns = rows[0][5]
    assert [row[8] for row in cursor.standing(since_ns=known_ns)[1]] == ["WO-1", "WO-2"]  # both go on for ever
    assert cursor.last_recorded_ns() is not None
