"""The audit log in a database: beside what it tells of, in the same transaction, never changed and never shortened.

Three kinds of databases have one: the record log of a host, the books of a bridge, the store of a gateway. Tables are
the same in each, so that one reader verifies all of them. Triggers refuse UPDATE and DELETE: a seat belt against
mistakes. Against somebody who can write the file there are the chain and its anchors.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import msgspec

from uns.adapters.sqlite.database import Database, open_reader, translated
from uns.audit.chain import AuditEntry, AuditEvent, Head, append, first_head
from uns.audit.events import BEGUN, FACT_ACCEPTED, ComponentState, Life, row_hash, starting, stopping
from uns.audit.verification import Verifier
from uns.enrichment.plan import FACT_COLUMNS
from uns.errors import ConfigurationError, StorageError

__all__ = ["AUDIT_TABLES", "AuditLog", "AuditQuery", "AuditReader", "Snapshot", "append_entries", "read_head"]

AUDIT_TABLES = """
        CREATE TABLE audit_log (
            number INTEGER PRIMARY KEY,
            at_ns INTEGER NOT NULL,
            component TEXT NOT NULL,
            actor TEXT NOT NULL,
            action TEXT NOT NULL,
            subject TEXT NOT NULL,
            detail TEXT NOT NULL,
            previous TEXT NOT NULL,
            hash TEXT NOT NULL
        ) STRICT;
        CREATE TABLE audit_head (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            log TEXT NOT NULL,
            number INTEGER NOT NULL,
            hash TEXT NOT NULL
        ) STRICT;
        INSERT INTO audit_head VALUES (1, lower(hex(randomblob(16))), 0, '');
        CREATE TRIGGER audit_log_is_not_changed BEFORE UPDATE ON audit_log BEGIN
            SELECT RAISE(ABORT, 'an audit entry is never changed'); END;
        CREATE TRIGGER audit_log_is_not_shortened BEFORE DELETE ON audit_log BEGIN
            SELECT RAISE(ABORT, 'an audit entry is never deleted'); END
        """
_COLUMNS = "number, at_ns, component, actor, action, subject, detail, previous, hash"
_INSERT = f"INSERT INTO audit_log ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - names of ours
_SIZE = "SELECT count(*), coalesce(max(CASE typeof(number) WHEN 'integer' THEN number END), 0) FROM audit_log"
_STATE = "audit_state"  # in meta
_PAGE = 5_000
_NUMBER_MIN = -(2**63)


def read_head(connection: sqlite3.Connection) -> Head:
    """Where the log ends."""
    row = connection.execute("SELECT log, number, hash FROM audit_head").fetchone()
    if row is None or tuple(map(type, row)) != (str, int, str):
        raise StorageError("the audit log has lost its head", next_step="compare the store with a backup")
    return first_head(row[0]) if row[1] == 0 else Head(*row)


def append_entries(connection: sqlite3.Connection, component: str, events: Sequence[AuditEvent]) -> Head:
    """Write events at the end, in the transaction that is open. The head counts once that is committed."""
    head = read_head(connection)
    if not events:
        return head
    entries = append(head, component, events)
    connection.executemany(_INSERT, [msgspec.structs.astuple(entry) for entry in entries])
    head = Head(head.log, entries[-1].number, entries[-1].hash)
    connection.execute("UPDATE audit_head SET number = ?, hash = ?", (head.number, head.hash))
    return head


class AuditLog:
    """The writing side. ``head`` is what is committed; call from the thread of the database."""

    def __init__(
        self, database: Database, *, schema: int, holds: Callable[[sqlite3.Connection], dict[str, int]]
    ) -> None:
        self._database = database
        self._schema = schema
        self._holds = holds
        self.component = ""
        with database.transaction() as connection:
            self.head = read_head(connection)

    def start(self, life: Life, now_ns: int) -> Head:
        """A component starts: what is to be said of that, and its name from now on."""
        self.component = life.component
        with self._database.transaction() as connection:
            head = read_head(connection)
            before = self._state(connection)
            events, state = starting(
                life,
                before,
                schema=self._schema,
                holds=self._holds(connection) if before is None else {},
                head=head,
                at_ns=now_ns,
            )
            head = append_entries(connection, self.component, events)
            self._remember(connection, state)
        self.head = head
        return head

    def append(self, events: Sequence[AuditEvent]) -> Head:
        """Write events in a transaction of their own."""
        with self._database.transaction() as connection:
            head = append_entries(connection, self.component, events)
        self.head = head
        return head

    def stop(self, life: Life, now_ns: int, **detail: Any) -> Head:
        """A component stops cleanly."""
        with self._database.transaction() as connection:
            state = self._state(connection)
            if state is None:
                return self.head
            events, state = stopping(life, state, at_ns=now_ns, **detail)
            head = append_entries(connection, self.component, events)
            self._remember(connection, state)
        self.head = head
        return head

    def refresh(self) -> Head:
        """The head as it is now: another process may have written (``uns dlq``)."""
        with translated(self._database.path):
            self.head = read_head(self._database.connection)
        return self.head

    def entry_hash_at(self, number: int) -> str | None:
        """The hash of an entry; None where there is none."""
        with translated(self._database.path):
            row = self._database.connection.execute("SELECT hash FROM audit_log WHERE number = ?", (number,)).fetchone()
        return None if row is None else str(row[0])

    @staticmethod
    def _state(connection: sqlite3.Connection) -> ComponentState | None:
        row = connection.execute("SELECT value FROM meta WHERE key = ?", (_STATE,)).fetchone()
        try:
            return None if row is None else msgspec.json.decode(row[0], type=ComponentState)
        except msgspec.DecodeError:
            return None

    @staticmethod
    def _remember(connection: sqlite3.Connection, state: ComponentState) -> None:
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_STATE, msgspec.json.encode(state).decode()))


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Snapshot(msgspec.Struct, frozen=True):
    """What a log holds at one commit."""

    head: Head
    entries: int
    last: int  # highest number
    component: str  # of the last entry; "" where there is none
    facts: int | None  # messages in the record log; None in another store


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What to list. Texts match as parts, but for ``action``, which matches as a word or its beginning (``fact.``)."""

    since_ns: int | None = None
    until_ns: int | None = None
    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    about: str | None = None  # in the subject or the detail, or in another message of the same fact
    after: int = 0


class AuditReader:
    """Reads a log, also while its component writes: short transactions, and no write at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            raise ConfigurationError(
                "there is no such store", where=str(path), expected="records.db, a bridge's store, or their directory"
            )
        self._connection = _open(path)
        self._connection.text_factory = _as_it_is
        with translated(path):
            found = self._connection.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name IN ('audit_log', 'audit_head', 'facts')"
            ).fetchall()
        self._tables = {row[0] for row in found}
        if not {"audit_log", "audit_head"} <= self._tables:
            self._connection.close()
            raise ConfigurationError(
                "this store has no audit log",
                where=str(path),
                next_step="start its component once with this release; if it had one, somebody took it out",
            )

    def snapshot(self) -> Snapshot:
        """Head, size and name, all of one commit."""
        with translated(self.path):
            self._connection.execute("BEGIN")
            try:
                execute = self._connection.execute
                head = read_head(self._connection)
                entries, last = execute(_SIZE).fetchone()
                row = execute("SELECT component FROM audit_log ORDER BY number DESC LIMIT 1").fetchone()
                facts = execute("SELECT count(*) FROM facts").fetchone()[0] if "facts" in self._tables else None
            finally:
                self._connection.execute("ROLLBACK")
        return Snapshot(head, entries, last, "" if row is None else str(row[0]), facts)

    def entries(self, *, to: int, after: int = _NUMBER_MIN) -> Iterator[AuditEntry]:
        """Entries by number up to ``to``, in short transactions: one a page, with what is asked beside it."""
        while True:
            with translated(self.path):
                self._connection.execute("BEGIN")
            try:
                rows = self.rows(
                    f"SELECT {_COLUMNS} FROM audit_log WHERE number > ? AND number <= ? ORDER BY number LIMIT ?",  # noqa: S608
                    (after, to, _PAGE),
                )
                yield from map(_entry, rows)
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            if len(rows) < _PAGE:
                return
            after = rows[-1][0]

    def find(self, query: AuditQuery) -> Iterator[AuditEntry]:
        """What fits, oldest first."""
        conditions, arguments = _conditions(query)
        after = query.after
        while True:
            rows = self.rows(
                f"SELECT {_COLUMNS} FROM audit_log WHERE number > ?{conditions} ORDER BY number LIMIT ?",  # noqa: S608
                (after, *arguments, _PAGE),
            )
            yield from map(_entry, rows)
            if len(rows) < _PAGE:
                return
            after = rows[-1][0]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def rows(self, statement: str, arguments: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Whatever a statement gives, of one commit."""
        with translated(self.path):
            return self._connection.execute(statement, arguments).fetchall()

    def row(self, statement: str, arguments: Sequence[Any]) -> tuple[Any, ...] | None:
        """The first row of a statement that is asked very often."""
        try:
            found: tuple[Any, ...] | None = self._connection.execute(statement, arguments).fetchone()
        except sqlite3.Error:
            with translated(self.path):
                raise
        return found

    # ── facts: what an entry says of a row, held against the row ─────────────────────────────────────────────────

    @property
    def has_facts(self) -> bool:
        """Whether the store has the table of facts: a record log does."""
        return "facts" in self._tables

    def fact_rows(self) -> FactRows:
        """For the facts of a record log."""
        return FactRows(self)


def _open(path: Path) -> sqlite3.Connection:
    """Evidence may lie where nothing can be written, not even the index of the WAL: without a WAL it needs none."""
    connection = open_reader(path)
    try:
        connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1")
    except sqlite3.OperationalError:
        if path.with_name(path.name + "-wal").exists():
            return connection
        connection.close()
        with translated(path):
            uri = f"file:{quote(bytes(path.absolute()))}?mode=ro&immutable=1"
            return sqlite3.connect(uri, uri=True, isolation_level=None)
    except sqlite3.Error:  # whoever asks next tells what is wrong
        pass
    return connection


def _as_it_is(text: bytes) -> str | bytes:
    """Text that is none is what somebody put there; it comes as bytes, which no entry and no fact is."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text


class FactRows:
    """Holds ``fact.accepted`` entries against the rows of ``facts``: give it each entry, then :meth:`finish`."""

    def __init__(self, reader: AuditReader) -> None:
        self._reader = reader
        self._accepted = 0
        self._before = 0
        self._lost = 0
        self._begun_ns: int | None = None
        self._gone = not reader.has_facts
        self._told = False

    def receive(self, entry: AuditEntry, verifier: Verifier) -> None:
        """Look at the row that an entry speaks of."""
        if entry.action == BEGUN and self._begun_ns is None:  # a later one would take what came since as given
            self._begun_ns = entry.at_ns
            self._before = _count(_detail(entry))
            if self._before and self._gone:
                self._all_gone(entry, verifier)
        if entry.action != FACT_ACCEPTED:
            return
        if self._gone:
            self._all_gone(entry, verifier)
            return
        self._accepted += 1
        detail = _detail(entry)
        source, source_rev = str(detail.get("source", "")), str(detail.get("source_rev", ""))
        fact_id = entry.subject[len(source) + 1 : len(entry.subject) - len(source_rev) - 1]
        row = self._reader.row(_FACT, (source, fact_id, source_rev))
        if row is None:
            self._lost += 1
            verifier.differs(entry.number, f"the fact of entry {entry.number}, {entry.subject}, is not in the facts")
        elif row_hash(row) != detail.get("row_sha256"):
            verifier.differs(
                entry.number, f"the fact of entry {entry.number}, {entry.subject}, is not what was accepted then"
            )

    def finish(self, facts: int, verifier: Verifier) -> None:
        """Facts that no entry speaks of; ``facts`` is how many there were at the snapshot."""
        if self._begun_ns is None or self._gone:
            return  # the log itself is empty, or its beginning is gone: that is told already
        surplus = facts - self._before - (self._accepted - self._lost)
        if surplus > 0:
            names = self._unaudited(limit=3)
            told = f": {', '.join(names)}" if names else ""
            verifier.differs(None, f"{surplus} facts are in the record log that no entry speaks of{told}")
        elif surplus < 0:
            verifier.differs(None, f"{-surplus} facts are gone that were there before the log began")

    def _all_gone(self, entry: AuditEntry, verifier: Verifier) -> None:
        if not self._told:
            self._told = True
            verifier.differs(entry.number, f"entry {entry.number} tells of facts, and their table is not there")

    def _unaudited(self, *, limit: int) -> list[str]:
        """Only when something is wrong: a look through everything."""
        known = {
            hash(row[0])
            for row in self._reader.rows("SELECT subject FROM audit_log WHERE action = ?", (FACT_ACCEPTED,))
        }
        rows = self._reader.rows(
            "SELECT source || '/' || id || '@' || source_rev FROM facts WHERE known_at_ns >= ? ORDER BY known_at_ns",
            (self._begun_ns or 0,),
        )
        return [row[0] for row in rows if hash(row[0]) not in known][:limit]


_FACT = f"SELECT {', '.join(FACT_COLUMNS)} FROM facts WHERE source = ? AND id = ? AND source_rev = ?"  # noqa: S608


def _count(detail: dict[str, Any]) -> int:
    """The facts that stood there when the log began."""
    before = detail.get("before")
    found = before.get("facts", 0) if isinstance(before, dict) else 0
    return found if isinstance(found, int) else 0


def _detail(entry: AuditEntry) -> dict[str, Any]:
    try:
        return msgspec.json.decode(entry.detail, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}


_TYPES = (int, int, *(str,) * 7)


def _entry(row: tuple[Any, ...]) -> AuditEntry:
    """Whatever stands there: a table that somebody made anew may hold anything."""
    if tuple(map(type, row)) == _TYPES:
        return AuditEntry(*row)
    number, at_ns, *texts = row
    return AuditEntry(
        number if isinstance(number, int) else -1,
        at_ns if isinstance(at_ns, int) else -1,
        *(text if isinstance(text, str) else repr(text) for text in texts),
    )


# Later messages of a fact tell what changed alone: all of them belong to what any of them names. A subject is
# `source/id@source_rev`; the expression takes what stands up to the last `@`.
_OF_A_FACT = "substr(action, 1, 5) = 'fact.'"
_FACT_KEY = "rtrim(subject, replace(subject, '@', ''))"
_TOLD_ABOUT = (
    f"SELECT {_FACT_KEY} FROM audit_log WHERE {_OF_A_FACT} AND instr(subject, '@') > 0 "  # noqa: S608
    "AND (instr(subject, ?) > 0 OR instr(detail, ?) > 0)"
)


def _within_json(text: str) -> str:
    """A text as it stands inside of a JSON string."""
    return msgspec.json.encode(text).decode()[1:-1]


def _conditions(query: AuditQuery) -> tuple[str, list[Any]]:
    conditions = ""
    arguments: list[Any] = []
    for column, sign, value in (("at_ns", ">=", query.since_ns), ("at_ns", "<", query.until_ns)):
        if value is not None:
            conditions += f" AND {column} {sign} ?"
            arguments.append(value)
    for column, text in (("actor", query.actor), ("subject", query.subject)):
        if text is not None:
            conditions += f" AND instr({column}, ?) > 0"
            arguments.append(text)
    if query.about is not None:
        named = "instr(subject, ?) > 0 OR instr(detail, ?) > 0"
        conditions += f" AND ({named} OR ({_OF_A_FACT} AND {_FACT_KEY} IN ({_TOLD_ABOUT})))"
        arguments += [query.about, _within_json(query.about)] * 2
    if query.action is not None:
        conditions += " AND substr(action, 1, ?) = ?"
        arguments += [len(query.action), query.action]
    return conditions, arguments
