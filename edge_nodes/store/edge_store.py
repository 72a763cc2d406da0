"""What the edge has read and nobody has confirmed yet: SQLite in WAL mode, ``synchronous=FULL``, group commits.

Synchronous and single-threaded by intent: the runtime gives it a thread of its own. A store belongs to one edge node
for ever; a changed configuration never empties it, and another node's store is refused. Rows have ascending ids that
are never used twice, so that a mark means the same after a restart.

``bytes_max`` bounds the database file and its WAL together. What is dropped is counted in the transaction that
drops it, and lies in a gap record that is sent like a row (metric number ``GAP``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from edge_nodes.gaps import Gap, merge_gaps
from edge_nodes.ordinals import RECENT_SAMPLES_MAX
from edge_nodes.reduction import Rows
from edge_nodes.rows import GAP, LastSample, MetricName, StoredRows
from edge_nodes.store.file import DatabaseFile, OwnBoundError, open_for_reading
from uns.errors import StorageError, StorageFullError
from uns.sparkplug.datatypes import DataType, Value

__all__ = [
    "Committed",
    "Counters",
    "EdgeStore",
    "WhenFull",
    "registered_metrics",
    "registered_units",
    "waiting_orphans",
]

WhenFull = Literal["drop_oldest", "drop_newest"]
_T = TypeVar("_T")
DROP_SHARE = 20  # drop_oldest makes room for a twentieth of what waits, so that it is rare
SNAPSHOT_ROWS = 50_000  # rows that a start may have to read again to know the last samples


class Counters(msgspec.Struct):
    """The terms of the edge's equations; ``waiting`` follows from them."""

    read: int = 0
    reduced: int = 0
    stored: int = 0
    refused: int = 0
    confirmed: int = 0
    dropped: int = 0
    gaps: int = 0

    @property
    def waiting(self) -> int:
        """Stored, and neither confirmed nor dropped."""
        return self.stored - self.confirmed - self.dropped


class Committed(msgspec.Struct, frozen=True):
    """What one commit did. ``rows`` got the ids from ``first_id``; other ids below ``next_id`` are gap records."""

    first_id: int
    next_id: int
    dropped: int

    def holds(self, rows: Rows) -> bool:
        """Whether the rows of this commit are in the store, and not among the dropped."""
        return self.next_id - self.first_id == len(rows)


class EdgeStore:
    """One edge node's store. Every method is one transaction; after an error what was there before is intact."""

    def __init__(
        self, path: Path, *, identity: str, bytes_max: int = 2_000_000_000, when_full: WhenFull = "drop_oldest"
    ) -> None:
        """Open or make the store at ``path``.

        Raises :class:`ConfigurationError` for another node's store or one in use, :class:`StorageError` if the place
        cannot be written. A corrupt file is renamed to ``….corrupt-N`` (``set_aside``) and a new one begun.
        """
        self._file = DatabaseFile(path, identity=identity, bytes_max=bytes_max)
        self._connection = self._file.connection
        self._transaction = self._file.transaction
        self.path = path
        self.when_full: WhenFull = when_full
        self._last: dict[int, list[LastSample]] = {}
        self._dirty: set[int] = set()
        try:
            with self._file.told():
                self._load()
        except BaseException:
            self._file.close()
            raise

    @property
    def set_aside(self) -> Path | None:
        """Where the corrupt file lies that stood here before; None if there was none."""
        return self._file.set_aside

    def _load(self) -> None:
        execute = self._connection.execute
        row = execute(
            "SELECT next_id, snapshot_id, read, reduced, stored, refused, confirmed, dropped, gaps, gap FROM state"
        ).fetchone()
        self.next_id, self._snapshot_id = row[:2]
        self.counters = Counters(*row[2:9])
        self._gap: Gap | None = None if row[9] is None else Gap.from_json(row[9])
        self._names = {
            number: MetricName(device_id, name, DataType(datatype))
            for number, device_id, name, datatype in execute("SELECT id, device_id, name, datatype FROM metrics")
        }
        for metric, blob in execute("SELECT metric, samples FROM last_samples"):
            # msgpack tells text from bytes itself; msgspec has no type for a union of the two
            self._last[metric] = [tuple(sample) for sample in msgspec.msgpack.decode(blob)]
        newer = execute(
            "SELECT metric, time_ms * 1000000 + time_rest_ns, ordinal, value, status_code, time_source FROM rows"
            " WHERE id >= ? AND metric > 0 ORDER BY id",
            (self._snapshot_id,),
        )
        for metric, time_ns, ordinal, value, status_code, time_source in newer:
            self._remember(metric, (time_ns, ordinal, self._decoded(metric, value), status_code, time_source))
        execute("UPDATE state SET clean = 0")

    def close(self) -> None:
        """Leave a clean file behind."""
        self._file.close()

    # ── what stands in it ───────────────────────────────────────────────────────────────────────────────────────

    def register(
        self, names: Sequence[MetricName], *, definition: str = "", units: Sequence[str | None] = ()
    ) -> list[int]:
        """The numbers of metrics, the same at every start. ``units`` are kept with ``names``, for :attr:`units`."""
        with self._transaction(reserve=True) as execute:
            execute("CREATE TABLE IF NOT EXISTS units(metric INTEGER PRIMARY KEY, unit TEXT) STRICT")
            for name in names:
                execute(
                    "INSERT OR IGNORE INTO metrics(device_id, name, datatype) VALUES (?, ?, ?)",
                    (name.device_id, name.name, int(name.datatype)),
                )
            execute("UPDATE state SET definition = ?", (definition,))
            for number, device_id, name_text, datatype in execute("SELECT id, device_id, name, datatype FROM metrics"):
                self._names[number] = MetricName(device_id, name_text, DataType(datatype))
            numbers = {name: number for number, name in self._names.items()}
            for name, unit in zip(names, units, strict=bool(units)):
                execute("INSERT OR REPLACE INTO units(metric, unit) VALUES (?, ?)", (numbers[name], unit))
        return [numbers[name] for name in names]

    @property
    def registered(self) -> dict[int, MetricName]:
        """All metrics that this store ever had, by number; later ones have higher numbers."""
        return dict(self._names)

    @property
    def units(self) -> dict[int, str]:
        """The unit of each metric in the last definition that had it, by number; what has none is left out."""
        with self._file.told():
            return _units(self._connection.execute)

    def orphans(self, names: Iterable[MetricName]) -> dict[MetricName, int]:
        """Metrics with waiting rows that are not among ``names``, and how many rows each has."""
        return _orphans(self._connection.execute, names)

    def last_samples(self) -> dict[int, list[LastSample]]:
        """By metric: the last stored sample (at the end) and those of the same millisecond before it."""
        return {metric: list(samples) for metric, samples in self._last.items()}

    def first_id(self) -> int:
        """The oldest row's id; ``next_id`` if there is none."""
        with self._file.told():
            (found,) = self._connection.execute("SELECT min(id) FROM rows").fetchone()
        return self.next_id if found is None else int(found)

    def next_bd_seq(self) -> int:
        """The bdSeq of the next CONNECT, on disk before this returns (tck-id-payloads-ndeath-bdseq…)."""
        return self._even_when_full(self._next_bd_seq)

    def _next_bd_seq(self) -> int:
        with self._transaction(reserve=True) as execute:
            (last,) = execute("SELECT bd_seq FROM state").fetchone()
            bd_seq = 0 if last is None else (int(last) + 1) % 256
            execute("UPDATE state SET bd_seq = ?", (bd_seq,))
        return bd_seq

    def give_back_bd_seq(self) -> None:
        """The CONNECT that took the newest bdSeq was never sent: the next one takes it again.

        Else bdSeq would skip over every attempt at a broker that is away (one more for each CONNECT:
        tck-id-topics-nbirth-bdseq-increment).
        """
        self._even_when_full(self._give_back_bd_seq)

    def _give_back_bd_seq(self) -> None:
        with self._transaction(reserve=True) as execute:
            (last,) = execute("SELECT bd_seq FROM state").fetchone()
            if last is not None:
                execute("UPDATE state SET bd_seq = ?", ((int(last) - 1) % 256,))

    def read(self, from_id: int, below_id: int, *, rows_max: int) -> StoredRows:
        """At most ``rows_max`` rows with ``from_id`` <= id < ``below_id``."""
        with self._file.told():
            found = self._connection.execute(
                "SELECT id, metric, time_ms, ordinal, value, status_code, time_source FROM rows"
                " WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
                (from_id, below_id, rows_max),
            ).fetchall()
        if not found:
            return StoredRows(next_id=below_id)
        ids, metrics, times_ms, ordinals, values, status_codes, time_sources = map(list, zip(*found, strict=True))
        return StoredRows(
            next_id=below_id if len(found) < rows_max else ids[-1] + 1,
            metrics=metrics,
            times_ms=times_ms,
            ordinals=ordinals,
            values=[self._decoded(m, v) for m, v in zip(metrics, values, strict=True)],
            status_codes=status_codes,
            time_sources=time_sources,
            first_id=ids[0],
        )

    # ── commits ─────────────────────────────────────────────────────────────────────────────────────────────────

    def commit(self, rows: Rows) -> Committed:
        """Store rows and their counts; where ``bytes_max`` is reached, the policy decides what is dropped.

        :class:`StorageFullError`: the disk takes nothing. Nothing is changed, least of all what waits; try again later.
        """
        try:
            return self._insert(rows)
        except OwnBoundError:
            if self.when_full == "drop_newest":
                return self.drop(rows)
        dropped = self._drop_oldest(max(2 * len(rows), self.counters.waiting // DROP_SHARE))
        try:
            committed = self._insert(rows)
        except OwnBoundError:  # more rows than the whole store takes
            return self.drop(rows)
        return Committed(committed.first_id, committed.next_id, dropped)

    def drop(self, rows: Rows) -> Committed:
        """Count rows that cannot be kept as stored and dropped; they lie in a gap record."""
        gap = Gap.of(rows.times_ns, reason=f"store full, {self.when_full}") if rows.times_ns else None
        self.count_dropped(rows, gap)
        return Committed(self.next_id, self.next_id, len(rows))

    def count_dropped(self, counts: Rows, gap: Gap | None) -> None:
        """Count readings; ``gap`` tells those that were stored and dropped. Rows of ``counts`` are not looked at."""
        counters = msgspec.structs.replace(self.counters)
        counters.read += counts.read
        counters.reduced += counts.reduced
        counters.refused += counts.refused
        if gap is not None:
            counters.stored += gap.count
            counters.dropped += gap.count
            counters.gaps += self._gap is None
        merged = merge_gaps(self._gap, gap)
        with self._transaction(reserve=True) as execute:
            self._write_state(execute, counters, merged, self.next_id)
        self.counters, self._gap = counters, merged

    def delete(self, ranges: Sequence[tuple[int, int]]) -> int:
        """Take out what the host has confirmed; ``ranges`` are (from_id, below_id). Gives how many rows that were."""
        confirmed = self._even_when_full(lambda: self._delete(ranges))
        self._file.keep_ballast()
        return confirmed

    def _delete(self, ranges: Sequence[tuple[int, int]]) -> int:
        counters = msgspec.structs.replace(self.counters)
        confirmed = 0
        with self._transaction(reserve=True) as execute:
            self._write_last_samples(execute)
            for from_id, below_id in ranges:
                (gaps,) = execute(
                    "SELECT count(*) FROM rows INDEXED BY gap_rows WHERE metric = 0 AND id >= ? AND id < ?",
                    (from_id, below_id),
                ).fetchone()
                cursor = execute("DELETE FROM rows WHERE id >= ? AND id < ?", (from_id, below_id))
                confirmed += cursor.rowcount - gaps
            counters.confirmed += confirmed
            self._write_state(execute, counters, self._gap, self.next_id)
        self.counters = counters
        self._snapshot_done()
        return confirmed

    def _insert(self, rows: Rows) -> Committed:
        counters = msgspec.structs.replace(self.counters)
        _count(counters, rows)
        first_id = self.next_id + (self._gap is not None)
        next_id = first_id + len(rows)
        with self._transaction() as execute:
            if self._gap is not None:
                gap_ns = self._gap.to_ns
                gap_row = (self.next_id, GAP, gap_ns // 1_000_000, 0, 0, self._gap.to_json(), 0, 2)
                execute(_INSERT, gap_row)
            if rows.metrics:
                self._connection.executemany(_INSERT, _sql_rows(range(first_id, next_id), rows))
            self._write_state(execute, counters, None, next_id)
        self.counters, self._gap, self.next_id = counters, None, next_id
        for metric, *sample in zip(
            rows.metrics, rows.times_ns, rows.ordinals, rows.values, rows.status_codes, rows.time_sources, strict=True
        ):
            self._remember(metric, tuple(sample))
        if next_id - self._snapshot_id > SNAPSHOT_ROWS:
            with contextlib.suppress(StorageError):  # the next commit tries again
                with self._transaction(reserve=True) as execute:
                    self._write_last_samples(execute)
                self._snapshot_done()
        return Committed(first_id, next_id, 0)

    def _drop_oldest(self, rows_max: int) -> int:
        counters, gap = msgspec.structs.replace(self.counters), self._gap
        with self._transaction(reserve=True) as execute:
            found = execute(
                "SELECT id, metric, time_ms, value FROM rows ORDER BY id LIMIT ?", (max(rows_max, 1),)
            ).fetchall()
            times_ns = [time_ms * 1_000_000 for _, metric, time_ms, _ in found if metric != GAP]
            if times_ns:
                gap = merge_gaps(gap, Gap.of(times_ns, reason="store full, drop_oldest"))
            for _, metric, _, text in found:
                if metric == GAP:  # an older gap that goes too is told by the new one
                    gap = merge_gaps(Gap.from_json(text), gap)
                    counters.gaps -= 1
            counters.gaps += (gap is not None) - (self._gap is not None)
            if found:
                self._write_last_samples(execute)
                execute("DELETE FROM rows WHERE id <= ?", (found[-1][0],))
            counters.dropped += len(times_ns)
            self._write_state(execute, counters, gap, self.next_id)
        self.counters, self._gap = counters, gap
        self._snapshot_done()
        return len(times_ns)

    def _even_when_full(self, write: Callable[[], _T]) -> _T:
        """For writes that make room, or without which nothing goes on: on a full disk they may use the ballast."""
        try:
            return write()
        except StorageFullError:
            if not self._file.drop_ballast():
                raise
            return write()

    # ── helpers ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _write_state(self, execute: Any, counters: Counters, gap: Gap | None, next_id: int) -> None:
        execute(
            "UPDATE state SET next_id = ?, read = ?, reduced = ?, stored = ?, refused = ?, confirmed = ?, dropped = ?,"
            " gaps = ?, gap = ?",
            (next_id, *msgspec.structs.astuple(counters), None if gap is None else gap.to_json()),
        )

    def _write_last_samples(self, execute: Any) -> None:
        if self._dirty:
            self._connection.executemany(
                "INSERT OR REPLACE INTO last_samples VALUES (?, ?)",
                [(metric, msgspec.msgpack.encode(self._last[metric])) for metric in self._dirty],
            )
        execute("UPDATE state SET snapshot_id = ?", (self.next_id,))

    def _snapshot_done(self) -> None:
        self._dirty.clear()
        self._snapshot_id = self.next_id

    def _remember(self, metric: int, sample: LastSample) -> None:
        known = self._last.get(metric)
        if known is not None and known[-1][0] // 1_000_000 == sample[0] // 1_000_000:
            known.append(sample)
            del known[:-RECENT_SAMPLES_MAX]
        else:
            self._last[metric] = [sample]
        self._dirty.add(metric)

    def _decoded(self, metric: int, value: Value) -> Value:
        name = self._names.get(metric)
        if name is None or value is None:
            return value
        if name.datatype is DataType.BOOLEAN:
            return bool(value)
        if value == _NAN and name.datatype in (DataType.FLOAT, DataType.DOUBLE):
            return float("nan")
        if name.datatype is DataType.UINT64 and isinstance(value, str):
            return int(value)
        return value


_INSERT = "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
# SQLite keeps NaN as NULL and integers in 63 bits: these two travel in other clothes.
_NAN = b"NaN"
_INTEGER_MAX = 2**63 - 1


def _sql_rows(ids: range, rows: Rows) -> Iterable[tuple[Any, ...]]:
    values = [v if v == v else _NAN for v in rows.values]  # noqa: PLR0124 NaN
    if any(type(v) is int and v > _INTEGER_MAX for v in values):
        values = [str(v) if type(v) is int and v > _INTEGER_MAX else v for v in values]
    return (
        (i, metric, time_ns // 1_000_000, time_ns % 1_000_000, ordinal, value, status_code, time_source)
        for i, metric, time_ns, ordinal, value, status_code, time_source in zip(
            ids, rows.metrics, rows.times_ns, rows.ordinals, values, rows.status_codes, rows.time_sources, strict=True
        )
    )


def _count(counters: Counters, rows: Rows) -> None:
    counters.read += rows.read
    counters.reduced += rows.reduced
    counters.refused += rows.refused
    counters.stored += len(rows)


def waiting_orphans(path: Path, *, identity: str, names: Iterable[MetricName]) -> dict[MetricName, int]:
    """As :meth:`EdgeStore.orphans`, of a store that may be in use: it is only read. Empty if there is no store."""
    if not path.exists():
        return {}
    with open_for_reading(path, identity=identity) as connection:
        return {} if connection is None else _orphans(connection.execute, names)


def registered_metrics(path: Path, *, identity: str) -> dict[int, MetricName]:
    """As :attr:`EdgeStore.registered`, of a store that may be in use: it is only read. Empty if there is no store."""
    if not path.exists():
        return {}
    with open_for_reading(path, identity=identity) as connection:
        found = () if connection is None else connection.execute("SELECT id, device_id, name, datatype FROM metrics")
        return {number: MetricName(device, name, DataType(datatype)) for number, device, name, datatype in found}


def registered_units(path: Path, *, identity: str) -> dict[int, str]:
    """As :attr:`EdgeStore.units`, of a store that may be in use: it is only read. Empty if there is no store."""
    if not path.exists():
        return {}
    with open_for_reading(path, identity=identity) as connection:
        if connection is None:
            return {}
        is_there = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'units'").fetchone()  # not in old ones
        return _units(connection.execute) if is_there else {}


def _units(execute: Any) -> dict[int, str]:
    found = execute("SELECT metric, unit FROM units WHERE unit IS NOT NULL")
    return {int(metric): str(unit) for metric, unit in found}


def _orphans(execute: Any, names: Iterable[MetricName]) -> dict[MetricName, int]:
    known = set(names)
    found = execute(
        "SELECT device_id, name, datatype, count(*) FROM rows JOIN metrics ON metrics.id = metric"
        " WHERE metric > 0 GROUP BY metric"
    )
    waiting = {MetricName(device_id, name, DataType(datatype)): n for device_id, name, datatype, n in found}
    return {name: n for name, n in waiting.items() if name not in known}
