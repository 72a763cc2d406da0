"""Questions to the record log, as the host's API asks them. A connection of its own; use it from one thread."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from uns.adapters.sqlite.database import open_reader, translated
from uns.enrichment.plan import FOREIGN_STATUS_COUNTERS, MAX_NS, STATUS_COUNTERS, value_of
from uns.errors import StorageError
from uns.sparkplug.datatypes import Value

__all__ = ["FactMessage", "IntervalRevision", "RecordQueries", "RecordTerms", "StoredRecord"]

QUERY_SECONDS_MAX = 5.0
_STEPS_PER_LOOK = 20_000


class RecordTerms(msgspec.Struct, frozen=True, kw_only=True):
    """The record log's side of the equations, as of one commit."""

    joined: int
    counters: dict[str, int]
    statuses: dict[str, int]  # samples by the status of their interval at the highest revision
    foreign_statuses: dict[str, int]  # … of these from foreign nodes
    recorded: dict[str, int]  # by edge node
    unrecorded: dict[str, dict[str, int]]  # rejected, unmapped: by edge node
    outbox: int


class StoredRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One record at its newest revision, with the way it came."""

    position: int
    equipment: str
    metric: str
    value: Value
    type: str
    unit: str | None
    source_time_ns: int
    ordinal: int
    quality: str
    status_code: int
    clock_suspect: bool
    from_birth: bool
    time_source: str
    status: str
    context: msgspec.Raw
    rev: int
    reason: str
    group_id: str
    edge_node_id: str
    device_id: str | None
    session: str
    bd_seq: int
    seq: int
    historical: bool
    received_at_ns: int
    recorded_at_ns: int


class IntervalRevision(msgspec.Struct, frozen=True, kw_only=True):
    """One revision of the context at a time."""

    rev: int
    from_ns: int
    to_ns: int
    known_from_ns: int
    known_to_ns: int
    status: str
    work_order: str | None
    context: msgspec.Raw
    reason: str


class FactMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One accepted fact message."""

    source: str
    id: str
    source_rev: str
    rev: int
    kind: str
    equipment: str
    action: str
    known_at_ns: int
    fact: msgspec.Raw


class RecordQueries:
    """Short read transactions, each with an end: a question that takes too long is refused with advice."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = open_reader(path)
        self._deadline = 0.0
        self._connection.set_progress_handler(self._is_late, _STEPS_PER_LOOK)

    def terms(self) -> RecordTerms:
        """Everything that is counted: from counters and sums, whatever the age of the log.

        :class:`~uns.adapters.sqlite.record_rows.RecordRows` counts the rows themselves, so that these cannot lie.
        """
        with self._snapshot() as execute:
            counters: dict[str, int] = dict(execute("SELECT name, value FROM counters").fetchall())
            joined = execute("SELECT value FROM meta WHERE key = 'joined'").fetchone()
            unrecorded: dict[str, dict[str, int]] = {}
            for kind, group_id, edge_node_id, count in execute("SELECT * FROM unrecorded_per_node"):
                unrecorded.setdefault(f"{group_id}/{edge_node_id}", {})[kind] = count
            return RecordTerms(
                joined=0 if joined is None else joined[0],
                counters=counters,
                statuses={status: counters.get(name, 0) for status, name in STATUS_COUNTERS.items()},
                foreign_statuses={status: counters.get(name, 0) for status, name in FOREIGN_STATUS_COUNTERS.items()},
                recorded={
                    f"{group_id}/{edge_node_id}": samples
                    for group_id, edge_node_id, samples in execute("SELECT * FROM recorded_per_node")
                },
                unrecorded=unrecorded,
                outbox=execute("SELECT count(*) FROM outbox").fetchone()[0],
            )

    def newest(self, equipment: str, metric: str, *, at_ns: int | None = None) -> StoredRecord | None:
        """The record of a metric with the highest source time, up to ``at_ns`` where given."""
        with self._snapshot() as execute:
            series = execute(
                "SELECT series.series, coalesce(newest.source_time_ns, -9223372036854775808) FROM series "
                "LEFT JOIN newest ON newest.series = series.series WHERE equipment = ? AND metric = ?",
                (equipment, metric),
            ).fetchall()
            if not series:
                return None
            # The table of newest times lags behind, never ahead: it bounds the search backwards.
            floor = max(time_ns for _, time_ns in series) if at_ns is None else -(2**63)
            numbers = ", ".join(str(number) for number, _ in series)
            found = execute(
                "SELECT position FROM samples INDEXED BY samples_by_key WHERE source_time_ns <= ? "  # noqa: S608
                f"AND source_time_ns >= ? AND series IN ({numbers}) "
                "ORDER BY source_time_ns DESC, ordinal DESC LIMIT 1",
                (MAX_NS if at_ns is None else at_ns, floor),
            ).fetchone()
            return None if found is None else self._record(found[0])

    def revisions(self, equipment: str, time_ns: int, *, since_ns: int) -> list[IntervalRevision]:
        """What was said of the context at that time from ``since_ns`` on, oldest knowledge first.

        An interval without an end speaks of all the future, so without ``since_ns`` every context that ever was
        would be a revision of today's.
        """
        with self._snapshot() as execute:
            rows = execute(
                "SELECT rev, from_ns, to_ns, known_from_ns, known_to_ns, status, work_order, body, reason "
                "FROM context_intervals WHERE equipment = ? AND known_to_ns > ? AND from_ns <= ? AND to_ns > ? "
                "AND known_to_ns > known_from_ns ORDER BY known_from_ns, position",
                (equipment, since_ns, time_ns, time_ns),
            ).fetchall()
        return [
            IntervalRevision(
                rev=row[0],
                from_ns=row[1],
                to_ns=row[2],
                known_from_ns=row[3],
                known_to_ns=row[4],
                status=row[5],
                work_order=row[6],
                context=msgspec.Raw(row[7].encode()),
                reason=row[8],
            )
            for row in rows
        ]

    def facts(self, *, equipment: str | None = None, kind: str | None = None, limit: int = 1000) -> list[FactMessage]:
        """Accepted fact messages, newest knowledge first."""
        with self._snapshot() as execute:
            rows = execute(
                "SELECT source, id, source_rev, rev, kind, equipment, action, known_at_ns, body FROM facts "
                "WHERE (?1 IS NULL OR equipment = ?1) AND (?2 IS NULL OR kind = ?2) "
                "ORDER BY known_at_ns DESC, source, id LIMIT ?3",
                (equipment, kind, limit),
            ).fetchall()
        return [_fact(row) for row in rows]

    def address(self, record: StoredRecord) -> str | None:
        """The NodeId or register that a record was read from, as the births of that time told."""
        with self._snapshot() as execute:
            row = execute(
                "SELECT address FROM source_addresses WHERE group_id = ? AND edge_node_id = ? AND device_id = ? "
                "AND metric = ? ORDER BY known_from_ns <= ? DESC, known_from_ns DESC LIMIT 1",
                (
                    record.group_id,
                    record.edge_node_id,
                    record.device_id or "",
                    record.metric,
                    record.received_at_ns,
                ),
            ).fetchone()
        return None if row is None else str(row[0])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _record(self, position: int) -> StoredRecord | None:
        cursor = self._connection.execute("SELECT * FROM records WHERE position = ?", (position,))
        found = cursor.fetchone()
        if found is None:
            return None
        row: dict[str, Any] = dict(zip([column[0] for column in cursor.description], found, strict=True))
        row["value"] = value_of(row["type"], row["value_num"], row["value_int"], row["value_text"])
        row["context"] = msgspec.Raw(row["context"].encode())
        for name in ("clock_suspect", "from_birth", "historical"):
            row[name] = bool(row[name])
        return StoredRecord(**{name: row[name] for name in StoredRecord.__struct_fields__})

    @contextmanager
    def _snapshot(self) -> Iterator[Any]:
        connection = self._connection
        self._deadline = time.monotonic() + QUERY_SECONDS_MAX
        try:
            with translated(self.path):
                connection.execute("BEGIN")
                try:
                    yield connection.execute
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
        except StorageError as error:
            if isinstance(error.__cause__, sqlite3.OperationalError) and "interrupted" in str(error.__cause__):
                raise StorageError(
                    f"the question took more than {QUERY_SECONDS_MAX:g} s",
                    where=str(self.path),
                    next_step="ask for a time nearer to the newest records, or query a copy with SQL",
                ) from error
            raise

    def _is_late(self) -> bool:
        return time.monotonic() > self._deadline


def _fact(row: tuple[Any, ...]) -> FactMessage:
    return FactMessage(
        source=row[0],
        id=row[1],
        source_rev=row[2],
        rev=row[3],
        kind=row[4],
        equipment=row[5],
        action=row[6],
        known_at_ns=row[7],
        fact=msgspec.Raw(row[8].encode()),
    )
