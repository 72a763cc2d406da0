"""What the status of the host is answered from: counters and sums, held against the rows they count."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from tests.adapters.sqlite.old_file import make_old
from tests.enrichment.test_promises import Day
from uns.adapters.sqlite.record_log import RecordIndexReader, RecordLog
from uns.adapters.sqlite.record_queries import RecordQueries, RecordTerms
from uns.adapters.sqlite.record_rows import open_rows
from uns.context.facts import Fact
from uns.enrichment.pipeline import Enricher
from uns.enrichment.samples import SampleBatch, UnrecordedSample

STATUSES = ("resolved", "unassigned", "unresolved")


def record_day(path: Path, seed: int) -> None:
    """Facts and payloads of a generated day, a third of them from foreign nodes, with commits in between."""
    day, random_ = Day(seed), random.Random(seed)
    log, index = RecordLog(path), RecordIndexReader(path)
    enricher = Enricher(day.tree, index)
    enricher.load(log.load()[0], 0)
    inputs: list[SampleBatch | Fact] = [*day.facts, *day.batches]
    random_.shuffle(inputs)
    for now_ns, given in enumerate(inputs, start=2 * 10**18):
        if isinstance(given, SampleBatch):
            if random_.random() < 0.4:
                given.ours, given.provenance = False, msgspec.structs.replace(given.provenance, session="")
            enricher.receive_batch(given, now_ns, past_max_ns=None, future_max_ns=None)
            unread = UnrecordedSample(metric="m", source_time_ns=now_ns, reason="malformed")
            enricher.count_rejected([unread, unread], given.provenance, now_ns)
        else:
            enricher.receive_fact(given, now_ns)
        if random_.random() < 0.5:
            log.commit(enricher.drain(), joined=0)
            enricher.committed()
    log.commit(enricher.drain(), joined=0)
    index.close()
    log.close()


def terms(path: Path) -> RecordTerms:
    queries = RecordQueries(path)
    found = queries.terms()
    queries.close()
    return found


@pytest.mark.parametrize("seed", range(12))
def test_the_terms_are_what_a_look_at_the_rows_finds(tmp_path: Path, seed: int):
    path = tmp_path / "records.db"
    record_day(path, seed)
    found = terms(path)
    with open_rows(path) as rows:
        statuses, foreign = rows.statuses(), rows.foreign_statuses()
        assert sum(found.statuses.values()) == rows.recorded()
        assert sum(node["rejected"] for node in found.unrecorded.values()) == rows.rejected()
    assert found.statuses == {status: statuses.get(status, 0) for status in STATUSES}
    assert found.foreign_statuses == {status: foreign.get(status, 0) for status in STATUSES}


def test_the_terms_read_no_samples_and_no_intervals(tmp_path: Path):
    path = tmp_path / "records.db"
    record_day(path, 1)
    queries = RecordQueries(path)
    asked: list[str] = []
    queries._connection.set_trace_callback(asked.append)
    queries.terms()
    queries.close()
    assert not [s for s in asked if any(t in s for t in (" samples ", " records ", "context_intervals", "unrecorded "))]


@pytest.mark.parametrize("seed", range(4))
def test_a_log_of_the_first_schema_is_counted_once_when_it_is_opened(tmp_path: Path, seed: int):
    path = tmp_path / "records.db"
    record_day(path, seed)
    before = terms(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        sums = connection.execute("SELECT * FROM foreign_per_second ORDER BY 1, 2").fetchall()
    make_old(path, 1)
    RecordLog(path).close()
    after = terms(path)
    assert (after.statuses, after.foreign_statuses, after.unrecorded) == (
        before.statuses,
        before.foreign_statuses,
        before.unrecorded,
    )
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM foreign_per_second ORDER BY 1, 2").fetchall() == sums
        assert sums
