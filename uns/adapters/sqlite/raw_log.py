"""The raw log: every Sparkplug message of a known session, as it came, before anything is made of it.

A message is confirmed to its edge node when the commit that holds it has returned. The rows stay until they are joined
(the record log tells how far), then until ``retention`` or ``bytes_max`` wants their place.

Births are kept beside the messages and longer: they are what makes DATA readable after a restart.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from uns.adapters.sqlite.database import Database, Migration, open_reader, translated
from uns.sparkplug.codec import Leniency
from uns.sparkplug.topics import EdgeNodeDescriptor

__all__ = ["HeldNode", "RawBirth", "RawLog", "RawMessage", "RawTerms"]

_MIGRATIONS = (
    Migration(
        1,
        """
        CREATE TABLE messages (
            position INTEGER PRIMARY KEY,
            received_at_ns INTEGER NOT NULL,
            topic TEXT NOT NULL,
            session TEXT NOT NULL,
            samples INTEGER NOT NULL,
            payload BLOB NOT NULL
        ) STRICT;
        CREATE TABLE births (
            position INTEGER PRIMARY KEY,
            received_at_ns INTEGER NOT NULL,
            group_id TEXT NOT NULL,
            edge_node_id TEXT NOT NULL,
            device_id TEXT,
            session TEXT NOT NULL,
            bd_seq INTEGER,
            payload BLOB
        ) STRICT;
        CREATE INDEX births_by_node ON births (group_id, edge_node_id, device_id, position);
        CREATE TABLE counters (
            edge_node TEXT NOT NULL,
            name TEXT NOT NULL,
            value INTEGER NOT NULL,
            PRIMARY KEY (edge_node, name)
        ) STRICT, WITHOUT ROWID;
        """,
    ),
    # With which options messages were read, from a position on: they are read again as they were counted.
    Migration(
        2,
        """
        CREATE TABLE leniencies (
            from_position INTEGER PRIMARY KEY,
            scale_nanoseconds INTEGER NOT NULL,
            inflate_bytes_max INTEGER NOT NULL
        ) STRICT;
        """,
    ),
)


class RawMessage(msgspec.Struct, frozen=True, gc=False):
    """A received message with its place in the log. ``samples`` is what it adds to ``received``."""

    position: int
    received_at_ns: int
    topic: str
    session: str
    samples: int
    payload: bytes


class RawBirth(msgspec.Struct, frozen=True, gc=False):
    """A birth, or with ``payload`` None the death that ends it. ``position`` is that of its message."""

    position: int
    received_at_ns: int
    edge_node: EdgeNodeDescriptor
    device_id: str | None
    session: str
    bd_seq: int | None
    payload: bytes | None


class HeldNode(msgspec.Struct, frozen=True):
    """The newest births of one edge node: what is needed to read DATA of that session."""

    edge_node: EdgeNodeDescriptor
    session: str
    bd_seq: int
    payload: bytes
    devices: dict[str, bytes]


class RawTerms(msgspec.Struct, frozen=True):
    """The raw log's side of the equations. ``counters``: by edge node, then name."""

    counters: dict[str, dict[str, int]]
    unjoined: int
    foreign_unjoined: int

    def total(self, name: str) -> int:
        """A counter over all edge nodes."""
        return sum(counters.get(name, 0) for counters in self.counters.values())


class RawLog:
    """The writing side of ``raw.db`` and its reads at start. Blocks on the disk: call from a worker thread."""

    def __init__(self, path: Path, *, bytes_max: int | None = None, retention_ns: int | None = None) -> None:
        self.path = path
        self._bytes_max = bytes_max
        self._retention_ns = retention_ns
        self._database = Database(path, kind="raw log", migrations=_MIGRATIONS, bytes_max=bytes_max)
        self._reader: sqlite3.Connection | None = None

    def append(
        self,
        messages: Sequence[RawMessage],
        births: Sequence[RawBirth] = (),
        counts: Mapping[tuple[str, str], int] | None = None,
    ) -> None:
        """One transaction. After a :class:`~uns.errors.StorageError` nothing of it is in the log."""
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?)",
                [(m.position, m.received_at_ns, m.topic, m.session, m.samples, m.payload) for m in messages],
            )
            if births:
                connection.executemany(
                    "INSERT INTO births VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    [
                        (
                            b.position,
                            b.received_at_ns,
                            b.edge_node.group_id,
                            b.edge_node.edge_node_id,
                            b.device_id,
                            b.session,
                            b.bd_seq,
                            b.payload,
                        )
                        for b in births
                    ],
                )
            if counts:
                connection.executemany(
                    "INSERT INTO counters VALUES (?, ?, ?) "
                    "ON CONFLICT (edge_node, name) DO UPDATE SET value = value + excluded.value",
                    [(edge_node, name, value) for (edge_node, name), value in counts.items()],
                )

    def read_with(self, leniency: Leniency, *, from_position: int) -> None:
        """Messages from that position on are read so. What a log of before holds counts as read so, too."""
        options = (leniency.scale_nanoseconds, leniency.inflate_bytes_max)
        with self._database.transaction() as connection:
            last = connection.execute(
                "SELECT scale_nanoseconds, inflate_bytes_max FROM leniencies ORDER BY from_position DESC LIMIT 1"
            ).fetchone()
            if last != options:
                place = 0 if last is None else from_position
                connection.execute("INSERT OR REPLACE INTO leniencies VALUES (?, ?, ?)", (place, *options))

    # --- reading -------------------------------------------------------------------------------------------------

    def leniencies(self) -> list[tuple[int, Leniency]]:
        """From which position on messages were read with which options, in order."""
        rows = self._read("SELECT from_position, scale_nanoseconds, inflate_bytes_max FROM leniencies ORDER BY 1")
        return [
            (from_position, Leniency(scale_nanoseconds=bool(scaled), inflate_bytes_max=inflated))
            for from_position, scaled, inflated in rows
        ]

    def head(self) -> int:
        """The highest position, 0 where there is none."""
        return int(self._read("SELECT coalesce(max(position), 0) FROM messages")[0][0])

    def read(self, after: int, *, messages_max: int) -> list[RawMessage]:
        """Messages above ``after`` in order, at most so many."""
        rows = self._read(
            "SELECT position, received_at_ns, topic, session, samples, payload FROM messages "
            "WHERE position > ? ORDER BY position LIMIT ?",
            (after, messages_max),
        )
        return [RawMessage(*row) for row in rows]

    def terms(self, joined: int) -> RawTerms:
        """What was received, and what of it lies above ``joined``, as of one commit."""
        counters: dict[str, dict[str, int]] = {}
        unjoined = {"unjoined": 0, "foreign_unjoined": 0}
        for edge_node, name, value in self._read(
            "SELECT edge_node, name, value FROM counters UNION ALL "
            "SELECT NULL, CASE WHEN session LIKE 'foreign:%' OR session = '' THEN 'foreign_unjoined' "
            "ELSE 'unjoined' END AS kind, sum(samples) FROM messages WHERE position > ? GROUP BY kind",
            (joined,),
        ):
            if edge_node is None:
                unjoined[name] = value
            else:
                counters.setdefault(edge_node, {})[name] = value
        return RawTerms(counters, unjoined["unjoined"], unjoined["foreign_unjoined"])

    def births_until(self, position: int) -> list[RawBirth]:
        """For each node and device the births that decode what follows ``position``: the newest at or below it."""
        rows = self._read(
            "SELECT position, received_at_ns, group_id, edge_node_id, device_id, session, bd_seq, payload FROM births "
            "WHERE position IN (SELECT max(position) FROM births WHERE position <= ? "
            "GROUP BY group_id, edge_node_id, device_id) ORDER BY position",
            (position,),
        )
        return [_birth(row) for row in rows]

    def held(self) -> list[HeldNode]:
        """What the sessions held last: per node the newest NBIRTH and the DBIRTHs of the same session."""
        births = [birth for birth in self.births_until(2**62) if birth.payload is not None]
        held = {
            birth.edge_node: HeldNode(birth.edge_node, birth.session, birth.bd_seq or 0, birth.payload, {})
            for birth in births
            if birth.device_id is None and birth.payload is not None
        }
        for birth in births:
            node = held.get(birth.edge_node)
            if birth.device_id is not None and birth.payload is not None and node and node.session == birth.session:
                node.devices[birth.device_id] = birth.payload
        return list(held.values())

    def _read(self, statement: str, arguments: tuple[int, ...] = ()) -> list[Any]:
        if self._reader is None:
            self._reader = open_reader(self.path)
        with translated(self.path):
            return self._reader.execute(statement, arguments).fetchall()

    # --- making room ---------------------------------------------------------------------------------------------

    def prune(self, *, joined: int, now_ns: int, messages_max: int = 2_000) -> int:
        """Delete joined messages that are too old or in the way, at most so many; returns how many went.

        Never touches a message above ``joined``: it is confirmed to its edge node and exists only here.
        """
        conditions = []
        if self._retention_ns is not None:
            conditions.append(f"received_at_ns < {now_ns - self._retention_ns}")
        if self._bytes_max is not None and self._database.used_bytes() > self._bytes_max * 0.8:
            conditions.append("1")
        if not conditions:
            return 0
        with self._database.transaction() as connection:
            # Looks at the oldest only: a search for old ones among all would read the whole log each time.
            removed = connection.execute(
                "DELETE FROM messages WHERE position IN (SELECT position FROM messages WHERE position <= ? "  # noqa: S608
                f"ORDER BY position LIMIT ?) AND ({' OR '.join(conditions)})",
                (joined, messages_max),
            ).rowcount
            # A birth goes when a newer one of the same node and device serves all that is left to join, and with it
            # the births of devices of an older session. A dead or foreign session is never resumed: of these, all that
            # came before goes. One of ours may be, by the births before a rebirth that is not whole yet.
            connection.execute(
                "DELETE FROM births WHERE EXISTS (SELECT 1 FROM births AS newer WHERE newer.position <= ? "
                "AND newer.group_id = births.group_id AND newer.edge_node_id = births.edge_node_id "
                "AND newer.position > births.position "
                "AND (newer.device_id IS births.device_id "
                "OR (newer.device_id IS NULL AND (newer.session <> births.session OR (births.payload IS NOT NULL "
                "AND (newer.payload IS NULL OR births.session LIKE 'foreign:%'))))))",
                (joined,),
            )
        return int(removed)

    def limit(self, bytes_max: int | None) -> None:
        """Change the bound of the file while it is open."""
        self._bytes_max = bytes_max
        self._database.limit(bytes_max)

    def close(self) -> None:
        """Close both connections."""
        if self._reader is not None:
            self._reader.close()
        self._database.close()


def _birth(row: tuple[Any, ...]) -> RawBirth:
    position, received_at_ns, group_id, edge_node_id, device_id, session, bd_seq, payload = row
    edge_node = EdgeNodeDescriptor(group_id, edge_node_id)
    return RawBirth(position, received_at_ns, edge_node, device_id, session, bd_seq, payload)
