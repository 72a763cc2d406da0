"""The books of one bridge: how far it has read, what is still to be delivered, what is dead, and who decided what.

The cursor is committed with the items that follow from what it passed, so a crash at any point costs at most reading
again. An item is marked ``sending`` on disk before the target hears of it: what is found so at a start was in the air,
and the target is asked before it is sent again.

The running bridge and the commands (``uns dlq``) write the same file; every write is one short transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from uns.adapters.sqlite.bridge_audit import BRIDGE_AUDIT_TABLES, BridgeAudit
from uns.adapters.sqlite.database import Database, Migration, file_at, translated
from uns.adapters.sqlite.record_cursor import Progress
from uns.bridges.port import OutboundItem
from uns.bridges.rules import Settled
from uns.errors import ConfigurationError, StorageError, UnsError

__all__ = ["BridgeCounts", "BridgeStore", "DeadLetter", "StoredItem"]

_OPEN = "('waiting', 'sending', 'unknown', 'dead')"
_FIRST = f"""
    CREATE TABLE progress (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE mapping_state (
        key TEXT PRIMARY KEY,
        value BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE outbox (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        key TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        subject TEXT NOT NULL,
        order_key TEXT NOT NULL,
        body BLOB NOT NULL,
        first_position INTEGER NOT NULL,
        last_position INTEGER NOT NULL,
        created_at_ns INTEGER NOT NULL,
        state TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        due_at_ns INTEGER NOT NULL,
        changed_at_ns INTEGER NOT NULL,
        error_class TEXT NOT NULL,
        reason TEXT NOT NULL,
        next_step TEXT NOT NULL,
        receipt TEXT NOT NULL
    ) STRICT;
    CREATE INDEX outbox_open ON outbox (state, id) WHERE state IN {_OPEN};
    CREATE INDEX outbox_order ON outbox (order_key, id) WHERE state IN {_OPEN} AND order_key <> '';
    CREATE INDEX outbox_done ON outbox (changed_at_ns) WHERE state = 'delivered';
    CREATE TABLE counters (
        name TEXT PRIMARY KEY,
        value INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE audit_events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at_ns INTEGER NOT NULL,
        actor TEXT NOT NULL,
        action TEXT NOT NULL,
        subject TEXT NOT NULL,
        detail TEXT NOT NULL
    ) STRICT;
    """
_INBOUND = """
    CREATE TABLE documents (
        digest BLOB PRIMARY KEY,
        name TEXT NOT NULL,
        bod_id TEXT,
        first_seen_ns INTEGER NOT NULL,
        last_seen_ns INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX documents_bod ON documents (bod_id) WHERE bod_id IS NOT NULL;
    CREATE INDEX documents_age ON documents (last_seen_ns);
    CREATE TABLE orders (
        id TEXT PRIMARY KEY,
        source_rev INTEGER NOT NULL,
        stated_at_ns INTEGER NOT NULL,
        body BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX orders_age ON orders (stated_at_ns);
    """
_MIGRATIONS = (Migration(1, _FIRST), Migration(2, _INBOUND), Migration(3, BRIDGE_AUDIT_TABLES))
_PAGE_BYTES = 4096

_ITEM = "id, key, kind, subject, order_key, body, first_position, last_position, created_at_ns, attempts, reason"
_INSERT = """
    INSERT INTO outbox (key, kind, subject, order_key, body, first_position, last_position, created_at_ns, state,
                        attempts, due_at_ns, changed_at_ns, error_class, reason, next_step, receipt)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'waiting', 0, 0, ?, '', '', '', '')
    ON CONFLICT (key) DO NOTHING
    """
# An item waits behind an earlier one of its order key, also behind a dead one.
_DUE = f"""
    SELECT {_ITEM} FROM outbox AS item
    WHERE state IN {_OPEN} AND state = 'waiting' AND (due_at_ns <= ? OR due_at_ns > ?)
        AND (order_key = '' OR NOT EXISTS (
        SELECT 1 FROM outbox AS earlier WHERE earlier.state IN {_OPEN} AND earlier.order_key <> ''
            AND earlier.order_key = item.order_key AND earlier.id < item.id))
    ORDER BY id LIMIT ?
    """  # noqa: S608 - words of ours
_ADD = "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"


class StoredItem(msgspec.Struct, frozen=True):
    """An item with its place in the outbox."""

    id: int
    item: OutboundItem
    reason: str = ""  # of the last failure


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """An item that waits for a human."""

    key: str
    kind: str
    subject: str
    state: str
    error_class: str
    reason: str
    next_step: str
    attempts: int
    created_at_ns: int
    changed_at_ns: int
    first_position: int
    last_position: int
    holds: int  # later items of its order key that wait for it
    body: bytes = b""


class BridgeCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What the books hold at one moment, and the totals since they began."""

    states: dict[str, int]
    oldest_unsent_ns: int | None  # created_at of the oldest item that is neither delivered, dead nor dropped
    next_due_ns: int | None
    counters: dict[str, int]
    progress: Progress


class BridgeStore:
    """Blocks on the disk: call from a worker thread, one at a time."""

    def __init__(
        self,
        path: Path,
        *,
        bytes_max: int | None = None,
        must_exist: bool = False,
        audit_sums: bool = False,
    ) -> None:
        self.path = path
        if must_exist and not path.exists():
            raise ConfigurationError(
                "there is no bridge store yet", where=str(path), next_step="start it once with `uns bridge run`"
            )
        self._database = Database(
            path, kind="bridge store", migrations=_MIGRATIONS, page_bytes=_PAGE_BYTES, bytes_max=bytes_max
        )
        self._file = file_at(path)
        self.audit = BridgeAudit(self._database, schema=_MIGRATIONS[-1].version, sums=audit_sums)

    def check_there(self) -> None:
        """:class:`StorageError` where the file has been taken away: what is written then, no later start would know."""
        if file_at(self.path) != self._file:
            raise StorageError(
                "the books were deleted, moved or replaced while the bridge runs",
                where=str(self.path),
                next_step="put the file back; if it is lost, start the bridge anew: what was delivered may go again",
            )

    # ── reading the log ──────────────────────────────────────────────────────────────────────────────────────────

    def progress(self) -> Progress:
        """Where reading goes on."""
        found = dict(self._all("SELECT key, value FROM progress"))
        return msgspec.convert(found, Progress, strict=False)

    def claim(self, bridge: str) -> None:
        """Write the bridge's name into its books; another bridge's books are refused."""
        with self._database.transaction() as connection:
            row = connection.execute("SELECT value FROM meta WHERE key = 'bridge'").fetchone()
            if row is not None and row[0] != bridge:
                raise ConfigurationError(
                    f"these are the books of bridge {row[0]!r}",
                    where=str(self.path),
                    next_step="give this bridge a store path of its own",
                )
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('bridge', ?)", (bridge,))
        self.audit.component = bridge

    def mapping_state(self) -> dict[str, bytes]:
        """What the mapping remembers."""
        return dict(self._all("SELECT key, value FROM mapping_state"))

    def take_in(
        self,
        items: Sequence[OutboundItem],
        *,
        progress: Progress | None,
        state: Mapping[str, bytes | None],
        now_ns: int,
    ) -> int:
        """Commit items, the cursor behind them and the mapping's state; how many items were new.

        A key that is there already, in whatever state, is the same item again and is counted as ``repeated``.
        """
        with self._database.transaction() as connection:
            new = sum(connection.execute(_INSERT, _values(item, now_ns)).rowcount for item in items)
            if progress is not None:
                connection.executemany(
                    "INSERT OR REPLACE INTO progress VALUES (?, ?)",
                    [(key, str(value)) for key, value in msgspec.to_builtins(progress).items()],
                )
            connection.executemany(
                "INSERT OR REPLACE INTO mapping_state VALUES (?, ?)",
                [(key, value) for key, value in state.items() if value is not None],
            )
            connection.executemany(
                "DELETE FROM mapping_state WHERE key = ?", [(key,) for key, value in state.items() if value is None]
            )
            self._count(connection, items=new, repeated=len(items) - new)
        return new

    def unsent(self) -> int:
        """Items that are neither delivered, dead nor dropped."""
        row = self._one(f"SELECT count(*) FROM outbox WHERE state IN {_OPEN} AND state <> 'dead'")  # noqa: S608
        return int(row[0])

    def first_unsettled(self) -> int | None:
        """The lowest log position that the target may not have: of items that are not delivered."""
        row = self._one("SELECT min(first_position) FROM outbox WHERE state <> 'delivered' AND last_position > 0")
        return None if row[0] is None else int(row[0])

    def rewind(self, position: int, *, expected: int, now_ns: int) -> None:
        """Go on at ``position``, where the target's own books end; what waits is made again from the log."""
        detail = {"target": position, "ours": expected}
        with self._database.transaction() as connection:
            head = self.audit.happened(connection, "bridge.rewound", "target", detail, now_ns=now_ns)
            connection.execute(
                "DELETE FROM outbox WHERE last_position > 0 AND (last_position > ? OR state = 'waiting')", (position,)
            )
            connection.execute("INSERT OR REPLACE INTO progress VALUES ('position', ?)", (str(position),))
            # Facts have no position: all of them come again, and the target knows those it has.
            connection.execute("DELETE FROM progress WHERE key IN ('facts_known_ns', 'facts', 'facts_accepted')")
            self._count(connection, rewound=1)
        self.audit.head = head

    # ── delivering ───────────────────────────────────────────────────────────────────────────────────────────────

    def due(self, now_ns: int, *, limit: int, wait_max_ns: int) -> list[StoredItem]:
        """Items whose time has come, oldest first, at most one of each order key.

        None waits longer than ``wait_max_ns``: where one seems to, the clock was set back.
        """
        found: list[StoredItem] = []
        order_keys: set[str] = set()
        for row in self._all(_DUE, (now_ns, now_ns + wait_max_ns, limit)):
            if row[4] and row[4] in order_keys:
                continue
            order_keys.add(row[4])
            found.append(_stored(row))
        return found

    def in_doubt(self) -> list[StoredItem]:
        """Items that were sent and not answered, oldest first."""
        return [
            _stored(row)
            for row in self._all(
                f"SELECT {_ITEM} FROM outbox WHERE state IN {_OPEN} AND state IN ('sending', 'unknown') ORDER BY id"  # noqa: S608
            )
        ]

    def sending(self, ids: Sequence[int], now_ns: int) -> None:
        """From now on the target may have them. On disk before the first byte goes out."""
        with self._database.transaction() as connection:
            connection.executemany(
                "UPDATE outbox SET state = 'sending', changed_at_ns = ? WHERE id = ?", [(now_ns, id_) for id_ in ids]
            )

    def settle(self, settled: Sequence[tuple[int, Settled]], now_ns: int) -> None:
        """Write down what became of items."""
        with self._database.transaction() as connection:
            head = self.audit.settled(connection, settled, now_ns)
            for id_, result in settled:
                connection.execute(
                    "UPDATE outbox SET state = ?, attempts = ?, due_at_ns = ?, changed_at_ns = ?, error_class = ?, "
                    "reason = ?, next_step = ?, receipt = ?, body = CASE WHEN ?1 = 'delivered' THEN x'' ELSE body END "
                    "WHERE id = ?",
                    (
                        result.state,
                        result.attempts,
                        result.due_at_ns,
                        now_ns,
                        result.error_class,
                        result.reason,
                        result.next_step,
                        result.receipt,
                        id_,
                    ),
                )
                name = result.state if result.state in {"delivered", "dead"} else "retries"
                self._count(connection, **{name: 1})
        self.audit.head = head

    def replace(self, id_: int, parts: Sequence[OutboundItem], now_ns: int) -> None:
        """Put parts in the place of an item that was refused as a whole."""
        with self._database.transaction() as connection:
            row = connection.execute("SELECT key FROM outbox WHERE id = ?", (id_,)).fetchone()
            detail = {"parts": len(parts), "keys": [parts[0].key, parts[-1].key]}
            head = self.audit.happened(connection, "bridge.split", row[0], detail, now_ns=now_ns)
            connection.execute("DELETE FROM outbox WHERE id = ?", (id_,))
            for part in parts:
                connection.execute(_INSERT, _values(part, now_ns))
            self._count(connection, split=1)
        self.audit.head = head

    def forget_delivered(self, before_ns: int, *, rows_max: int = 20_000) -> int:
        """Delete delivered items that are older; how many. What a human dropped stays: it is a hole in the books."""
        with self._database.transaction() as connection:
            return connection.execute(
                "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE state = 'delivered' "
                "AND changed_at_ns < ? LIMIT ?)",
                (before_ns, rows_max),
            ).rowcount

    # ── dead letters ─────────────────────────────────────────────────────────────────────────────────────────────

    def dead_letters(self, *, limit: int = 1000) -> list[DeadLetter]:
        """What waits for a human, oldest first, without bodies."""
        return [self._dead_letter(row) for row in self._all(f"{_DEAD} ORDER BY id LIMIT ?", (limit,))]

    def dead_letter(self, key: str) -> DeadLetter:
        """One of them with its body; an error that helps where there is none."""
        rows = self._all(f"{_DEAD} AND key = ?", (key,))
        if not rows:
            raise UnsError(f"no dead letter {key!r}", where=str(self.path), next_step="see `uns dlq list`")
        body = self._one("SELECT body FROM outbox WHERE key = ?", (key,))[0]
        return msgspec.structs.replace(self._dead_letter(rows[0]), body=body)

    def retry(self, key: str, *, actor: str, now_ns: int) -> None:
        """Let an item wait for delivery again, with all its attempts; an audit event."""
        self._decide(key, "waiting", actor=actor, action="dead_letter.retry", detail={}, now_ns=now_ns)

    def drop(self, key: str, *, actor: str, reason: str, now_ns: int) -> None:
        """Give an item up for ever; an audit event with the reason."""
        if not reason.strip():
            raise ConfigurationError("dropping asks for a reason", next_step="give --reason 'why it is not needed'")
        self._decide(key, "dropped", actor=actor, action="dead_letter.drop", detail={"reason": reason}, now_ns=now_ns)

    # ── what came in ──────────────────────────────────────────────────────────────────────────────────────────────

    def see_document(self, digest: bytes, name: str, now_ns: int) -> int:
        """When a content was first seen: ``now_ns`` if that is now, and on disk from here on."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO documents VALUES (?, ?, NULL, ?, ?) "
                "ON CONFLICT (digest) DO UPDATE SET last_seen_ns = excluded.last_seen_ns",
                (digest, name, now_ns, now_ns),
            )
            row = connection.execute("SELECT first_seen_ns FROM documents WHERE digest = ?", (digest,)).fetchone()
        return int(row[0])

    def same_bod(self, bod_id: str, digest: bytes) -> str | None:
        """The name of another document that bore this BODID with other content."""
        rows = self._all("SELECT name FROM documents WHERE bod_id = ? AND digest <> ? LIMIT 1", (bod_id, digest))
        return rows[0][0] if rows else None

    def finish_document(
        self,
        digest: bytes,
        *,
        bod_id: str | None,
        readable: bool,
        orders: Sequence[tuple[str, int, bytes]],
        counters: Mapping[str, int],
        now_ns: int,
    ) -> None:
        """Commit what a document brought: orders as (id of their fact, source_rev, body); a later statement stays.

        What cannot be read is forgotten: the same bytes may be right tomorrow (a sender's clock that ran ahead).
        """
        with self._database.transaction() as connection:
            row = connection.execute("SELECT name FROM documents WHERE digest = ?", (digest,)).fetchone()
            detail = {"sha256": digest.hex(), "bod_id": bod_id, "orders": len(orders), "counters": dict(counters)}
            action = "document.taken" if readable else "document.refused"
            head = self.audit.happened(connection, action, "" if row is None else row[0], detail, now_ns=now_ns)
            if readable:
                connection.execute("UPDATE documents SET bod_id = ? WHERE digest = ?", (bod_id, digest))
            else:
                connection.execute("DELETE FROM documents WHERE digest = ?", (digest,))
            connection.executemany(
                "INSERT INTO orders VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
                "source_rev = excluded.source_rev, stated_at_ns = excluded.stated_at_ns, body = excluded.body "
                "WHERE excluded.source_rev >= source_rev",
                [(id_, source_rev, now_ns, body) for id_, source_rev, body in orders],
            )
            self._count(connection, **counters)
        self.audit.head = head

    def order(self, id_: str) -> bytes | None:
        """What was last stated of an order, by the id of its fact."""
        rows = self._all("SELECT body FROM orders WHERE id = ?", (id_,))
        return rows[0][0] if rows else None

    def forget_inbound(self, before_ns: int, *, rows_max: int = 20_000) -> int:
        """Delete documents and orders that nobody sent since; how many."""
        with self._database.transaction() as connection:
            return sum(
                connection.execute(
                    f"DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE {age} < ? LIMIT ?)",  # noqa: S608 - words of ours
                    (before_ns, rows_max),
                ).rowcount
                for table, key, age in (("documents", "digest", "last_seen_ns"), ("orders", "id", "stated_at_ns"))
            )

    # ── counts ───────────────────────────────────────────────────────────────────────────────────────────────────

    def counts(self) -> BridgeCounts:
        """Everything that is counted."""
        with self._database.transaction() as connection:
            execute = connection.execute
            states = dict.fromkeys(("waiting", "sending", "unknown", "dead"), 0)
            states |= dict(
                execute(f"SELECT state, count(*) FROM outbox WHERE state IN {_OPEN} GROUP BY state").fetchall()  # noqa: S608
            )
            oldest, due = execute(
                f"SELECT min(created_at_ns), min(due_at_ns) FROM outbox WHERE state IN {_OPEN} AND state <> 'dead'"  # noqa: S608
            ).fetchone()
            counters = dict.fromkeys(("items", "repeated", "delivered", "dead", "retries", "retried", "dropped"), 0)
            counters |= dict(execute("SELECT name, value FROM counters").fetchall())
        return BridgeCounts(
            states=states, oldest_unsent_ns=oldest, next_due_ns=due, counters=counters, progress=self.progress()
        )

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _decide(self, key: str, state: str, *, actor: str, action: str, detail: dict[str, Any], now_ns: int) -> None:
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT subject, reason, error_class FROM outbox WHERE key = ? AND state = 'dead'", (key,)
            ).fetchone()
            if row is None:
                raise UnsError(f"no dead letter {key!r}", where=str(self.path), next_step="see `uns dlq list`")
            connection.execute(
                "UPDATE outbox SET state = ?, attempts = 0, due_at_ns = 0, changed_at_ns = ? WHERE key = ?",
                (state, now_ns, key),
            )
            detail = {"subject": row[0], "error_class": row[2], "because": row[1]} | detail
            head = self.audit.happened(connection, action, key, detail, now_ns=now_ns, actor=actor)
            self._count(connection, **{"dropped" if state == "dropped" else "retried": 1})
        self.audit.head = head

    def _dead_letter(self, row: tuple[Any, ...]) -> DeadLetter:
        return DeadLetter(**dict(zip(_DEAD_FIELDS, row, strict=True)))

    @staticmethod
    def _count(connection: Any, **deltas: int) -> None:
        connection.executemany(_ADD, [(name, delta) for name, delta in deltas.items() if delta])

    def _all(self, statement: str, arguments: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with translated(self.path):
            return self._database.connection.execute(statement, arguments).fetchall()

    def _one(self, statement: str, arguments: Sequence[Any] = ()) -> tuple[Any, ...]:
        return self._all(statement, arguments)[0]


_DEAD_FIELDS = (
    "key",
    "kind",
    "subject",
    "state",
    "error_class",
    "reason",
    "next_step",
    "attempts",
    "created_at_ns",
    "changed_at_ns",
    "first_position",
    "last_position",
    "holds",
)
_DEAD = f"""
    SELECT {", ".join(_DEAD_FIELDS[:-1])}, CASE WHEN order_key = '' THEN 0 ELSE (
        SELECT count(*) FROM outbox AS later WHERE later.state IN {_OPEN} AND later.order_key <> ''
            AND later.order_key = letter.order_key AND later.id > letter.id) END
    FROM outbox AS letter WHERE state IN {_OPEN} AND state = 'dead'
    """  # noqa: S608 - columns of ours


def _values(item: OutboundItem, now_ns: int) -> tuple[Any, ...]:
    created_at_ns = item.created_at_ns or now_ns
    return (
        item.key,
        item.kind,
        item.subject,
        item.order_key,
        item.body,
        item.first_position,
        item.last_position,
        created_at_ns,
        now_ns,
    )


def _stored(row: tuple[Any, ...]) -> StoredItem:
    item = OutboundItem(
        key=row[1],
        kind=row[2],
        subject=row[3],
        order_key=row[4],
        body=row[5],
        first_position=row[6],
        last_position=row[7],
        created_at_ns=row[8],
        attempts=row[9],
    )
    return StoredItem(row[0], item, row[10])
