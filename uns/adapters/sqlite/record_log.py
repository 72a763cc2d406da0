"""The record log: samples, their context, facts, and what is still to be published, one transaction at a time.

A plan of the enricher is committed whole or not at all, together with the raw position up to which everything is
joined. So a crash at any point costs at most work that the raw log repeats.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from uns.adapters.sqlite.audit_log import AuditLog, append_entries
from uns.adapters.sqlite.database import Database, open_reader, translated
from uns.adapters.sqlite.record_schema import FAR_ORDINAL, MIGRATIONS, RECORD_LOG, SECOND_NS, SPAN_NS
from uns.audit.chain import AuditEvent
from uns.context.facts import Fact
from uns.enrichment.gaps import UNFILLED_PER_WAY_MAX
from uns.enrichment.plan import (
    EQUIPMENT_LOG_COLUMNS,
    FACT_COLUMNS,
    FLAG_CLOCK_SUSPECT,
    GAP_COLUMNS,
    INTERVAL_COLUMNS,
    MAX_NS,
    PAYLOAD_COLUMNS,
    SAMPLE_COLUMNS,
    SERIES_COLUMNS,
    UNRECORDED_COLUMNS,
    WAY_COLUMNS,
    ContextSample,
    EnricherState,
    GapRow,
    OutboxMessage,
    PresentSample,
    RecordPlan,
    StoredFact,
    value_of,
)
from uns.enrichment.samples import Content, Quality, StoredSample, StoredUnrecorded

__all__ = ["AddressRow", "RecordIndexReader", "RecordLog"]

# group_id, edge_node_id, device_id, metric, address (a NodeId or register), known_from_ns
AddressRow = tuple[str, str, str, str, str, int]
_Seconds = Counter[tuple[str, int]]  # samples by equipment and second

_NEWEST_EVERY_POSITIONS = 200_000  # so many rows at most are looked through again at start
_BELIEVED_SPANS_MAX = 200  # so far back a believed sample is looked for where the newest one is not
_BELIEVED_ROWS_MAX = 20_000  # of the two newest of them; of the others the last sample alone


def _insert(table: str, columns: Sequence[str], *, verb: str = "INSERT") -> str:
    return f"{verb} INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


_INSERT_SERIES = _insert("series", SERIES_COLUMNS)
_INSERT_PAYLOAD = _insert("payloads", PAYLOAD_COLUMNS)
_INSERT_SAMPLE = _insert("samples", SAMPLE_COLUMNS)
_ROWS_PER_STATEMENT = 64
_INSERT_SAMPLES = _INSERT_SAMPLE + f", ({', '.join('?' * len(SAMPLE_COLUMNS))})" * (_ROWS_PER_STATEMENT - 1)
_INSERT_FACT = _insert("facts", FACT_COLUMNS)
_INSERT_INTERVAL = _insert("context_intervals", INTERVAL_COLUMNS)
_INSERT_GAP = _insert("gap_revisions", GAP_COLUMNS)
_INSERT_WAY = _insert("ways", WAY_COLUMNS, verb="INSERT OR REPLACE")
_INSERT_UNRECORDED = _insert("unrecorded", UNRECORDED_COLUMNS)
_INSERT_EQUIPMENT_LOG = _insert("equipment_logs", EQUIPMENT_LOG_COLUMNS, verb="INSERT OR REPLACE")
_INSERT_ADDRESS = """
    INSERT INTO source_addresses SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE ?5 IS NOT (
        SELECT address FROM source_addresses
        WHERE group_id = ?1 AND edge_node_id = ?2 AND device_id = ?3 AND metric = ?4 AND known_from_ns <= ?6
        ORDER BY known_from_ns DESC LIMIT 1)
    ON CONFLICT DO NOTHING
    """
_INSERT_META = "INSERT OR REPLACE INTO meta VALUES (?, ?)"
_ADD_COUNTER = "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"
_ADD_SECONDS = """
    INSERT INTO samples_per_second VALUES (?, ?, ?)
    ON CONFLICT (equipment, second) DO UPDATE SET samples = samples + excluded.samples
    """
_ADD_FOREIGN_SECONDS = _ADD_SECONDS.replace("samples_per_second", "foreign_per_second")
_ADD_UNRECORDED = """
    INSERT INTO unrecorded_per_node VALUES (?, ?, ?, ?)
    ON CONFLICT (kind, group_id, edge_node_id) DO UPDATE SET samples = samples + excluded.samples
    """
_ADD_NODES = """
    INSERT INTO recorded_per_node VALUES (?, ?, ?)
    ON CONFLICT (group_id, edge_node_id) DO UPDATE SET samples = samples + excluded.samples
    """
_ADD_CONTEXT = """
    INSERT INTO context_positions SELECT position FROM samples
    WHERE position BETWEEN ? AND ? AND series IN (SELECT series FROM context_series)
    """
_SPANS = f"""
    SELECT series, source_time_ns / {SPAN_NS}, min(source_time_ns), max(source_time_ns)
    FROM samples WHERE position > ? GROUP BY 1, 2
    """  # noqa: S608 - a number of ours
_ADD_SPAN = """
    INSERT INTO series_spans VALUES (?, ?, ?, ?) ON CONFLICT (series, span)
    DO UPDATE SET first_ns = min(first_ns, excluded.first_ns), last_ns = max(last_ns, excluded.last_ns)
    """
_ADD_NEWEST = """
    INSERT INTO newest VALUES (?, ?)
    ON CONFLICT (series) DO UPDATE SET source_time_ns = max(source_time_ns, excluded.source_time_ns)
    """


class RecordLog:
    """The writing side of ``records.db`` and its reads at start. Blocks on the disk: call from a worker thread.

    ``is_context`` says of (equipment, metric) whether its samples are read back at start as a source of context.
    """

    def __init__(
        self,
        path: Path,
        *,
        is_context: Callable[[str, str], bool] = lambda _equipment, _metric: False,
        bytes_max: int | None = None,
    ) -> None:
        self.path = path
        self._is_context = is_context
        self._database = Database(path, kind=RECORD_LOG, migrations=MIGRATIONS, bytes_max=bytes_max)
        self.audit = AuditLog(self._database, schema=MIGRATIONS[-1].version, holds=_facts_held)
        self._context_series: set[int] = set()
        self._equipment_of: dict[int, str] = {}  # by series
        self._next_outbox_id = 1
        self._newest_position = 0

    def load(self) -> tuple[EnricherState, int]:
        """What the enricher needs, and the raw position up to which everything is joined."""
        with self._database.transaction() as connection:
            meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
            series = connection.execute(f"SELECT {', '.join(SERIES_COLUMNS)} FROM series").fetchall()  # noqa: S608
            self._equipment_of = {row[0]: row[1] for row in series}
            self._learn_context(connection, series)
            next_position = int(meta.get("next_position", 1))
            self._refresh_newest(connection, int(meta.get("newest_position", 0)), next_position - 1)
            newest = dict(connection.execute("SELECT series, source_time_ns FROM newest").fetchall())
            self._next_outbox_id = (
                max(
                    connection.execute("SELECT coalesce(max(id), 0) FROM outbox").fetchone()[0],
                    int(meta.get("outbox_id", 0)),
                )
                + 1
            )
            state = EnricherState(
                facts=[
                    StoredFact(msgspec.json.decode(body, type=Fact), rev, known_at_ns)
                    for body, rev, known_at_ns in connection.execute("SELECT body, rev, known_at_ns FROM facts")
                ],
                context_samples=[_context_sample(row) for row in connection.execute(_CONTEXT_SAMPLES)],
                intervals=connection.execute(
                    f"SELECT {', '.join(INTERVAL_COLUMNS)} FROM context_intervals WHERE known_to_ns = ?",  # noqa: S608
                    (MAX_NS,),
                ).fetchall(),
                series=[(row, newest.get(row[0])) for row in series],
                present=[_believed(connection, row) for row in connection.execute(_PRESENT_SAMPLES).fetchall()],
                gaps=_unsettled_gaps(connection),
                ways=connection.execute(f"SELECT {', '.join(WAY_COLUMNS)} FROM ways").fetchall(),  # noqa: S608
                equipment_logs=connection.execute("SELECT equipment, last_to FROM equipment_logs").fetchall(),
                counters=dict(connection.execute("SELECT name, value FROM counters").fetchall()),
                next_position=next_position,
                next_payload=int(meta.get("next_payload", 1)),
                contract_hash=meta.get("contract_hash"),
            )
        return state, int(meta.get("joined", 0))

    def commit(
        self,
        plan: RecordPlan,
        *,
        joined: int,
        published: int = 0,
        addresses: Sequence[AddressRow] = (),
        audit: Sequence[AuditEvent] = (),
    ) -> range:
        """Commit a plan and that the raw log is joined up to ``joined``; forget outbox rows up to ``published``.

        ``addresses`` are where metrics are read from, as births told it; one that is known already changes nothing.
        ``audit`` is what the audit log says of this plan.

        Returns the outbox ids of ``plan.outbox``, in order. After a :class:`~uns.errors.StorageError` nothing
        happened: make a new enricher from :meth:`load`, since this one is ahead of the log.
        """
        first_id = self._next_outbox_id
        ids = range(first_id, first_id + len(plan.outbox))
        self._equipment_of.update((row[0], row[1]) for row in plan.series)
        learned = [row[0] for row in plan.series if self._is_context(row[1], row[2])]
        with self._database.transaction() as connection:
            many = connection.executemany
            many(_INSERT_SERIES, plan.series)
            many("INSERT INTO context_series VALUES (?)", [(series,) for series in learned])
            many(_INSERT_PAYLOAD, plan.payloads)
            if plan.samples:
                _insert_samples(connection, plan.samples)
                span = (plan.samples[0][0], plan.samples[-1][0])
                seconds, foreign, nodes = self._sums(plan)
                many(_ADD_SECONDS, [(*key, count) for key, count in seconds.items()])
                many(_ADD_FOREIGN_SECONDS, [(*key, count) for key, count in foreign.items()])
                many(_ADD_NODES, [(*key, count) for key, count in nodes.items()])
                if self._context_series or learned:
                    connection.execute(_ADD_CONTEXT, span)
                if span[1] - self._newest_position > _NEWEST_EVERY_POSITIONS:
                    self._refresh_newest(connection, self._newest_position, span[1])
            many(_INSERT_FACT, plan.facts)
            many(_INSERT_INTERVAL, plan.intervals_opened)
            many("UPDATE context_intervals SET known_to_ns = ? WHERE position = ?", plan.intervals_closed)
            many(_INSERT_GAP, plan.gaps_opened)
            many("UPDATE gap_revisions SET known_to_ns = ? WHERE position = ?", plan.gaps_closed)
            many(_INSERT_WAY, plan.ways)
            many(_INSERT_UNRECORDED, plan.unrecorded)
            many(_ADD_UNRECORDED, [(*key, n) for key, n in Counter(row[:3] for row in plan.unrecorded).items()])
            many(_INSERT_EQUIPMENT_LOG, plan.equipment_logs)
            many(_ADD_COUNTER, list(plan.counters.items()))
            many(
                _INSERT_META,
                (
                    ("next_position", plan.next_position),
                    ("next_payload", plan.next_payload),
                    ("contract_hash", plan.contract_hash),
                    ("joined", joined),
                ),
            )
            many(_INSERT_ADDRESS, addresses)
            head = append_entries(connection, self.audit.component, audit) if audit else self.audit.head
            self._forget(connection, published)
            many(
                "INSERT INTO outbox VALUES (?, ?, ?, ?, ?)",
                [(id_, m.topic, m.payload, m.qos, m.retain) for id_, m in zip(ids, plan.outbox, strict=True)],
            )
        self._next_outbox_id = ids.stop
        self._context_series.update(learned)
        self.audit.head = head
        return ids

    def outbox_after(self, last_id: int, *, messages_max: int) -> list[tuple[int, OutboxMessage]]:
        """What is still to be published, in log order."""
        with translated(self.path):
            rows = self._database.connection.execute(
                "SELECT id, topic, payload, qos, retain FROM outbox WHERE id > ? ORDER BY id LIMIT ?",
                (last_id, messages_max),
            ).fetchall()
        return [(row[0], OutboxMessage(row[1], row[2], row[3], bool(row[4]))) for row in rows]

    def forget_published(self, published: int) -> None:
        """Delete outbox rows up to ``published``; :meth:`commit` does the same on its way."""
        with self._database.transaction() as connection:
            self._forget(connection, published)

    def limit(self, bytes_max: int | None) -> None:
        """Change the bound of the file while it is open."""
        self._database.limit(bytes_max)

    def used_bytes(self) -> int:
        """Bytes that hold something."""
        return self._database.used_bytes()

    def close(self) -> None:
        """Close the writing connection."""
        self._database.close()

    def _sums(self, plan: RecordPlan) -> tuple[_Seconds, _Seconds, Counter[tuple[str, str]]]:
        """Samples of a plan by equipment and second, the foreign ones again, and all by edge node."""
        seconds: _Seconds = Counter()
        foreign: _Seconds = Counter()
        foreign_payloads = {row[0] for row in plan.payloads if not row[4]}
        nodes: Counter[tuple[str, str]] = Counter()
        node_of = {row[0]: (row[1], row[2]) for row in plan.payloads}
        equipment_of = self._equipment_of
        # A payload belongs to one equipment: one look-up for each of its seconds is enough.
        counts = Counter([(row[10], row[2] // SECOND_NS) for row in plan.samples])
        series_of = {row[10]: row[1] for row in plan.samples}
        for (payload, second), count in counts.items():
            seconds[equipment_of[series_of[payload]], second] += count
            if payload in foreign_payloads:
                foreign[equipment_of[series_of[payload]], second] += count
            nodes[node_of[payload]] += count
        return seconds, foreign, nodes

    def _forget(self, connection: sqlite3.Connection, published: int) -> None:
        if published > 0:
            connection.execute("DELETE FROM outbox WHERE id <= ?", (published,))
            # The ids go on where they stopped, also when the table is empty at the next start.
            connection.execute(_INSERT_META, ("outbox_id", published))

    def _learn_context(self, connection: sqlite3.Connection, series: Sequence[tuple[Any, ...]]) -> None:
        known = {row[0] for row in connection.execute("SELECT series FROM context_series")}
        wanted = {row[0] for row in series if self._is_context(row[1], row[2])}
        for number in wanted - known:  # the tree gave it the role since
            connection.execute("INSERT INTO context_series VALUES (?)", (number,))
            connection.execute(
                "INSERT OR IGNORE INTO context_positions SELECT position FROM samples WHERE series = ?", (number,)
            )
        for number in known - wanted:
            connection.execute("DELETE FROM context_series WHERE series = ?", (number,))
            connection.execute(
                "DELETE FROM context_positions WHERE position IN "
                "(SELECT position FROM samples JOIN context_positions USING (position) WHERE series = ?)",
                (number,),
            )
        self._context_series = wanted

    def _refresh_newest(self, connection: sqlite3.Connection, after: int, to: int) -> None:
        spans = connection.execute(_SPANS, (after,)).fetchall()
        connection.executemany(_ADD_SPAN, spans)
        newest: dict[int, int] = {}
        for series, _, _, last_ns in spans:
            newest[series] = max(newest.get(series, last_ns), last_ns)
        connection.executemany(_ADD_NEWEST, newest.items())
        connection.execute(_INSERT_META, ("newest_position", to))
        self._newest_position = to


def _facts_held(connection: sqlite3.Connection) -> dict[str, int]:
    return {"facts": connection.execute("SELECT count(*) FROM facts").fetchone()[0]}


_UNSETTLED_GAPS = f"""
    SELECT {", ".join(GAP_COLUMNS)} FROM gap_revisions
    WHERE known_to_ns = {MAX_NS} AND reason <> 'dropped' AND (to_ns = {MAX_NS} OR status = 'closed')
    ORDER BY position DESC
    """  # noqa: S608 - columns and numbers of ours


def _unsettled_gaps(connection: sqlite3.Connection) -> list[GapRow]:
    """Gaps that are open, and of each way the newest closed ones: so many history may still fill."""
    found: list[GapRow] = []
    closed: Counter[tuple[str, str, str]] = Counter()
    for row in connection.execute(_UNSETTLED_GAPS):
        way = row[4:7]
        is_open = row[10] == MAX_NS
        if is_open or closed[way] < UNFILLED_PER_WAY_MAX:
            found.append(row)
            closed[way] += not is_open
    return found


_CONTEXT_SAMPLES = """
    SELECT series.equipment, series.metric, samples.source_time_ns, samples.ordinal, series.type,
           samples.value_num, samples.value_int, samples.value_text, samples.quality
    FROM context_positions
    JOIN samples ON samples.position = context_positions.position
    JOIN series ON series.series = samples.series
    """


_PRESENT_COLUMNS = """
    samples.series, samples.source_time_ns, {}, series.type,
    samples.value_num, samples.value_int, samples.value_text, samples.quality, samples.status_code,
    samples.flags, payloads.group_id, payloads.edge_node_id, payloads.device_id
    """
# The last ordinal of the newest time of each series: bare columns are those of the row with the maximum.
_PRESENT_SAMPLES = f"""
    SELECT {_PRESENT_COLUMNS.format("max(samples.ordinal)")}
    FROM newest
    JOIN samples ON samples.series = newest.series AND samples.source_time_ns = newest.source_time_ns
    JOIN series ON series.series = samples.series
    JOIN payloads ON payloads.payload = samples.payload
    GROUP BY samples.series
    """  # noqa: S608 - columns of ours
_SPANS_BACK = "SELECT first_ns, last_ns FROM series_spans WHERE series = ? ORDER BY span DESC LIMIT ?"
_BELIEVED = f"""
    SELECT {_PRESENT_COLUMNS.format("samples.ordinal")}
    FROM (SELECT position, series FROM samples WHERE source_time_ns BETWEEN ?2 AND ?3
        ORDER BY source_time_ns DESC, series DESC, ordinal DESC LIMIT {_BELIEVED_ROWS_MAX}) AS keys
    CROSS JOIN samples ON samples.position = keys.position
    JOIN series ON series.series = samples.series
    JOIN payloads ON payloads.payload = samples.payload
    WHERE keys.series = ?1 AND NOT samples.flags & {FLAG_CLOCK_SUSPECT}
    ORDER BY samples.source_time_ns DESC, samples.ordinal DESC LIMIT 1
    """  # noqa: S608 - numbers of ours


def _believed(connection: sqlite3.Connection, row: tuple[Any, ...]) -> PresentSample:
    """The newest sample of a series; where its stamp is not believed, the newest one whose stamp is, within reach."""
    newest = _present_sample(row)
    if newest.flags & FLAG_CLOCK_SUSPECT:
        spans = connection.execute(_SPANS_BACK, (newest.series, _BELIEVED_SPANS_MAX)).fetchall()
        for back, (first_ns, last_ns) in enumerate(spans):
            keys = (newest.series, first_ns if back < 2 else last_ns, last_ns)
            found = connection.execute(_BELIEVED, keys).fetchone()
            if found is not None:
                return _present_sample(found)
    return newest


def _present_sample(row: tuple[Any, ...]) -> PresentSample:
    series, source_time_ns, ordinal, type_label, num, integer, text, *rest = row
    return PresentSample(series, source_time_ns, ordinal, value_of(type_label, num, integer, text), *rest)


def _context_sample(row: tuple[Any, ...]) -> ContextSample:
    equipment, metric, source_time_ns, ordinal, type_label, num, integer, text, quality = row
    value = value_of(type_label, num, integer, text)
    return ContextSample(equipment, metric, source_time_ns, ordinal, value, quality)


def _insert_samples(connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Many rows per statement where there are many: a third cheaper than one each."""
    whole = len(rows) - len(rows) % _ROWS_PER_STATEMENT
    for at in range(0, whole, _ROWS_PER_STATEMENT):
        part = rows[at : at + _ROWS_PER_STATEMENT]
        connection.execute(_INSERT_SAMPLES, [value for row in part for value in row])
    connection.executemany(_INSERT_SAMPLE, rows[whole:])


class RecordIndexReader:
    """The enricher's view into the committed log (:class:`uns.enrichment.samples.RecordIndex`).

    A connection of its own, used from one thread; each call sees the newest commit.
    """

    def __init__(self, path: Path, *, connection: sqlite3.Connection | None = None) -> None:
        self.path = path
        self._connection = open_reader(path) if connection is None else connection

    def at(
        self, equipment: str, metric: str, source_time_ns: int, *, first: int = 0, limit: int | None = None
    ) -> list[StoredSample]:
        """Samples at that time with an ordinal from ``first`` on, by ordinal, the lowest ``limit`` of them."""
        rows: list[tuple[Any, ...]] = []
        limit = -1 if limit is None else limit
        with translated(self.path):
            definitions = self._connection.execute(_DEFINITIONS, (equipment, metric)).fetchall()
            for series, type_label in definitions:
                found = self._connection.execute(_AT, (source_time_ns, series, first, limit))
                rows += [(row[0], value_of(type_label, *row[1:4]), Quality(row[4]), row[5]) for row in found]
        if len(definitions) > 1:
            rows.sort(key=_ordinal)
        return [StoredSample(*row) for row in (rows if limit < 0 else rows[:limit])]

    def holds(
        self, equipment: str, metric: str, source_time_ns: int, content: Content, *, first: int, below: int
    ) -> bool:
        """Whether a sample of that content stands at that time, at an ordinal in [first, below)."""
        with translated(self.path):
            for series, _ in self._connection.execute(_DEFINITIONS, (equipment, metric)).fetchall():
                key = (source_time_ns, series, *content, first, below)
                if self._connection.execute(_HOLDS_FAR, key).fetchone() is not None:
                    return True
                near = (*key[:-1], min(below, FAR_ORDINAL))
                if self._connection.execute(_HOLDS_NEAR, near).fetchone() is not None:
                    return True
        return False

    def count(self, equipment: str, from_ns: int, to_ns: int, *, foreign: bool = False) -> int:
        """How many samples of the equipment lie in [from, to): whole seconds from their sums, the ends by key.

        With ``foreign`` those of foreign nodes only.
        """
        if from_ns >= to_ns:
            return 0
        first, last = -(-from_ns // SECOND_NS), to_ns // SECOND_NS  # whole seconds are [first, last)
        with translated(self.path):
            if first >= last:
                return self._count_keys(equipment, from_ns, to_ns, foreign=foreign)
            total: int = self._connection.execute(
                f"SELECT coalesce(sum(samples), 0) FROM {'foreign' if foreign else 'samples'}_per_second "  # noqa: S608
                "WHERE equipment = ? AND second >= ? AND second < ?",
                (equipment, first, last),
            ).fetchone()[0]
            total += self._count_keys(equipment, from_ns, first * SECOND_NS, foreign=foreign)
            return total + self._count_keys(equipment, last * SECOND_NS, to_ns, foreign=foreign)

    def unrecorded_at(
        self,
        group_id: str,
        edge_node_id: str,
        device_id: str,
        metric: str,
        source_time_ns: int,
        *,
        first: int = 0,
        limit: int = 1_000,
    ) -> list[StoredUnrecorded]:
        """Rejected and unmapped samples at that time with an ordinal from ``first`` on, the lowest ``limit``."""
        with translated(self.path):
            rows = self._connection.execute(
                "SELECT ordinal, raw FROM unrecorded WHERE group_id = ? AND edge_node_id = ? AND device_id = ? "
                "AND metric = ? AND source_time_ns = ? AND ordinal >= ? ORDER BY ordinal LIMIT ?",
                (group_id, edge_node_id, device_id, metric, source_time_ns, first, limit),
            ).fetchall()
        return [StoredUnrecorded(ordinal, raw) for ordinal, raw in rows]

    def holds_dropped(
        self, equipment: str, group_id: str, edge_node_id: str, *, from_ns: int, to_ns: int, samples: int
    ) -> bool:
        """Whether a ``dropped`` gap of these ends and so many samples is known."""
        with translated(self.path):
            found = self._connection.execute(
                "SELECT 1 FROM gap_revisions WHERE equipment = ? AND known_to_ns = ? AND from_ns = ? AND to_ns = ? "
                "AND reason = 'dropped' AND group_id = ? AND edge_node_id = ? AND samples = ?",
                (equipment, MAX_NS, from_ns, to_ns, group_id, edge_node_id, samples),
            ).fetchone()
        return found is not None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _count_keys(self, equipment: str, from_ns: int, to_ns: int, *, foreign: bool) -> int:
        if from_ns >= to_ns:
            return 0
        row = self._connection.execute(_COUNT_FOREIGN if foreign else _COUNT, (from_ns, to_ns, equipment)).fetchone()
        return int(row[0])


_COUNT = """
    SELECT count(*) FROM samples WHERE source_time_ns >= ? AND source_time_ns < ?
    AND series IN (SELECT series FROM series WHERE equipment = ?)
    """
_COUNT_FOREIGN = f"{_COUNT} AND (SELECT session FROM payloads WHERE payload = samples.payload) = ''"  # noqa: S608
_DEFINITIONS = "SELECT series, type FROM series WHERE equipment = ? AND metric = ?"
_AT = """
    SELECT ordinal, value_num, value_int, value_text, quality, status_code FROM samples INDEXED BY samples_by_key
    WHERE source_time_ns = ? AND series = ? AND ordinal >= ? ORDER BY ordinal LIMIT ?
    """
_HOLDS = """
    SELECT 1 FROM samples INDEXED BY {index} WHERE source_time_ns = ? AND series = ?
    AND value_num IS ? AND value_int IS ? AND value_text IS ? AND quality = ? AND status_code = ?
    AND ordinal >= ? AND ordinal < ? {far} LIMIT 1
    """
_HOLDS_NEAR = _HOLDS.format(index="samples_by_key", far="")
_HOLDS_FAR = _HOLDS.format(index="samples_far", far=f"AND ordinal >= {FAR_ORDINAL}")


def _ordinal(row: tuple[Any, ...]) -> int:
    return int(row[0])
