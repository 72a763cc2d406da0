from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from uns.adapters.sqlite.record_log import RecordIndexReader, RecordLog
from uns.context.facts import Fact
from uns.enrichment.plan import MAX_NS, MIN_NS, OutboxMessage, RecordPlan, columns_of
from uns.enrichment.samples import Quality, StoredSample, StoredUnrecorded
from uns.errors import StorageError, StorageFullError

S = 1_000_000_000
T0 = 1_780_515_120 * S  # 2026-06-03T19:32:00Z


def sample(position: int, *, series: int = 1, time_ns: int = T0, ordinal: int = 0, value=182.0, payload: int = 1):
    return (position, series, time_ns, ordinal, *columns_of(value), 0, 0, 0, payload)


def payload(number: int = 1, *, recorded_at_ns: int = T0):
    return (number, "acme.dallas", "gw-1", "reactor4", "s1", 7, 41, 0, T0, recorded_at_ns, 12)


def interval(
    position: int, *, from_ns: int = MIN_NS, to_ns: int = MAX_NS, rev: int = 0, known_from_ns: int = 0, **more
):
    body = msgspec.json.encode({"status": more.get("status", "resolved")}).decode()
    return (
        position,
        more.get("equipment", "reactor4"),
        from_ns,
        to_ns,
        rev,
        known_from_ns,
        MAX_NS,
        more.get("status", "resolved"),
        more.get("work_order", "WO-1"),
        body,
        more.get("reason", "first"),
    )


def plan(**parts) -> RecordPlan:
    defaults: dict[str, Any] = {
        "series": [(1, "reactor4", "temperature", "Float", "CEL")],
        "payloads": [payload()],
        "samples": [sample(2)],
        "intervals_opened": [interval(1)],
        "next_position": 3,
        "next_payload": 2,
    }
    return RecordPlan(**(defaults | parts))


def rows(path: Path, statement: str, *arguments) -> list[dict[str, Any]]:
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in connection.execute(statement, arguments)]
    finally:
        connection.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.db"


@pytest.fixture
def log(path: Path):
    opened = RecordLog(path, is_context=lambda _equipment, metric: metric == "batch/phase")
    opened.load()
    yield opened
    opened.close()


def test_a_committed_plan_is_read_back_whole(log, path):
    fact = Fact(
        id="mes:1",
        kind="job",
        equipment="reactor4",
        source="mes",
        source_rev="3",
        valid_from=datetime(2026, 6, 3, 19, tzinfo=UTC),
        work_order="WO-1",
    )
    row = ("mes", "mes:1", "3", 1, "job", "reactor4", "add", T0, None, T0 + 5, msgspec.json.encode(fact).decode(), "h")
    log.commit(
        plan(
            series=[(1, "reactor4", "temperature", "Float", "CEL"), (2, "reactor4", "batch/phase", "String", None)],
            samples=[sample(2), sample(3, series=2, value="React")],
            facts=[row],
            counters={"recorded": 2},
            equipment_logs=[("reactor4", 3)],
            next_position=4,
        ),
        joined=12,
    )
    log.commit(RecordPlan(counters={"recorded": 1}, next_position=4, next_payload=2), joined=13)
    log.close()
    again = RecordLog(path, is_context=lambda _equipment, metric: metric == "batch/phase")
    state, joined = again.load()
    assert joined == 13
    assert (state.next_position, state.next_payload) == (4, 2)
    assert state.counters == {"recorded": 3}
    assert state.equipment_logs == [("reactor4", 3)]
    assert [(r[0][2], r[1]) for r in state.series] == [("temperature", T0), ("batch/phase", T0)]
    assert [(s.metric, s.value, s.source_time_ns) for s in state.context_samples] == [("batch/phase", "React", T0)]
    assert [(f.fact, f.rev, f.known_at_ns) for f in state.facts] == [(fact, 1, T0 + 5)]
    assert [i[1] for i in state.intervals] == ["reactor4"]
    again.close()


def test_a_plan_is_committed_whole_or_not_at_all(log, path):
    log.commit(plan(), joined=1)
    broken = plan(series=[], payloads=[payload(2)], samples=[sample(5), sample(6)], intervals_opened=[])
    with pytest.raises(StorageError):
        log.commit(broken, joined=2)
    assert log.load()[1] == 1
    assert len(rows(path, "SELECT * FROM samples")) == 1
    assert len(rows(path, "SELECT * FROM payloads")) == 1


def test_no_two_rows_have_the_same_key(log):
    log.commit(plan(), joined=1)
    with pytest.raises(StorageError, match="UNIQUE"):
        log.commit(plan(series=[], payloads=[], samples=[sample(9)], intervals_opened=[]), joined=2)


@pytest.mark.parametrize(
    ("value", "type_label"),
    [
        (182.0, "Float"),
        (float("inf"), "Double"),
        (2**64 - 1, "UInt64"),
        (-(2**63), "Int64"),
        (True, "Boolean"),
        ("React", "String"),
        (b"\x00\xff", "Bytes"),
        (None, "Float"),
    ],
)
def test_every_value_comes_back_as_it_was(log, path, value, type_label):
    log.commit(plan(series=[(1, "reactor4", "m", type_label, None)], samples=[sample(2, value=value)]), joined=1)
    index = RecordIndexReader(path)
    assert index.at("reactor4", "m", T0) == [StoredSample(0, value, Quality.GOOD, 0)]
    index.close()


def test_nan_is_kept_apart_from_null(log, path):
    log.commit(
        plan(samples=[sample(2, value=float("nan")), sample(3, ordinal=1, value=None)], next_position=4), joined=1
    )
    index = RecordIndexReader(path)
    nan, null = index.at("reactor4", "temperature", T0)
    index.close()
    assert isinstance(nan.value, float)
    assert nan.value != nan.value
    assert null.value is None
    assert [r["value_text"] for r in rows(path, "SELECT value_text FROM records ORDER BY position")] == ["NaN", None]


def test_the_index_sees_each_commit_and_counts_over_whole_and_broken_seconds(log, path):
    index = RecordIndexReader(path)
    assert index.at("reactor4", "temperature", T0) == []
    times = [T0 - 1, T0, T0 + 1, T0 + S, T0 + 5 * S + 7, -1, 0, -S]
    log.commit(plan(samples=[sample(2 + n, time_ns=t) for n, t in enumerate(times)], next_position=10), joined=1)
    for from_ns, to_ns in [
        (T0, T0 + 1),
        (T0 - 1, T0 + S),
        (T0 - S, T0 + 6 * S),
        (MIN_NS, MAX_NS),
        (T0, T0),
        (-2 * S, 1),
        (-1, T0 + 5 * S + 7),
    ]:
        assert index.count("reactor4", from_ns, to_ns) == sum(from_ns <= t < to_ns for t in times), (from_ns, to_ns)
    assert index.count("other", MIN_NS, MAX_NS) == 0
    index.close()


def test_a_retyped_metric_keeps_the_samples_of_its_old_series(log, path):
    log.commit(
        plan(
            series=[(1, "reactor4", "m", "Int32", None), (2, "reactor4", "m", "Double", None)],
            samples=[sample(2, value=5), sample(3, series=2, ordinal=1, value=5.5)],
        ),
        joined=1,
    )
    index = RecordIndexReader(path)
    assert [s.value for s in index.at("reactor4", "m", T0)] == [5, 5.5]
    index.close()


def test_unrecorded_samples_are_kept_by_key(log, path):
    row = ("rejected", "g", "n", "d", "m", T0, 0, "wrong_type", b"raw", T0)
    log.commit(plan(unrecorded=[row]), joined=1)
    index = RecordIndexReader(path)
    assert index.unrecorded_at("g", "n", "d", "m", T0) == [StoredUnrecorded(0, b"raw")]
    assert index.unrecorded_at("g", "n", "", "m", T0) == []
    index.close()


def test_the_view_shows_the_newest_revision_and_reads_without_help(log, path):
    log.commit(plan(), joined=1)
    log.commit(
        plan(
            series=[],
            payloads=[],
            samples=[],
            intervals_opened=[interval(4, rev=1, known_from_ns=T0 + 100 * S, work_order="WO-2", reason="corrected")],
            intervals_closed=[(T0 + 100 * S, 1)],
        ),
        joined=1,
    )
    (row,) = rows(path, "SELECT * FROM records")
    assert row["source_time"] == "2026-06-03T19:32:00.000Z"
    assert (row["equipment"], row["metric"], row["value_num"], row["unit"]) == ("reactor4", "temperature", 182.0, "CEL")
    assert (row["work_order"], row["rev"], row["status"], row["quality"]) == ("WO-2", 1, "resolved", "good")
    assert (row["edge_node_id"], row["session"], row["seq"], row["reason"]) == ("gw-1", "s1", 41, "corrected")


def test_the_same_as_known_at_a_time_is_reproducible(log, path):
    log.commit(
        plan(intervals_opened=[interval(1, known_from_ns=T0 + 10)], payloads=[payload(recorded_at_ns=T0 + 10)]),
        joined=1,
    )
    log.commit(
        RecordPlan(
            intervals_opened=[interval(4, rev=1, known_from_ns=T0 + 100, work_order="WO-2")],
            intervals_closed=[(T0 + 100, 1)],
            next_position=5,
        ),
        joined=1,
    )
    query = "SELECT work_order FROM records_all_revisions WHERE ? >= known_from_ns AND ? < known_to_ns"
    known = {at: [r["work_order"] for r in rows(path, query, T0 + at, T0 + at)] for at in (9, 10, 99, 100, 10_000)}
    assert known == {9: [], 10: ["WO-1"], 99: ["WO-1"], 100: ["WO-2"], 10_000: ["WO-2"]}


def test_times_before_1970_and_at_the_ends_are_readable(log, path):
    log.commit(plan(samples=[sample(2, time_ns=-1_000_000), sample(3, time_ns=0)], next_position=4), joined=1)
    times = [r["source_time"] for r in rows(path, "SELECT source_time FROM records ORDER BY source_time_ns")]
    assert times == ["1969-12-31T23:59:59.999Z", "1970-01-01T00:00:00.000Z"]


def test_the_outbox_keeps_log_order_until_it_is_published(log, path):
    first = log.commit(plan(outbox=[OutboxMessage("a", b"1"), OutboxMessage("b", b"2", 1, True)]), joined=1)
    second = log.commit(RecordPlan(outbox=[OutboxMessage("c", b"3")], next_position=3), joined=2, published=first[0])
    assert [*first, *second] == [1, 2, 3]
    assert [(i, m.topic, m.retain) for i, m in log.outbox_after(0, messages_max=10)] == [
        (2, "b", True),
        (3, "c", False),
    ]
    log.forget_published(3)
    log.close()
    again = RecordLog(path)
    again.load()
    assert again.commit(RecordPlan(outbox=[OutboxMessage("d", b"4")], next_position=3), joined=2) == range(4, 5)
    again.close()


def test_a_metric_that_becomes_context_is_read_back_from_old_samples_too(log, path):
    log.commit(plan(samples=[sample(2), sample(3, time_ns=T0 + 1)], next_position=4), joined=1)
    log.close()
    again = RecordLog(path, is_context=lambda _equipment, metric: metric == "temperature")
    assert len(again.load()[0].context_samples) == 2
    again.close()
    third = RecordLog(path)
    assert third.load()[0].context_samples == []
    third.close()


def test_the_newest_time_of_a_series_is_right_after_many_rows(path, monkeypatch):
    monkeypatch.setattr("uns.adapters.sqlite.record_log._NEWEST_EVERY_POSITIONS", 3)
    log = RecordLog(path)
    log.load()
    log.commit(plan(samples=[sample(n + 2, time_ns=T0 + n) for n in range(6)], next_position=8), joined=1)
    row = sample(8, time_ns=T0 - 5, payload=2)
    late = plan(series=[], payloads=[payload(2)], intervals_opened=[], samples=[row], next_position=9)
    log.commit(late, joined=2)
    assert log.load()[0].series[0][1] == T0 + 5
    log.close()


def test_a_full_record_log_refuses_the_plan_and_takes_it_when_there_is_room(path):
    log = RecordLog(path, bytes_max=400_000)
    log.load()
    big = [OutboxMessage("t", bytes(30_000)) for _ in range(20)]
    with pytest.raises(StorageFullError):
        log.commit(plan(outbox=big), joined=1)
    log.limit(4_000_000)
    assert log.commit(plan(outbox=big), joined=1) == range(1, 21)
    log.close()


def test_a_source_address_is_kept_when_it_changes(log, path):
    def tell(address: str, at_ns: int) -> None:
        row = ("g", "n", "d", "temperature", address, at_ns)
        log.commit(RecordPlan(next_position=1), joined=1, addresses=[row])

    for at_ns, address in enumerate(["ns=2;s=A", "ns=2;s=A", "ns=2;s=B", "ns=2;s=A"]):
        tell(address, at_ns)
    found = rows(path, "SELECT address, known_from_ns FROM source_addresses ORDER BY known_from_ns")
    assert [tuple(row.values()) for row in found] == [("ns=2;s=A", 0), ("ns=2;s=B", 2), ("ns=2;s=A", 3)]


def test_the_contract_that_the_intervals_were_made_with_is_kept(log):
    assert log.load()[0].contract_hash is None
    log.commit(plan(contract_hash="abc"), joined=1)
    assert log.load()[0].contract_hash == "abc"


@pytest.mark.parametrize("at", [0, 1, 63, 64, 65, 199])
def test_the_index_finds_a_content_among_many_at_one_time_and_reads_them_in_pages(log, path, at):
    log.commit(
        plan(samples=[sample(2 + n, ordinal=n, value=float(n)) for n in range(200)], next_position=202), joined=1
    )
    index = RecordIndexReader(path)
    where = ("reactor4", "temperature", T0)
    content = (float(at), None, None, 0, 0)
    assert index.holds(*where, content, first=0, below=200)
    assert index.holds(*where, content, first=at, below=at + 1)
    assert not index.holds(*where, content, first=at + 1, below=200)
    assert not index.holds(*where, content, first=0, below=at)
    assert not index.holds(*where, (*content[:4], 7), first=0, below=200)
    assert not index.holds(*where, (None, None, None, 0, 0), first=0, below=200)
    assert [s.ordinal for s in index.at(*where, first=at, limit=3)] == list(range(at, min(at + 3, 200)))
    assert len(index.at(*where)) == 200
    index.close()
