"""The audit log in the books of a bridge: postings, dead letters and who decided about them, documents that came in."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from uns.adapters.sqlite.audit_log import AUDIT_TABLES, AuditLog, append_entries, read_head
from uns.adapters.sqlite.database import Database
from uns.audit.chain import AuditEvent, Head
from uns.audit.events import component_actor, postings_delivered
from uns.bridges.rules import Settled

__all__ = ["BRIDGE_AUDIT_TABLES", "BridgeAudit"]

SUM_NS = 60_000_000_000
# Deliveries that are told as sums: kept here, committed with what they count, until the minute is over.
BRIDGE_AUDIT_TABLES = (
    AUDIT_TABLES
    + """;
        CREATE TABLE audit_sums (
            kind TEXT PRIMARY KEY,
            since_ns INTEGER NOT NULL,
            last_ns INTEGER NOT NULL,
            items INTEGER NOT NULL,
            first_key TEXT NOT NULL,
            last_key TEXT NOT NULL,
            first_position INTEGER NOT NULL,
            last_position INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID
        """
)
_ITEM = "SELECT key, kind, subject, body, first_position, last_position FROM outbox WHERE id = ?"
_ADD_SUM = """
    INSERT INTO audit_sums VALUES (?1, ?2, ?2, 1, ?3, ?3, ?4, ?5)
    ON CONFLICT (kind) DO UPDATE SET last_ns = ?2, items = items + 1, last_key = ?3,
        first_position = min(first_position, ?4), last_position = max(last_position, ?5)
    """


class BridgeAudit(AuditLog):
    """``sums``: deliveries are not told one by one (a copy of the log makes several a second, for ever)."""

    def __init__(self, database: Database, *, schema: int, sums: bool = False) -> None:
        super().__init__(database, schema=schema, holds=lambda _connection: {})
        self._sums = sums
        with database.transaction() as connection:
            self.component = self._name(connection)
            self._adopt(connection)
            self.head = read_head(connection)

    def settled(self, connection: sqlite3.Connection, settled: Sequence[tuple[int, Settled]], now_ns: int) -> Head:
        """Items are delivered or dead: in the transaction that says so, before it takes their bodies away."""
        events: list[AuditEvent] = []
        for id_, result in settled:
            if result.state not in {"delivered", "dead"}:
                continue
            row = connection.execute(_ITEM, (id_,)).fetchone()
            if row is None:
                continue
            key, kind, _, _, first_position, last_position = row
            if self._sums and result.state == "delivered":
                connection.execute(_ADD_SUM, (kind, now_ns, key, first_position, last_position))
            else:
                events.append(self._posting(row, result, now_ns))
        events += self._due_sums(connection, now_ns)
        return append_entries(connection, self.component, events)

    def happened(
        self,
        connection: sqlite3.Connection,
        action: str,
        key: str,
        detail: dict[str, Any],
        *,
        now_ns: int,
        actor: str = "",
    ) -> Head:
        """Something else, in the transaction that does it; without an actor it was the bridge itself."""
        event = AuditEvent(
            at_ns=now_ns,
            actor=actor or component_actor(self.component),
            action=action,
            subject=f"{self.component}/{key}",
            detail=detail,
        )
        return append_entries(connection, self.component, [event])

    def write_sums(self, now_ns: int, *, everything: bool = False) -> None:
        """Sums whose minute is over, in a transaction of their own; all of them at a stop."""
        with self._database.transaction() as connection:
            head = append_entries(connection, self.component, self._due_sums(connection, now_ns, everything=everything))
        self.head = head

    def _due_sums(self, connection: sqlite3.Connection, now_ns: int, *, everything: bool = False) -> list[AuditEvent]:
        rows = connection.execute("SELECT * FROM audit_sums ORDER BY kind").fetchall()
        due = [row for row in rows if everything or not 0 <= now_ns - row[1] < SUM_NS]
        connection.executemany("DELETE FROM audit_sums WHERE kind = ?", [row[:1] for row in due])
        return [postings_delivered(self.component, row, now_ns) for row in due]

    def _posting(self, row: tuple[Any, ...], result: Settled, now_ns: int) -> AuditEvent:
        key, kind, subject, body, _, _ = row
        detail: dict[str, Any] = {
            "kind": kind,
            "subject": subject,
            "sha256": hashlib.sha256(body).hexdigest(),
            "attempts": result.attempts,
        }
        if result.state == "delivered":
            detail["receipt"] = result.receipt
        else:
            detail |= {"error_class": result.error_class, "because": result.reason, "next_step": result.next_step}
        return AuditEvent(
            at_ns=now_ns,
            actor=component_actor(self.component),
            action=f"bridge.{result.state}",
            subject=f"{self.component}/{key}",
            detail=detail,
        )

    def _adopt(self, connection: sqlite3.Connection) -> None:
        """Decisions that an earlier release kept without a chain: from here on they have one."""
        table = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'audit_events'").fetchone()
        if table is None:
            return
        rows = connection.execute(
            "SELECT at_ns, actor, action, subject, detail FROM audit_events ORDER BY id"
        ).fetchall()
        events = [
            AuditEvent(
                at_ns=at_ns,
                actor=actor,
                action=action,
                subject=subject,
                detail={**msgspec.json.decode(detail), "adopted": True},
            )
            for at_ns, actor, action, subject, detail in rows
        ]
        append_entries(connection, self.component, events)
        connection.execute("DROP TABLE audit_events")

    @staticmethod
    def _name(connection: sqlite3.Connection) -> str:
        row = connection.execute("SELECT value FROM meta WHERE key = 'bridge'").fetchone()
        return "" if row is None else str(row[0])
