"""Gaps that nothing will ever fill do not pile up in what a host reads at its start."""

from __future__ import annotations

from pathlib import Path

from uns.adapters.sqlite.database import Database
from uns.adapters.sqlite.record_log import RecordLog
from uns.adapters.sqlite.record_schema import MIGRATIONS
from uns.context.times import MAX_NS
from uns.enrichment.gaps import UNFILLED_PER_WAY_MAX
from uns.enrichment.plan import GapRow

GAPS = 5_000


def row(position: int, device: str, *, is_open: bool = False) -> GapRow:
    end = MAX_NS if is_open else position + 1
    status = "open" if is_open else "closed"
    return (
        position, position, 0, device, "acme.dallas", "gw-1", device, "death", status, position, end, None, None, "",
        position, MAX_NS,
    )  # fmt: skip


def test_a_start_reads_the_newest_gaps_of_each_way_that_history_may_fill(tmp_path: Path):
    path = tmp_path / "records.db"
    RecordLog(path).close()
    rows = [row(position, ("reactor4", "reactor5")[position % 2]) for position in range(1, GAPS)]
    rows += [row(GAPS, "reactor4", is_open=True), row(GAPS + 1, "reactor5", is_open=True)]
    with Database(path, kind="record log", migrations=MIGRATIONS) as database, database.transaction() as connection:
        connection.executemany(f"INSERT INTO gap_revisions VALUES ({', '.join('?' * 16)})", rows)
    log = RecordLog(path)
    state, _ = log.load()
    log.close()
    assert sorted(state.gaps) == rows[-2 * (UNFILLED_PER_WAY_MAX + 1) :]
