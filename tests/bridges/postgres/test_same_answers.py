"""Every view gives in PostgreSQL what it gives in SQLite: the same columns, the same rows, at any time of knowledge."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.string import TextLoader

from tests.adapters.sqlite.days import write_day
from tests.bridges.postgres.server import PostgresServer
from uns.adapters.postgres import PostgresAddress, PostgresTarget
from uns.adapters.sqlite.record_cursor import Progress, RecordCursor
from uns.bridges.port import Delivered, OutboundItem
from uns.bridges.postgres.mapping import PostgresMapping
from uns.bridges.postgres.schema import MIGRATIONS, render

pytestmark = pytest.mark.integration

VIEWS = {
    "records": "position",
    "records_all_revisions": "position, known_from_ns, rev, known_to_ns",
    "orders": "job_order, work_order",
    "order_runs": "equipment, from_ns, job_order",
    "lots": "equipment, from_ns, lot",
    "gaps": "gap",
    "gaps_all_revisions": "gap, rev",
    "facts_now": "source, id",
}


def sqlite_answer(path: Path, question: str) -> tuple[list[str], list[dict[str, Any]]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return _answer(connection.execute(question))


def postgres_answer(server: PostgresServer, question: str) -> tuple[list[str], list[dict[str, Any]]]:
    with server.connect("plant") as connection:
        connection.adapters.register_loader("timestamptz", TextLoader)
        connection.execute("SET timezone = 'UTC'")
        connection.execute("SET search_path = uns")
        return _answer(connection.execute(question.encode()))


def _answer(cursor: Any) -> tuple[list[str], list[dict[str, Any]]]:
    names = [column[0] for column in cursor.description]
    rows = [{name: _plain(name, value) for name, value in zip(names, row, strict=True)} for row in cursor.fetchall()]
    return names, rows


def _plain(name: str, value: Any) -> Any:
    """What both mean: JSON as objects, times as text with milliseconds, booleans as numbers."""
    if name.endswith("_time") or name == "source_time":
        return None if value is None else _milliseconds(value)
    if name in {"context", "body", "ran_at"} and isinstance(value, str):
        return json.loads(value)
    return int(value) if isinstance(value, bool) else value


def _milliseconds(text: str) -> str:
    if text.endswith("Z"):
        return text
    date, clock = text.removesuffix("+00").split(" ")
    clock, _, fraction = clock.partition(".")
    return f"{date}T{clock}.{fraction[:3]:0<3}Z"


async def copy(path: Path, address: PostgresAddress, *, positions_max: int) -> None:
    """Everything, in ranges, by the real mapping and target."""
    cursor, target, mapping = (
        RecordCursor(path),
        PostgresTarget("history", address, RecordCursor(path)),
        PostgresMapping(),
    )
    assert isinstance(await target.start(), int)
    progress = Progress()
    while True:
        batch, progress, head = cursor.read(progress, positions_max=positions_max, facts_max=3)
        items = [] if batch.is_empty() else mapping.receive_batch(batch, 0)
        for item in items:
            await deliver(target, item)
        if not items and progress.position >= head:
            break
    await target.close()
    cursor.close()


async def deliver(target: PostgresTarget, item: OutboundItem) -> None:
    [outcome] = await target.deliver([item])
    assert isinstance(outcome, Delivered), outcome


def assert_same(server: PostgresServer, path: Path, known: list[int]) -> None:
    for view, order in VIEWS.items():
        question = f"SELECT * FROM {view}"
        ours, theirs = sqlite_answer(path, question), postgres_answer(server, question)
        assert theirs[0] == ours[0], view
        key = order.split(", ")
        assert sorted(theirs[1], key=lambda row: _key(row, key)) == sorted(ours[1], key=lambda row: _key(row, key)), (
            view
        )
    columns = ", ".join(name for name in sqlite_answer(path, "SELECT * FROM records_all_revisions LIMIT 0")[0])
    for time_ns in known:
        then = f"SELECT {columns} FROM records_as_known_at WHERE as_known_at_ns = {time_ns} ORDER BY position"
        there = f"SELECT {columns} FROM records_as_known_at(time_of({time_ns} + 999)) ORDER BY position"
        assert postgres_answer(server, there) == sqlite_answer(path, then)


def _key(row: dict[str, Any], names: list[str]) -> tuple[Any, ...]:
    return tuple(
        (row[name] is None, row[name] or 0) if not isinstance(row[name], str) else (False, row[name]) for name in names
    )


@pytest.mark.parametrize("seed", range(8))
async def test_both_sides_say_the_same_of_a_whole_day(server: PostgresServer, tmp_path: Path, seed: int) -> None:
    path = tmp_path / "records.db"
    write_day(path, seed, step_ns=1_000)
    with closing(sqlite3.connect(path)) as connection:
        known = [row[0] for row in connection.execute("SELECT DISTINCT recorded_at_ns FROM payloads")]
    await copy(path, server.database(), positions_max=5)
    assert_same(server, path, known[::4])


async def test_a_target_of_the_first_schema_is_migrated_with_what_it_holds(
    server: PostgresServer, tmp_path: Path
) -> None:
    path, address = tmp_path / "records.db", server.database()
    write_day(path, 5, step_ns=1_000)
    with psycopg.connect(host=address.host, dbname=address.database, user=address.user) as connection:
        connection.execute("CREATE SCHEMA uns")
        connection.execute("CREATE TABLE uns.meta (key text PRIMARY KEY, value text NOT NULL)")
        connection.execute(render(MIGRATIONS[0], "uns").encode())
        connection.execute("INSERT INTO uns.meta VALUES ('schema', '1')")
        connection.execute("INSERT INTO uns.series VALUES (99999, 'reactor4', 'old', 'Double', NULL)")
    await copy(path, address, positions_max=50)
    assert_same(server, path, [])
    assert postgres_answer(server, "SELECT metric FROM series WHERE series = 99999")[1] == [{"metric": "old"}]


async def test_ranges_in_any_order_and_twice_end_in_the_same(server: PostgresServer, tmp_path: Path) -> None:
    path, address = tmp_path / "records.db", server.database()
    write_day(path, 6, step_ns=1_000)
    cursor, target, mapping = (
        RecordCursor(path),
        PostgresTarget("history", address, RecordCursor(path)),
        PostgresMapping(),
    )
    assert isinstance(await target.start(), int)
    progress, items = Progress(), []
    while True:
        batch, progress, head = cursor.read(progress, positions_max=4)
        if batch.is_empty() and progress.position >= head:
            break
        items += mapping.receive_batch(batch, 0)
    for item in [*reversed(items), *items]:
        await deliver(target, item)
    await target.close()
    cursor.close()
    assert_same(server, path, [])
    assert postgres_answer(server, "SELECT count(*) AS n FROM deliveries")[1] == [{"n": len({i.key for i in items})}]


@pytest.mark.parametrize(
    "question",
    [
        "SELECT * FROM records WHERE source_time_ns >= 5 AND source_time_ns < 6",
        "SELECT * FROM records WHERE work_order = 'WO-1'",
        "SELECT * FROM records WHERE position > 5 AND position <= 6",
        "SELECT * FROM records_as_known_at(now()) WHERE source_time_ns >= 5 AND source_time_ns < 6",
        "SELECT * FROM orders WHERE work_order = 'WO-1'",
        "SELECT * FROM lots WHERE lot = 'L-1'",
    ],
)
async def test_no_question_looks_through_all_samples(server: PostgresServer, tmp_path: Path, question: str) -> None:
    path = tmp_path / "records.db"
    write_day(path, 1)
    await copy(path, server.database(), positions_max=1_000)
    with server.connect("plant") as connection:
        connection.execute("SET search_path = uns")
        connection.execute("SET enable_seqscan = off")  # of so few rows it would always do it
        connection.execute("SET enable_bitmapscan = off")
        plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN {question}".encode()))
    assert "Seq Scan on samples" not in plan, plan
    indexed = plan.split("samples_by_key on samples")[1] if "samples_by_key" in plan else plan.split("samples_pkey")[1]
    assert indexed.split("\n")[1].strip().startswith("Index Cond"), plan
