"""Every query in the documents about SQL runs, and every column of every view is explained."""

from __future__ import annotations

import re
import shlex
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.sqlite.days import FIRST_KNOWN_NS, write_day
from tests.bridges.postgres.server import PostgresServer, require_postgres
from tests.bridges.postgres.test_same_answers import copy
from tests.docs.test_documents import ROOT, fences
from uns.adapters.postgres import PostgresAddress

SQL = ROOT / "docs" / "reference" / "sql.md"
POSTGRES = ROOT / "docs" / "reference" / "postgres.md"
VALUES = {"t": FIRST_KNOWN_NS + 20, "last": 3}


def statements(document: Path) -> list[str]:
    found = [re.sub(r"--[^\n]*", "", body).split(";") for body in fences(document, "sql")]
    return [statement.strip() for part in found for statement in part if statement.strip()]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("host") / "records.db"
    write_day(path, 3, step_ns=1_000)
    return path


def reader(log: Path) -> Any:
    return closing(sqlite3.connect(f"file:{log}?mode=ro", uri=True))


@pytest.mark.parametrize("statement", statements(SQL))
def test_each_query_runs_in_sqlite(log: Path, statement: str) -> None:
    with reader(log) as connection:
        connection.execute(statement, VALUES).fetchall()


def test_queries_are_there_to_be_run() -> None:
    assert len(statements(SQL)) >= 12
    assert len(statements(POSTGRES)) >= 6


def test_the_python_example_runs(log: Path) -> None:
    [example] = fences(SQL, "python")
    found: dict[str, Any] = {}
    exec(example.replace("var/host/records.db", str(log)), found)
    assert found["rows"]
    found["connection"].close()


def test_the_shell_example_runs(log: Path) -> None:
    [example] = fences(SQL, "sh")
    words = shlex.split(example.replace("var/host/records.db", str(log)))
    if shutil.which(words[0]) is None:
        pytest.skip("the sqlite3 shell is not installed; `apt-get install sqlite3`")
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=10)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_every_view_and_column_and_table_is_explained(log: Path) -> None:
    words = set(re.findall(r"`([a-z_0-9]+)`", SQL.read_text(encoding="utf-8")))
    with reader(log) as connection:
        names = connection.execute("SELECT type, name FROM sqlite_master WHERE type IN ('view', 'table')").fetchall()
        for kind, name in names:
            assert name in words, f"{kind} {name}"
            if kind == "view" and name != "facts_now":
                columns = [column[0] for column in connection.execute(f"SELECT * FROM {name} LIMIT 0").description]
                assert not set(columns) - words, f"{name}: {set(columns) - words}"


@pytest.mark.integration
async def test_each_query_runs_in_postgresql(log: Path) -> None:
    """The role and the database are made as the page says, in a cluster of its own; then its queries run."""
    server = PostgresServer(require_postgres())
    try:
        server.start()
        with server.connect("postgres") as connection:
            made = [statement for statement in statements(POSTGRES) if statement.startswith("CREATE")]
            assert len(made) == 2
            for statement in made:
                connection.execute(statement.replace("ENCODING", "TEMPLATE template0 ENCODING").encode())
        address = PostgresAddress(host=str(server.directory), port=server.port, database="plant", user="uns")
        await copy(log, address, positions_max=1_000)
        with server.connect("plant", user="uns") as connection:
            for statement in statements(POSTGRES):
                if not statement.startswith("CREATE"):
                    connection.execute(statement.encode()).fetchall()
    finally:
        server.close()
