"""Reading ``records.db`` by cursor, for bridges: a read-only connection, short transactions, one thread."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from uns.adapters.sqlite.database import file_at, open_reader, translated
from uns.adapters.sqlite.record_schema import RECORD_LOG, SPAN_NS
from uns.enrichment.log import LogBatch, LogSample, MetricRow, Touched
from uns.enrichment.plan import (
    FACT_COLUMNS,
    GAP_COLUMNS,
    INTERVAL_COLUMNS,
    MAX_NS,
    MIN_NS,
    PAYLOAD_COLUMNS,
    SAMPLE_COLUMNS,
    SERIES_COLUMNS,
    FactRow,
    GapClosedRow,
    GapRow,
    IntervalClosedRow,
    IntervalRow,
    PayloadRow,
    SampleRow,
    SeriesRow,
    value_of,
)
from uns.errors import ConfigurationError, StorageError

__all__ = ["Progress", "RecordCursor", "TableRows"]

_INTERVALS = f"SELECT {', '.join(INTERVAL_COLUMNS)} FROM context_intervals"  # noqa: S608 - columns of ours
_FACTS = f"SELECT {', '.join(FACT_COLUMNS)} FROM facts"  # noqa: S608
_GAPS = f"SELECT {', '.join(GAP_COLUMNS)} FROM gap_revisions"  # noqa: S608
_SAMPLES = f"SELECT {', '.join(SAMPLE_COLUMNS)} FROM samples"  # noqa: S608
_LOG_SAMPLES = """
    SELECT samples.position, series.equipment, series.metric, series.type, series.unit, samples.source_time_ns,
           samples.ordinal, samples.value_num, samples.value_int, samples.value_text, samples.quality, samples.flags
    FROM samples JOIN series ON series.series = samples.series
    """
# By series first: a batch holds thousands of samples of a few series, and a retyped metric has several.
_TOUCHED = """
    SELECT equipment, metric, min(from_ns), max(to_ns), sum(samples), min(first_position), max(last_position)
    FROM (
        SELECT series, min(source_time_ns) AS from_ns, max(source_time_ns) + 1 AS to_ns, count(*) AS samples,
               min(position) AS first_position, max(position) AS last_position
        FROM samples WHERE position > ? AND position <= ? GROUP BY series
    ) JOIN series USING (series) GROUP BY equipment, metric ORDER BY 6
    """
# One value: exactly one of the columns is set, and each keeps its type. The position is in the index, as the row id.
_VALUE = "coalesce(value_int, value_num, value_text)"
_METRIC_ROWS = f"""
    SELECT source_time_ns, ordinal, {_VALUE}, quality, flags, position FROM samples
    WHERE source_time_ns >= ? AND source_time_ns < ? AND position <= ? AND series IN
    """  # noqa: S608
# So few samples of all series are passed over sooner than their spans are found.
_HAS_MANY = "SELECT 1 FROM samples WHERE source_time_ns >= ? AND source_time_ns < ? LIMIT 1 OFFSET 5000"
_WHERE_SAMPLES = f"""
    SELECT min(first_ns), max(last_ns) FROM (
        SELECT span, first_ns, last_ns FROM series_spans
        WHERE series IN (0) AND span BETWEEN :from / {SPAN_NS} AND :to / {SPAN_NS}
        UNION ALL
        SELECT source_time_ns / {SPAN_NS}, min(source_time_ns), max(source_time_ns) FROM samples
        WHERE position > :after AND series IN (0) GROUP BY 1
    ) GROUP BY span HAVING max(last_ns) >= :from AND min(first_ns) < :to ORDER BY span
    """  # noqa: S608 - numbers of ours
_ROWS_AT_ONCE = 5_000
_NAMES_AT_ONCE = 500


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a bridge has read, committed with what follows from it.

    Facts have no log position: ``facts`` of them were known up to ``facts_known_ns``, and at ``facts_accepted`` of
    the host's counter there were no others.
    """

    position: int = 0
    facts_known_ns: int = MIN_NS
    facts: int = 0
    facts_accepted: int = 0
    log_id: str = ""


class TableRows(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a copy of the tables needs of a range of positions; rows as in uns.enrichment.plan."""

    samples: list[SampleRow]
    series: list[SeriesRow]
    payloads: list[PayloadRow]
    intervals: list[IntervalRow]
    closed: list[IntervalClosedRow]  # by a revision of this range
    closed_since: list[IntervalClosedRow]  # of this range, by now
    gaps: list[GapRow]
    gaps_closed: list[GapClosedRow]  # likewise
    gaps_closed_since: list[GapClosedRow]
    facts: list[FactRow]


class RecordCursor:
    """The record log as bridges read it. Implements :class:`uns.enrichment.log.RecordReader`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = open_reader(path, kind=RECORD_LOG)
        self._file = file_at(path)
        self._log_id = ""

    # ── by cursor ────────────────────────────────────────────────────────────────────────────────────────────────

    def head(self) -> int:
        """The newest position."""
        with self._snapshot() as execute:
            return _meta(execute, "next_position", 1) - 1

    def log_id(self) -> str:
        """What names this log; empty while it has recorded nothing."""
        with self._snapshot() as execute:
            return self._identity(execute)

    def read(
        self, progress: Progress, *, positions_max: int, facts_max: int = 5_000, samples: bool = False
    ) -> tuple[LogBatch, Progress, int]:
        """What lies beyond ``progress``, where one stands after it, and the head of the log; one snapshot."""
        if file_at(self.path) != self._file:
            raise StorageError(
                "the record log was deleted, moved or replaced while it was read",
                where=str(self.path),
                next_step="put it back, or start anew what reads it",
            )
        with self._snapshot() as execute:
            head = _meta(execute, "next_position", 1) - 1
            log_id = self._identity(execute)
            self._check_log(progress, log_id, head)
            after, to = progress.position, min(head, progress.position + positions_max)
            span = (after, to)
            facts, moved = self._new_facts(execute, progress, facts_max)
            batch = LogBatch(
                after=after,
                to=to,
                samples=self._log_samples(execute(f"{_LOG_SAMPLES} WHERE position > ? AND position <= ?", span))
                if samples and to > after
                else (),
                touched=[Touched(*row) for row in execute(_TOUCHED, span)] if to > after else (),
                intervals=execute(f"{_INTERVALS} WHERE position > ? AND position <= ?", span).fetchall()
                if to > after
                else (),
                facts=facts,
                facts_after_ns=moved[0],
                facts_to_ns=moved[1].facts_known_ns,
            )
        return batch, msgspec.structs.replace(moved[1], position=to, log_id=log_id or progress.log_id), head

    def table_rows(self, after: int, to: int, *, facts_after_ns: int, facts_to_ns: int) -> TableRows:
        """The rows of (``after``, ``to``], self-contained, for a copy of the tables.

        Intervals and gaps come open (known_to_ns = MAX_NS) and closings apart, with the revision that caused them, so
        that a copy is at every moment what the log was. ``closed_since`` is for a range that comes after later ones,
        which found nothing to close.
        """
        with self._snapshot() as execute:
            span = (after, to)
            samples: list[SampleRow] = execute(
                f"{_SAMPLES} WHERE position > ? AND position <= ?",
                span,
            ).fetchall()
            intervals: list[IntervalRow] = execute(
                f"{_INTERVALS} WHERE position > ? AND position <= ?", span
            ).fetchall()
            closed = {
                (known_to_ns, position)
                for equipment, known_ns in {(row[1], row[5]) for row in intervals}
                for position, known_to_ns in execute(
                    "SELECT position, known_to_ns FROM context_intervals WHERE equipment = ? AND known_to_ns = ?",
                    (equipment, known_ns),
                )
            }
            gaps: list[GapRow] = execute(f"{_GAPS} WHERE position > ? AND position <= ?", span).fetchall()
            gaps_closed: list[GapClosedRow] = execute(
                "SELECT before.known_to_ns, before.position FROM gap_revisions AS later "
                "JOIN gap_revisions AS before ON before.equipment = later.equipment AND before.gap = later.gap "
                "AND before.rev = later.rev - 1 AND before.known_to_ns = later.known_from_ns "
                "WHERE later.position > ? AND later.position <= ? AND later.rev > 0 ORDER BY before.position",
                span,
            ).fetchall()
            return TableRows(
                samples=samples,
                series=self._by_number(execute, "series", SERIES_COLUMNS, {row[1] for row in samples}),
                payloads=self._by_number(execute, "payloads", PAYLOAD_COLUMNS, {row[10] for row in samples}),
                intervals=[(*row[:6], MAX_NS, *row[7:]) for row in intervals],
                closed=sorted(closed),
                closed_since=[(row[6], row[0]) for row in intervals if row[6] != MAX_NS],
                gaps=[(*row[:15], MAX_NS) for row in gaps],
                gaps_closed=gaps_closed,
                gaps_closed_since=[(row[15], row[0]) for row in gaps if row[15] != MAX_NS],
                facts=execute(
                    f"{_FACTS} WHERE known_at_ns > ? AND known_at_ns <= ?",
                    (facts_after_ns, facts_to_ns),
                ).fetchall()
                if facts_to_ns > facts_after_ns
                else [],
            )

    # ── questions ────────────────────────────────────────────────────────────────────────────────────────────────

    def intervals(self, equipment: str, from_ns: int, to_ns: int) -> list[IntervalRow]:
        """The current context intervals that touch [from, to), oldest first."""
        with self._snapshot() as execute:
            found: list[IntervalRow] = execute(
                f"{_INTERVALS} WHERE equipment = ? AND known_to_ns = ? AND from_ns < ? AND to_ns > ? ORDER BY from_ns",
                (equipment, MAX_NS, to_ns, from_ns),
            ).fetchall()
            return found

    def samples(self, equipment: str, metrics: Sequence[str], from_ns: int, to_ns: int) -> Iterator[LogSample]:
        """Samples of [from, to) in order of source time, then ordinal."""
        with self._snapshot() as execute:
            numbers = self._series(execute, equipment, metrics)
            rows = execute(
                f"{_LOG_SAMPLES} WHERE samples.source_time_ns >= ? AND samples.source_time_ns < ? "
                f"AND samples.series IN ({numbers}) ORDER BY samples.source_time_ns, samples.ordinal",
                (from_ns, to_ns),
            )
            while chunk := rows.fetchmany(_ROWS_AT_ONCE):
                yield from self._log_samples(chunk)

    def rows(
        self, equipment: str, metric: str, from_ns: int, to_ns: int, *, up_to: int
    ) -> Iterator[Sequence[MetricRow]]:
        """Samples of one metric in [from, to), in chunks, in order of source time, then ordinal."""
        with self._snapshot() as execute:
            series = self._series(execute, equipment, (metric,))
            question = f"{_METRIC_ROWS} ({series}) ORDER BY source_time_ns, ordinal"
            waiting: list[MetricRow] = []
            for lo, hi in self._spans(execute, series, from_ns, to_ns):
                found = execute(question, (lo, hi, up_to))
                while chunk := found.fetchmany(_ROWS_AT_ONCE - len(waiting)):
                    waiting += chunk
                    if len(waiting) == _ROWS_AT_ONCE:
                        yield waiting
                        waiting = []
            if waiting:
                yield waiting

    def rows_between(
        self, after: int, to: int, wanted: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], list[MetricRow]]:
        """Samples of positions in (``after``, ``to``] of some metrics, by (equipment, metric), in order of position."""
        found: dict[tuple[str, str], list[MetricRow]] = {}
        with self._snapshot() as execute:
            names: dict[int, tuple[str, str]] = {}
            for equipment, metric in wanted:
                for row in execute("SELECT series FROM series WHERE equipment = ? AND metric = ?", (equipment, metric)):
                    names[row[0]] = (equipment, metric)
            rows = execute(
                f"SELECT series, source_time_ns, ordinal, {_VALUE}, quality, flags, position FROM samples "  # noqa: S608
                f"WHERE position > ? AND position <= ? AND series IN ({', '.join(map(str, names))}) ORDER BY position",
                (after, to),
            )
            for series, *row in rows:
                found.setdefault(names[series], []).append(tuple(row))
        return found

    def rows_before(
        self, equipment: str, metric: str, time_ns: int, *, not_before_ns: int, up_to: int
    ) -> Generator[MetricRow, None, None]:
        """Samples of one metric in [not_before, time), the newest first."""
        with self._snapshot() as execute:
            series = self._series(execute, equipment, (metric,))
            question = f"{_METRIC_ROWS} ({series}) ORDER BY source_time_ns DESC, ordinal DESC"
            for lo, hi in reversed(self._spans(execute, series, not_before_ns, time_ns)):
                yield from execute(question, (lo, hi, up_to))

    def last_before(self, equipment: str, metric: str, time_ns: int) -> LogSample | None:
        """The newest sample before ``time_ns``."""
        with self._snapshot() as execute:
            rows = execute(
                f"{_LOG_SAMPLES} WHERE samples.source_time_ns < ? AND series.equipment = ? AND series.metric = ? "
                "ORDER BY samples.source_time_ns DESC, samples.ordinal DESC LIMIT 1",
                (time_ns, equipment, metric),
            ).fetchall()
        found = self._log_samples(rows)
        return found[0] if found else None

    def standing(self, *, since_ns: int = MAX_NS, work_orders: Collection[str] = ()) -> tuple[int, list[IntervalRow]]:
        """The head of the log, and the current context intervals of work orders, in order of position.

        Of ``work_orders``, and of every order that has an interval which ends, or became known, after ``since_ns``:
        all of them, also those that are older.
        """
        with self._snapshot() as execute:
            head = _meta(execute, "next_position", 1) - 1
            names = set(work_orders)
            if since_ns < MAX_NS:
                query = (
                    "SELECT DISTINCT work_order FROM context_intervals WHERE known_to_ns = ? "
                    "AND work_order IS NOT NULL AND (to_ns > ? OR known_from_ns > ?)"
                )
                names.update(row[0] for row in execute(query, (MAX_NS, since_ns, since_ns)))
            found: list[IntervalRow] = []
            ordered = sorted(names)
            for at in range(0, len(ordered), _NAMES_AT_ONCE):
                part = ordered[at : at + _NAMES_AT_ONCE]
                marks = ", ".join("?" * len(part))
                found += execute(f"{_INTERVALS} WHERE work_order IN ({marks}) AND known_to_ns = ?", (*part, MAX_NS))
        return head, sorted(found)

    def standing_of_job(self, job_order: str) -> list[IntervalRow]:
        """The current context intervals that name a job, alone or beside others, in order of position."""
        query = f"{_INTERVALS} WHERE known_to_ns = ? AND instr(body, ?) > 0"
        named = msgspec.json.encode(job_order).decode()
        with self._snapshot() as execute:
            rows: list[IntervalRow] = execute(query, (MAX_NS, named)).fetchall()
        return sorted(row for row in rows if job_order in _jobs_of(row[9]))

    def revisions_since(self, equipment: str, from_ns: int, to_ns: int, known_ns: int) -> list[IntervalRow]:
        """Restatements that touch [from, to) and became known after ``known_ns``, oldest first; superseded ones too."""
        with self._snapshot() as execute:
            found: list[IntervalRow] = execute(
                f"{_INTERVALS} WHERE equipment = ? AND known_to_ns > ? AND from_ns < ? AND to_ns > ? "
                "AND known_from_ns > ? AND rev > 0 ORDER BY position",
                (equipment, known_ns, to_ns, from_ns, known_ns),
            ).fetchall()
            return found

    def recorded_since(
        self, equipment: str, metric: str, from_ns: int, to_ns: int, known_ns: int
    ) -> tuple[int, int, int]:
        """How many samples of [from, to) were recorded after ``known_ns``; the first and last of their positions."""
        with self._snapshot() as execute:
            row = execute(
                "SELECT count(*), coalesce(min(position), 0), coalesce(max(position), 0) FROM samples "  # noqa: S608
                "CROSS JOIN payloads ON payloads.payload = samples.payload "
                "WHERE source_time_ns >= ? AND source_time_ns < ? AND recorded_at_ns > ? "
                f"AND series IN ({self._series(execute, equipment, (metric,))})",
                (from_ns, to_ns, known_ns),
            ).fetchone()
            return int(row[0]), int(row[1]), int(row[2])

    def last_recorded_ns(self) -> int | None:
        """When the newest payload was recorded; None where there is none."""
        with self._snapshot() as execute:
            row = execute("SELECT recorded_at_ns FROM payloads ORDER BY payload DESC LIMIT 1").fetchone()
            return None if row is None else int(row[0])

    def facts(self, *, kind: str | None = None, equipment: str | None = None) -> list[FactRow]:
        """Accepted fact messages in order of knowledge."""
        with self._snapshot() as execute:
            found: list[FactRow] = execute(
                f"{_FACTS} WHERE (?1 IS NULL OR kind = ?1) AND (?2 IS NULL OR equipment = ?2) "
                "ORDER BY known_at_ns, source, id, source_rev",
                (kind, equipment),
            ).fetchall()
            return found

    def interrupt(self) -> None:
        """Let a question under way fail, with :class:`StorageError`; may be called from another thread."""
        self._connection.interrupt()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _new_facts(
        self, execute: Any, progress: Progress, facts_max: int
    ) -> tuple[list[FactRow], tuple[int, Progress]]:
        row = execute("SELECT value FROM counters WHERE name = 'facts_accepted'").fetchone()
        accepted = 0 if row is None else int(row[0])
        if accepted == progress.facts_accepted:
            return [], (progress.facts_known_ns, progress)
        known, held = progress.facts_known_ns, progress.facts
        newer = execute("SELECT count(*) FROM facts WHERE known_at_ns > ?", (known,)).fetchone()[0]
        if held + newer != accepted and held != _facts_up_to(execute, known):
            # The host's clock was set back over a restart: look through all of them again.
            known, held = MIN_NS, 0
        limit = execute(
            "SELECT known_at_ns FROM facts WHERE known_at_ns > ? ORDER BY known_at_ns LIMIT 1 OFFSET ?",
            (known, facts_max - 1),
        ).fetchone()
        to = MAX_NS if limit is None else limit[0]  # facts known at one time stay together
        facts: list[FactRow] = execute(
            f"{_FACTS} WHERE known_at_ns > ? AND known_at_ns <= ? ORDER BY known_at_ns, source, id, source_rev",
            (known, to),
        ).fetchall()
        return facts, (
            known,
            msgspec.structs.replace(
                progress,
                facts_known_ns=facts[-1][9] if facts else known,
                facts=held + len(facts),
                facts_accepted=accepted if limit is None else progress.facts_accepted,
            ),
        )

    @staticmethod
    def _spans(execute: Any, series: str, from_ns: int, to_ns: int) -> list[tuple[int, int]]:
        """Where in [from, to) there are samples, in order: what is noted, and what came since."""
        if execute(_HAS_MANY, (from_ns, to_ns)).fetchone() is None:
            return [(from_ns, to_ns)]
        read_to = _meta(execute, "newest_position", 0)
        return [
            (max(first_ns, from_ns), min(last_ns + 1, to_ns))
            for first_ns, last_ns in execute(
                _WHERE_SAMPLES.replace("(0)", f"({series})"), {"from": from_ns, "to": to_ns, "after": read_to}
            )
        ]

    @staticmethod
    def _series(execute: Any, equipment: str, metrics: Sequence[str]) -> str:
        """The numbers of the series that metrics have, for an IN list; a retyped metric has several."""
        marks = ", ".join("?" * len(metrics))
        found = execute(
            f"SELECT series FROM series WHERE equipment = ? AND metric IN ({marks})",  # noqa: S608
            (equipment, *metrics),
        )
        return ", ".join(str(row[0]) for row in found)

    def _identity(self, execute: Any) -> str:
        """What tells this log from another one in its place: its first payload, which never changes."""
        if not self._log_id:
            row = execute(
                "SELECT group_id, edge_node_id, session, recorded_at_ns FROM payloads ORDER BY payload LIMIT 1"
            ).fetchone()
            if row is not None:
                self._log_id = "/".join(map(str, row))
        return self._log_id

    def _check_log(self, progress: Progress, log_id: str, head: int) -> None:
        if (progress.log_id and log_id and progress.log_id != log_id) or head < progress.position:
            raise ConfigurationError(
                f"this is not the record log that the bridge has read up to position {progress.position}",
                where=str(self.path),
                expected=f"the log that begins with {progress.log_id}",
                next_step="give the bridge the host store it had, or a new name, store and target schema for this one",
            )

    @staticmethod
    def _by_number(execute: Any, table: str, columns: Sequence[str], numbers: set[int]) -> list[Any]:
        found: list[Any] = []
        ordered = sorted(numbers)
        for at in range(0, len(ordered), _ROWS_AT_ONCE):
            part = ordered[at : at + _ROWS_AT_ONCE]
            found += execute(
                f"SELECT {', '.join(columns)} FROM {table} WHERE {columns[0]} IN ({', '.join(map(str, part))})"  # noqa: S608
            ).fetchall()
        return found

    @staticmethod
    def _log_samples(rows: Any) -> list[LogSample]:
        return [
            LogSample(*row[:7], value_of(row[3], row[7], row[8], row[9]), row[10], row[11])  # type: ignore[call-arg]
            for row in rows
        ]

    @contextmanager
    def _snapshot(self) -> Iterator[Any]:
        connection = self._connection
        with translated(self.path):
            connection.execute("BEGIN")
            try:
                yield connection.execute
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")


class _Jobs(msgspec.Struct):
    job_order: str | None = None
    job_orders: tuple[str, ...] = ()


_jobs = msgspec.json.Decoder(_Jobs)


def _jobs_of(body: str) -> set[str | None]:
    found = _jobs.decode(body)
    return {found.job_order, *found.job_orders}


def _facts_up_to(execute: Any, known_ns: int) -> int:
    found: int = execute("SELECT count(*) FROM facts WHERE known_at_ns <= ?", (known_ns,)).fetchone()[0]
    return found


def _meta(execute: Any, key: str, default: int) -> int:
    row = execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return default if row is None else int(row[0])
