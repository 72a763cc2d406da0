"""A record log with audited facts, written by the adapter itself, and a hand that tampers with its file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import msgspec

from uns.adapters.sqlite.audit_log import append_entries
from uns.adapters.sqlite.database import Database
from uns.adapters.sqlite.record_log import RecordLog
from uns.adapters.sqlite.record_schema import MIGRATIONS
from uns.audit.events import Life, fact_accepted
from uns.context.facts import Fact
from uns.enrichment.plan import FACT_COLUMNS, FactRow

NOW_NS = 1_780_515_120_000_000_000
BEGAN = datetime(2026, 6, 3, tzinfo=UTC)
FIRST_FACT = 4  # the entry of the first fact: begun, started and set stand before it
LIFE = Life(component="uns-host-1", actor="op", release="1", configuration={})


def fact(number: int, **fields: Any) -> Fact:
    known: dict[str, Any] = {
        "id": f"mes:{number}",
        "kind": "job",
        "equipment": "reactor4",
        "source": "mes",
        "source_rev": "1",
        "valid_from": BEGAN + timedelta(hours=number),
        "job_order": f"WO-{number}/10",
    }
    return Fact(**(known | fields))


def row_of(stated: Fact) -> FactRow:
    known: dict[str, Any] = {
        **{name: getattr(stated, name) for name in ("source", "id", "source_rev", "kind", "equipment", "action")},
        "rev": 1,
        "valid_from_ns": NOW_NS,
        "valid_to_ns": None,
        "known_at_ns": NOW_NS,
        "body": msgspec.json.encode(stated).decode(),
        "hash": "h",
    }
    return cast(FactRow, tuple(known[name] for name in FACT_COLUMNS))


def insert_fact(connection: sqlite3.Connection, row: Sequence[Any]) -> None:
    connection.execute(f"INSERT INTO facts VALUES ({', '.join('?' * len(row))})", row)


def accept(path: Path, *stated: Fact) -> None:
    """As the host does it: a fact and its entry in one transaction."""
    with Database(path, kind="record log", migrations=MIGRATIONS) as database, database.transaction() as connection:
        for one in stated:
            insert_fact(connection, row_of(one))
            append_entries(connection, LIFE.component, [fact_accepted(one, None, row_of(one), NOW_NS)])


def lived(path: Path, *stated: Fact) -> Path:
    """One life of a host; its store."""
    log = RecordLog(path)
    log.audit.start(LIFE, NOW_NS)
    accept(path, *stated)
    log.audit.refresh()
    log.audit.stop(LIFE, NOW_NS)
    log.close()
    return path


def tamper(path: Path, *scripts: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for name in ("audit_log_is_not_changed", "audit_log_is_not_shortened"):
            connection.execute(f"DROP TRIGGER IF EXISTS {name}")
        for script in scripts:
            connection.executescript(script)
