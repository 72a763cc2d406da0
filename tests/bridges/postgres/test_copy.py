"""The copy is the log: the same rows through the same views, whatever happened on the way."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from tests.bridges.contract.harness import Work
from tests.bridges.postgres.harness import PostgresHarness
from tests.bridges.postgres.server import PostgresServer
from tests.servers import eventually
from uns.adapters.postgres import PostgresTarget
from uns.adapters.sqlite.record_cursor import RecordCursor
from uns.bridges.port import Auth, Transient
from uns.context.facts import Fact

pytestmark = pytest.mark.integration

_COLUMNS = (
    "position, equipment, metric, source_time_ns, ordinal, value_num, value_int, value_text, type, unit, quality, "
    "status_code, time_source, status, work_order, rev, reason, session, raw_position"
)
ODD = [
    182.0, 0.1, 5e-324, 1.7976931348623157e308, -0.0, 7, -(2**63), 2**63 - 1, 2**64 - 1, True, None, float("nan"),
    float("inf"), "text\twith\nall\\of it\r", "\\N", "", "°C ☃ 𝄞", b"\x00\xff", "nul\0inside",
]  # fmt: skip


@pytest.fixture
def work(server: PostgresServer, tmp_path: Path):
    harness = PostgresHarness(server)
    harness.positions_max = 1000
    made = Work(harness, tmp_path)
    harness.log = made.log
    yield made
    made.log.close()


def sqlite_rows(work: Work, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(work.log.path)) as connection:
        return connection.execute(statement).fetchall()


def postgres_rows(work: Work, statement: str) -> list[tuple[Any, ...]]:
    assert isinstance(work.harness, PostgresHarness)
    with work.harness.admin() as connection:
        rows: list[tuple[Any, ...]] = connection.execute(statement.encode()).fetchall()
        return rows


def views(view: str, more: str = "") -> tuple[str, str]:
    body = f"SELECT {_COLUMNS}{more} FROM {{}}{view} ORDER BY position, rev"
    return body.format(""), body.format("uns.")


async def test_both_sides_answer_alike(work: Work) -> None:
    work.log.write(*ODD[:-1])
    work.log.restate("WO-2")
    work.log.write(3.0, 4.0, equipment="reactor4")
    async with work.running():
        await work.drained()
    for view, more in (("records", ""), ("records_all_revisions", ", known_from_ns, known_to_ns")):
        ours, theirs = views(view, more)
        assert postgres_rows(work, theirs) == sqlite_rows(work, ours)
    assert postgres_rows(work, "SELECT work_order, lot, rev FROM uns.lots") == [("WO-2", "L-1", 1)]
    assert postgres_rows(work, "SELECT work_order, from_time::text, rev FROM uns.order_runs") == [("WO-2", None, 1)]


async def test_what_postgresql_cannot_hold_is_shown_by_a_sign(work: Work) -> None:
    work.log.write("nul\0inside")
    async with work.running():
        await work.drained()
    assert postgres_rows(work, "SELECT value_text FROM uns.records") == [("nul␀inside",)]


async def test_revisions_are_kept_and_can_be_asked_for(work: Work) -> None:
    work.log.write(1.0)
    work.log.restate("WO-2")
    work.log.restate("WO-3")
    async with work.running(limits={"positions_max": 1}):
        await work.drained()
    assert postgres_rows(work, "SELECT work_order FROM uns.records") == [("WO-3",)]
    known = sqlite_rows(work, "SELECT work_order, known_from_ns FROM records_all_revisions ORDER BY known_from_ns")
    assert [order for order, _ in known] == ["WO-1", "WO-2", "WO-3"]
    for order, known_from_ns in known:
        question = f"SELECT work_order FROM uns.records_as_known_at(uns.time_of({known_from_ns} + 999))"
        assert postgres_rows(work, question) == [(order,)]


async def test_a_revision_that_comes_late_is_what_it_is_by_now(work: Work) -> None:
    assert isinstance(work.harness, PostgresHarness)
    await work.harness.refuse(99.0, "business")
    with work.harness.admin() as connection:
        connection.execute("CREATE FUNCTION uns.no() RETURNS trigger LANGUAGE plpgsql AS "
                           "$$ BEGIN RAISE EXCEPTION 'no'; END $$")  # fmt: skip
        connection.execute("CREATE TRIGGER no BEFORE INSERT ON uns.context_intervals FOR EACH ROW "
                           "WHEN (NEW.position = 1) EXECUTE FUNCTION uns.no()")  # fmt: skip
    work.log.write(1.0)
    async with work.running(limits={"positions_max": 1}):
        await work.drained()
        work.log.restate("WO-2")
        stats = await work.drained()
        assert stats.dead_letters == 1
        with work.harness.admin() as connection:
            connection.execute("DROP TRIGGER no ON uns.context_intervals")
        with closing(work.store()) as store:
            store.retry(store.dead_letters()[0].key, actor="op-17", now_ns=1)
        await work.until("it is delivered", dead_letters=0, waiting=0, in_doubt=0)
    ours, theirs = views("records_all_revisions", ", known_from_ns, known_to_ns")
    assert postgres_rows(work, theirs) == sqlite_rows(work, ours)


async def test_facts_come_too_and_once(work: Work) -> None:
    fact = Fact(
        id="mes:1", kind="job", equipment="reactor4", valid_from=datetime(2026, 6, 3, tzinfo=UTC), source="mes",
        source_rev="1", job_order="WO-1/0010",
    )  # fmt: skip
    work.log.write(1.0)
    work.log.state(fact)
    async with work.running():
        await work.drained()
        work.log.state(msgspec.structs.replace(fact, id="mes:2"))
        await eventually(lambda: len(postgres_rows(work, "SELECT 1 FROM uns.facts")) == 2)
    rows = postgres_rows(work, "SELECT id, body ->> 'job_order' FROM uns.facts ORDER BY id")
    assert rows == [("mes:1", "WO-1/0010"), ("mes:2", "WO-1/0010")]


@pytest.mark.parametrize("committed", [True, False])
async def test_an_answer_to_commit_that_never_comes_is_an_unknown_outcome(
    work: Work, committed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection dies at COMMIT: what the server made of it only its books can tell."""
    real = psycopg.AsyncConnection.commit
    losses = 3

    async def commit(connection: Any) -> None:
        nonlocal losses
        samples = await connection.execute("SELECT to_regclass('uns.samples')")
        written = (await samples.fetchone())[0] and await (
            await connection.execute("SELECT 1 FROM uns.deliveries WHERE committed_at = now()")
        ).fetchone()
        if not written or losses == 0:
            return await real(connection)
        losses -= 1
        if committed:
            await real(connection)
        await connection.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(psycopg.AsyncConnection, "commit", commit)
    work.log.write(*map(float, range(6)))
    async with work.running(limits={"positions_max": 2}):
        stats = await work.drained()
    assert losses == 0
    assert stats.dead_letters == 0
    assert sorted(await work.harness.delivered()) == [float(n) for n in range(6)]


async def test_a_copy_restored_from_a_backup_gets_again_what_it_lost(work: Work) -> None:
    work.log.write(1.0, 2.0)
    async with work.running(limits={"positions_max": 1}):
        await work.drained()
        work.log.write(3.0, 4.0)
        await work.drained()
    assert isinstance(work.harness, PostgresHarness)
    with work.harness.admin() as connection:  # what a restore does: the last commits are gone
        connection.execute("DELETE FROM uns.samples WHERE position > 3")
        connection.execute("DELETE FROM uns.payloads WHERE payload > 1")
        connection.execute("DELETE FROM uns.deliveries WHERE last_position > 3")
    async with work.running():
        await work.drained()
    assert await work.harness.delivered() == [1.0, 2.0, 3.0, 4.0]


async def test_lost_books_of_ours_send_nothing_twice(work: Work) -> None:
    work.log.write(1.0, 2.0)
    async with work.running():
        await work.drained()
    for file in work.directory.glob("bridge.db*"):
        file.unlink()
    work.log.write(3.0)
    async with work.running():
        await work.drained()
    assert await work.harness.delivered() == [1.0, 2.0, 3.0]


async def test_rows_that_are_there_already_change_nothing(work: Work) -> None:
    work.log.write(1.0, 2.0)
    async with work.running():
        await work.drained()
    assert isinstance(work.harness, PostgresHarness)
    with work.harness.admin() as connection:  # the rows stay, only the books go
        connection.execute("DELETE FROM uns.deliveries")
    for file in work.directory.glob("bridge.db*"):
        file.unlink()
    async with work.running():
        await work.drained()
    assert await work.harness.delivered() == [1.0, 2.0]


async def test_one_bad_row_of_many_stays_alone(work: Work) -> None:
    await work.harness.refuse(17.0, "business")
    work.log.write(*map(float, range(40)))
    async with work.running():
        stats = await work.drained()
    assert stats.dead_letters == 1
    assert sorted(await work.harness.delivered()) == [float(n) for n in range(40) if n != 17]
    with closing(work.store()) as store:
        assert store.dead_letters()[0].subject == "positions 19 to 19"


async def test_a_schema_that_holds_another_log_is_refused(work: Work, tmp_path: Path) -> None:
    work.log.write(1.0)
    async with work.running():
        await work.drained()
    assert isinstance(work.harness, PostgresHarness)
    with work.harness.admin() as connection:
        connection.execute("UPDATE uns.bridges SET log_id = 'another plant'")
    work.log.write(2.0)
    async with work.running():
        stats = await work.until("it says so", state="paused", error_class="auth")
        assert "another record log" in stats.reason
    assert await work.harness.delivered() == [1.0]


async def test_a_schema_of_a_newer_release_is_left_alone(work: Work) -> None:
    assert isinstance(work.harness, PostgresHarness)
    _, target = work.harness.bridge()
    assert isinstance(await target.start(), int)
    with work.harness.admin() as connection:
        connection.execute("UPDATE uns.meta SET value = '99' WHERE key = 'schema'")
    found = await target.start()
    await target.close()
    assert isinstance(found, Auth)
    assert "newer release" in found.reason


async def test_check_tells_what_is_wrong(work: Work, tmp_path: Path) -> None:
    assert isinstance(work.harness, PostgresHarness)
    _, target = work.harness.bridge()
    assert [finding.severity for finding in await target.check()] == ["info"]
    await target.close()

    async def look(**changes: Any) -> list[Any]:
        address = msgspec.structs.replace(work.harness.address, **changes)  # type: ignore[attr-defined]
        other = PostgresTarget("history", address, RecordCursor(work.log.path))
        try:
            return await other.check()
        finally:
            await other.close()

    [finding] = await look(host=str(tmp_path))
    assert finding.unreachable
    [finding] = await look(database="nowhere")
    assert not finding.unreachable
    assert "create the database" in finding.next_step
    [finding] = await look(user="nobody_here")
    assert "check user" in finding.next_step


async def test_a_server_that_is_down_at_the_start_is_waited_for(work: Work) -> None:
    assert isinstance(work.harness, PostgresHarness)
    work.harness.server.stop()
    try:
        _, target = work.harness.bridge()
        assert isinstance(await target.start(), Transient)
        await target.close()
    finally:
        work.harness.server.start()
