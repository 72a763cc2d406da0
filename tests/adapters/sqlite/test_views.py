"""The views that analysts ask: what they say, and what they cost."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.adapters.sqlite.days import write_day
from tests.adapters.sqlite.old_file import make_old, objects
from tests.enrichment.builders import TEMPERATURE, Host, at, fact
from uns.adapters.sqlite.record_log import RecordIndexReader, RecordLog
from uns.context.times import MAX_NS
from uns.enrichment.pipeline import Enricher

SEEDS = range(25)
VIEWS = (
    "records", "records_all_revisions", "records_as_known_at", "orders", "order_runs", "lots", "gaps",
    "gaps_all_revisions", "facts_now",
)  # fmt: skip
_NAIVE = """
    SELECT samples.position, context_intervals.position, context_intervals.known_from_ns
    FROM samples JOIN series USING (series) JOIN payloads USING (payload)
    JOIN context_intervals ON context_intervals.equipment = series.equipment
        AND from_ns <= source_time_ns AND to_ns > source_time_ns
    """


def ask(path: Path, question: str, *values: Any) -> list[Any]:
    """As an analyst does: a connection that cannot write."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.execute("PRAGMA query_only=ON")
        return connection.execute(question, values).fetchall()


def test_every_view_of_the_documentation_is_there_and_reads_without_rights(tmp_path: Path):
    path = tmp_path / "records.db"
    write_day(path, 1)
    names = [name for (name,) in ask(path, "SELECT name FROM sqlite_master WHERE type = 'view' ORDER BY name")]
    assert names == sorted(VIEWS)
    for view in VIEWS:
        ask(path, f"SELECT * FROM {view}")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_record_has_the_interval_that_holds_it_at_any_time_of_knowledge(tmp_path: Path, seed: int):
    path = tmp_path / "records.db"
    _, known = write_day(path, seed)
    found = ask(path, "SELECT position, work_order, rev, reason FROM records ORDER BY position")
    naive = _NAIVE.replace("context_intervals.position, context_intervals.known_from_ns", "work_order, rev, reason")
    assert found == ask(path, f"{naive} WHERE known_to_ns = ? ORDER BY 1", MAX_NS)
    assert found
    for time_ns in [*known[::5], known[-1]]:
        assert ask(
            path,
            "SELECT position, work_order, rev, reason FROM records_as_known_at WHERE as_known_at_ns = ? ORDER BY 1",
            time_ns,
        ) == ask(
            path,
            "SELECT position, work_order, rev, reason FROM records_all_revisions "
            "WHERE ?1 >= known_from_ns AND ?1 < known_to_ns ORDER BY 1",
            time_ns,
        )


def test_what_was_known_at_no_time_has_no_rows(tmp_path: Path):
    path = tmp_path / "records.db"
    write_day(path, 1)
    assert ask(path, "SELECT * FROM records_as_known_at") == []


def test_the_time_of_knowledge_may_come_from_another_table(tmp_path: Path):
    """A read-only connection has temporary tables of its own."""
    path = tmp_path / "records.db"
    _, known = write_day(path, 1)
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.execute("CREATE TEMP TABLE audit_days (ns INTEGER)")
        connection.executemany("INSERT INTO audit_days VALUES (?)", [(known[0],), (known[-1],)])
        found = connection.execute(
            "SELECT ns, count(*) FROM audit_days JOIN records_as_known_at ON as_known_at_ns = ns GROUP BY ns"
        ).fetchall()
    assert found[-1] == (known[-1], ask(path, "SELECT count(*) FROM records")[0][0])


@pytest.mark.parametrize("seed", SEEDS)
def test_the_fact_that_counts_is_the_one_that_the_store_counts(tmp_path: Path, seed: int):
    path = tmp_path / "records.db"
    enricher, _ = write_day(path, seed)
    expected = [(fact.source, fact.id, fact.source_rev) for fact in enricher.store.current()]
    assert ask(path, "SELECT source, id, source_rev FROM facts_now ORDER BY 1, 2") == sorted(expected)


def test_revisions_compare_as_numbers_of_any_length_and_before_texts(tmp_path: Path):
    path = tmp_path / "records.db"
    log, index = RecordLog(path), RecordIndexReader(path)
    enricher = Enricher(Host().tree, index)
    enricher.load(log.load()[0], 0)
    for id_, revisions in {"a": "9 10 010", "b": "7 x1 9999", "c": f"{2**70} 3", "d": "00 0"}.items():
        for revision in revisions.split():
            assert enricher.receive_fact(fact("job", id=id_, source_rev=revision, valid_from=len(id_)), 1).accepted
    log.commit(enricher.drain(), joined=0)
    index.close()
    log.close()
    expected = [(known.id, known.source_rev) for known in sorted(enricher.store.current(), key=lambda k: k.id)]
    assert ask(path, "SELECT id, source_rev FROM facts_now ORDER BY id") == expected
    assert expected == [("a", "10"), ("b", "x1"), ("c", str(2**70)), ("d", "00")]


@pytest.mark.parametrize("seed", SEEDS)
def test_samples_are_counted_as_the_records_say(tmp_path: Path, seed: int):
    path = tmp_path / "records.db"
    write_day(path, seed)
    counted = """
        SELECT json_extract(context, '$.job_order'), status, count(*) FROM records
        WHERE json_extract(context, '$.job_orders') IS NULL AND json_extract(context, '$.job_order') IS NOT NULL
        GROUP BY 1, 2 ORDER BY 1, 2
        """
    runs = """
        SELECT job_order, order_runs.status, sum(samples) FROM order_runs JOIN context_intervals AS i
        ON i.equipment = order_runs.equipment AND i.from_ns = order_runs.from_ns AND i.known_to_ns = ?
        WHERE json_extract(i.body, '$.job_orders') IS NULL AND samples > 0 GROUP BY 1, 2 ORDER BY 1, 2
        """
    assert ask(path, runs, MAX_NS) == ask(path, counted)
    by_order = "SELECT job_order, work_order, samples, samples_resolved, samples_unresolved FROM orders ORDER BY 1, 2"
    by_run = """
        SELECT job_order, work_order, sum(samples), sum(iif(status = 'resolved', samples, 0)),
            sum(iif(status = 'unresolved', samples, 0)) FROM order_runs GROUP BY 1, 2 ORDER BY 1, 2
        """
    ran = {(job, work) for job, work, *_ in ask(path, by_run)}
    assert [row for row in ask(path, by_order) if row[:2] in ran] == ask(path, by_run)
    in_lots = "SELECT value, count(*) FROM records, json_each(context, '$.lots') GROUP BY 1 ORDER BY 1"
    lots = "SELECT lot, sum(samples) FROM lots GROUP BY 1 HAVING sum(samples) > 0 ORDER BY 1"
    assert ask(path, lots) == ask(path, in_lots)


class Story:
    """Facts and samples of one test, in a real log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log, self._index = RecordLog(path), RecordIndexReader(path)
        self._host = Host()
        self._host.enricher = Enricher(self._host.tree, self._index)
        self._host.enricher.load(self._log.load()[0], 0)
        self._host.commit = self._commit  # type: ignore[method-assign]

    def tell(self, **fields: Any) -> None:
        self._host.now_ns += 1_000_000_000
        answer = self._host.fact(fact(fields.pop("kind", "job"), **fields))
        assert answer.accepted, answer.reason

    def samples(self, *seconds: float, equipment: str = "reactor4") -> None:
        self._host.now_ns += 1_000_000_000
        self._host.samples(*((TEMPERATURE, 1.0, second) for second in seconds), equipment=equipment)

    def _commit(self) -> None:
        self._log.commit(self._host.enricher.drain(), joined=0)
        self._host.enricher.committed()

    def orders(self, columns: str) -> list[Any]:
        return ask(self.path, f"SELECT {columns} FROM orders ORDER BY job_order")

    def close(self) -> None:
        self._log.close()
        self._index.close()


@pytest.fixture
def story(tmp_path: Path):
    made = Story(tmp_path / "records.db")
    yield made
    made.close()


def clock(seconds: float) -> str:
    return f"{datetime.fromtimestamp(at(seconds) / 1e9, UTC):%Y-%m-%dT%H:%M:%S}.000Z"


def test_an_order_is_planned_then_runs_then_is_over(story: Story):
    times = "state, planned_from_time, planned_to_time, actual_from_time, actual_to_time, ran_at, samples"
    story.samples(1)
    story.tell(state="released", valid_from=10, valid_to=20)
    assert story.orders(times) == [("released", clock(10), clock(20), None, None, None, 0)]
    story.tell(state="running", source_rev="2", valid_from=12)
    story.samples(11, 12, 13)
    assert story.orders(times) == [("running", clock(10), clock(20), clock(12), None, '["reactor4"]', 2)]
    story.tell(state="completed", source_rev="3", valid_from=12, valid_to=30)
    story.samples(29, 30)
    story.tell(kind="lot", lot="L-1", valid_from=20)
    assert story.orders(times) == [("completed", clock(10), clock(20), clock(12), clock(30), '["reactor4"]', 3)]
    assert story.orders("samples_resolved, samples_unresolved, work_order, job_order, operation, equipment") == [
        (1, 2, "WO-1", "WO-1/0010", "0010", "reactor4")
    ]
    story.tell(state="completed", source_rev="4", valid_from=12, valid_to=30, action="delete")
    assert story.orders(times) == []


def test_an_order_of_a_line_names_where_it_ran(story: Story):
    story.samples(1)
    story.samples(1, equipment="reactor5")
    story.tell(equipment="line2", valid_from=0)
    assert story.orders("equipment, ran_at, samples") == [("line2", '["reactor4","reactor5"]', 2)]
    runs = ask(story.path, "SELECT equipment, from_time, to_time, samples FROM order_runs ORDER BY equipment")
    assert runs == [("reactor4", clock(0), None, 1), ("reactor5", clock(0), None, 1)]


def test_an_order_that_has_begun_where_nothing_is_recorded_has_its_stated_times(story: Story):
    story.tell(equipment="tank9", valid_from=3)
    story.tell(id="job:2", job_order="WO-2/0010", work_order=None, valid_from=5, valid_to=9, state="aborted")
    assert story.orders("state, work_order, actual_from_time, actual_to_time, ran_at, samples") == [
        ("running", "WO-1", clock(3), None, None, 0),
        ("aborted", None, clock(5), clock(9), None, 0),
    ]


def test_a_job_that_another_one_or_idle_ended_is_ended(story: Story):
    story.samples(1)
    story.tell(state="released", valid_from=0, operation="0010", recipe="RCP-7@3")
    story.tell(id="start", state="running", operation=None, valid_from=2)
    running = ("running", clock(2), None, "0010", "RCP-7@3")
    columns = "state, actual_from_time, actual_to_time, operation, recipe"
    assert story.orders(columns) == [running], "what the last statement leaves open, the plan says"
    story.tell(id="idle", job_order=None, work_order=None, operation=None, valid_from=9)
    assert story.orders(columns) == [("ended", clock(2), clock(9), "0010", "RCP-7@3")]


def test_a_cancelled_order_stays_visible_and_ran_nowhere(story: Story):
    story.samples(1)
    story.tell(state="released", valid_from=0)
    story.tell(state="Cancelled", source_rev="2", valid_from=0)
    assert story.orders("state, planned_from_time, actual_from_time, samples") == [("cancelled", clock(0), None, 0)]


def test_a_lot_says_what_it_was_used_for(story: Story):
    story.samples(1, 2)
    story.tell(kind="lot", lot="L-1", material="FG", use="Produced", valid_from=2)
    story.tell(kind="lot", id="l2", lot="L-0", use="Consumed", valid_from=0, valid_to=5)
    story.tell(kind="lot", id="l3", lot="L-0", use="Produced", valid_from=7, valid_to=8)
    columns = "lot, equipment, use, from_time, to_time, samples"
    found = ask(story.path, f"SELECT {columns} FROM lots ORDER BY from_ns, lot")
    assert found == [
        ("L-0", "reactor4", None, clock(0), clock(2), 1),  # two uses: neither is the one
        ("L-0", "reactor4", None, clock(2), clock(5), 1),
        ("L-1", "reactor4", "Produced", clock(2), clock(5), 1),
        ("L-1", "reactor4", "Produced", clock(5), clock(7), 0),
        ("L-0", "reactor4", None, clock(7), clock(8), 0),
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_gaps_are_read_back_at_start_as_they_stand(tmp_path: Path, seed: int):
    path = tmp_path / "records.db"
    write_day(path, seed)
    log = RecordLog(path)
    state, _ = log.load()
    log.close()
    unsettled = "reason <> 'dropped' AND (status = 'open' OR to_time IS NULL OR status = 'closed')"
    assert sorted(row[1] for row in state.gaps) == [
        gap for (gap,) in ask(path, f"SELECT gap FROM gaps WHERE {unsettled} ORDER BY gap")
    ]
    revisions = ask(path, "SELECT gap, rev, known_from_ns, known_to_ns FROM gaps_all_revisions ORDER BY gap, rev")
    for before, after in pairwise(revisions):
        assert before[3] == (after[2] if before[0] == after[0] else MAX_NS), "one revision follows the other"
    dropped = ask(path, "SELECT count(*), count(DISTINCT equipment) FROM gaps WHERE reason = 'dropped'")
    assert dropped[0][1] in {0, 4}, "at all that the gateway feeds"


# What they cost

BY_TIME = "source_time_ns >= 1780515120000000000 AND source_time_ns < 1780515130000000000"
FAST = {
    "by time": f"SELECT * FROM records WHERE {BY_TIME}",
    "by metric and time": f"SELECT * FROM records WHERE equipment = 'reactor4' AND metric = 'm' AND {BY_TIME}",
    "by work order": "SELECT * FROM records WHERE work_order = 'WO-1' AND metric = 'temperature'",
    "by cursor": "SELECT * FROM records WHERE position > 7 AND position <= 20",
    "known, by time": f"SELECT * FROM records_as_known_at WHERE as_known_at_ns = 1780515120000000000 AND {BY_TIME}",
    "all revisions, by time": f"SELECT * FROM records_all_revisions WHERE {BY_TIME}",
    "orders": "SELECT * FROM orders WHERE work_order = 'WO-1'",
    "runs": "SELECT * FROM order_runs",
    "lots": "SELECT * FROM lots WHERE lot = 'L-1'",
    "facts since": "SELECT * FROM facts WHERE known_at_ns > 7 AND known_at_ns <= 8",
    "gaps of an equipment": "SELECT * FROM gaps WHERE equipment = 'reactor4'",
}


@pytest.mark.parametrize("question", FAST.values(), ids=FAST.keys())
def test_no_question_looks_through_all_samples(tmp_path: Path, question: str):
    path = tmp_path / "records.db"
    write_day(path, 1)
    plan = [row[3] for row in ask(path, f"EXPLAIN QUERY PLAN {question}")]
    big = {"samples", "payloads", "gap_revisions", "s"} | (
        {"facts", "context_intervals"} if "records" in question else set()
    )
    scans = [step for step in plan if step.split()[0] == "SCAN" and step.split()[1] in big]
    assert not scans, "\n".join(plan)
    if "FROM facts" in question:
        assert "facts_by_known_at" in plan[0]
    if "records WHERE" in question or "records_as_known_at" in question:
        intervals = [step for step in plan if step.startswith("SEARCH context_intervals")]
        assert "from_ns=?" in intervals[0] or "rowid=?" in intervals[0] or "work_order=?" in intervals[0], (
            "not one by one"
        )


# An old file


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_a_file_of_an_older_release_becomes_what_a_new_one_is(tmp_path: Path, version: int):
    path, new = tmp_path / "records.db", tmp_path / "new.db"
    write_day(path, 3)
    records = ask(path, "SELECT * FROM records ORDER BY position")
    orders = ask(path, "SELECT * FROM orders ORDER BY 1, 2")
    make_old(path, version)
    RecordLog(path).close()
    RecordLog(new).close()
    with closing(sqlite3.connect(path)) as ours, closing(sqlite3.connect(new)) as theirs:
        assert objects(ours) == objects(theirs)
    assert ask(path, "SELECT * FROM records ORDER BY position") == records
    assert ask(path, "SELECT * FROM orders ORDER BY 1, 2") == orders
    log = RecordLog(path)
    state, _ = log.load()
    log.close()
    assert state.gaps == [] or version >= 4


def test_orders_are_json_where_they_are_lists(tmp_path: Path):
    path = tmp_path / "records.db"
    write_day(path, 2)
    for (ran_at,) in ask(path, "SELECT ran_at FROM orders WHERE ran_at IS NOT NULL"):
        assert json.loads(ran_at) == sorted(json.loads(ran_at))
    assert msgspec.json.decode(ask(path, "SELECT body FROM facts_now LIMIT 1")[0][0])["schema"] == "uns1.fact/1"
