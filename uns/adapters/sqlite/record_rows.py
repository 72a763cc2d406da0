"""The record log counted by itself: what a second look finds, to be held against the counters."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from uns.adapters.sqlite.database import open_reader, translated
from uns.enrichment.plan import MAX_NS, value_of
from uns.sparkplug.datatypes import Value

__all__ = ["Record", "RecordRows", "open_rows"]


class Record(msgspec.Struct, frozen=True):
    """One record of the latest revision."""

    position: int
    metric: str
    source_time_ns: int
    ordinal: int
    value: Value
    unit: str | None
    status: str
    work_order: str | None
    context: str  # JSON


class RecordRows:
    """Made by :func:`open_rows`. Reads rows, not counters."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def recorded(self) -> int:
        """Samples in the log."""
        return self._number("SELECT count(*) FROM samples")

    def last_position(self) -> int:
        """The newest position of a sample; 0 where there is none."""
        return self._number("SELECT coalesce(max(position), 0) FROM samples")

    def duplicates(self) -> int:
        """Keys that the log holds twice. There is a unique index, and a retyped metric may not escape it either."""
        return self._number(
            "SELECT count(*) FROM (SELECT 1 FROM samples JOIN series ON series.series = samples.series "
            "GROUP BY series.equipment, series.metric, samples.source_time_ns, samples.ordinal HAVING count(*) > 1)"
        )

    def statuses(self) -> dict[str, int]:
        """Samples by the status of their interval at the latest revision."""
        return dict(self._connection.execute("SELECT status, count(*) FROM records GROUP BY status").fetchall())

    def foreign_statuses(self) -> dict[str, int]:
        """The same of samples from foreign nodes."""
        query = "SELECT status, count(*) FROM records WHERE session = '' GROUP BY status"
        return dict(self._connection.execute(query).fetchall())

    def restated_intervals(self) -> int:
        """Interval revisions that replaced what had been recorded before."""
        return self._number("SELECT count(*) FROM context_intervals WHERE rev > 0")

    def rejected(self) -> int:
        """Samples kept as rejected."""
        return self._number("SELECT count(*) FROM unrecorded WHERE kind = 'rejected'")

    def records(self, equipment: str) -> Iterator[Record]:
        """Every record of an equipment at its latest revision, in log order."""
        cursor = self._connection.execute(
            "SELECT position, metric, source_time_ns, ordinal, type, value_num, value_int, value_text, unit, status, "
            "work_order, context FROM records WHERE equipment = ? ORDER BY position",
            (equipment,),
        )
        for position, metric, time_ns, ordinal, type_label, num, integer, text, unit, status, order, context in cursor:
            value = value_of(type_label, num, integer, text)
            yield Record(position, metric, time_ns, ordinal, value, unit, status, order, context)

    def intervals(self, equipment: str) -> list[tuple[int, int, str, str]]:
        """The current context intervals of an equipment: from_ns, to_ns, status, body (JSON)."""
        return self._connection.execute(
            "SELECT from_ns, to_ns, status, body FROM context_intervals WHERE equipment = ? AND known_to_ns = ? "
            "ORDER BY from_ns",
            (equipment, MAX_NS),
        ).fetchall()

    def _number(self, query: str) -> int:
        return int(self._connection.execute(query).fetchone()[0])


@contextmanager
def open_rows(path: Path) -> Iterator[RecordRows]:
    """Look into ``records.db``; the writer is not disturbed."""
    connection = open_reader(path)
    try:
        with translated(path):
            yield RecordRows(connection)
    finally:
        connection.close()
