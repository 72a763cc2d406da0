"""A record log as an older release left it, made of a new one: what later steps added is taken away again."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from uns.adapters.sqlite.database import Database
from uns.adapters.sqlite.record_schema import MIGRATIONS

__all__ = ["make_old", "objects"]


def objects(connection: sqlite3.Connection) -> dict[tuple[str, str], str]:
    """Everything of the schema by kind and name, with its statement."""
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {(kind, name): sql for kind, name, sql in rows}


def make_old(path: Path, version: int) -> None:
    """Take the file back to the schema of ``version``; rows of tables that were there then stay as they are."""
    steps = [step for step in MIGRATIONS if step.version <= version]
    model = path.with_name(f"model{version}.db")
    Database(model, kind="record log", migrations=steps).close()
    with closing(sqlite3.connect(model)) as connection:
        wanted = objects(connection)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for kind in ("view", "index", "table"):
            for (found_kind, name), sql in objects(connection).items():
                if found_kind == kind and wanted.get((kind, name)) != sql:
                    connection.execute(f"DROP {kind} {name}")
        for (_, name), sql in wanted.items():
            if name not in {name for _, name in objects(connection)}:
                connection.execute(sql)
        if version < 3:  # what the third step counted
            connection.execute("DELETE FROM counters WHERE name LIKE '%status\\_%' ESCAPE '\\'")
        connection.execute("UPDATE meta SET value = ? WHERE key = 'schema'", (version,))
        assert objects(connection) == wanted
    model.unlink()
