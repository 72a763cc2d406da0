"""PostgreSQL at its worst: away for an hour, cut off at COMMIT, full, read-only, locked, restored from a backup."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from tests.bridges.contract.harness import Work
from tests.bridges.postgres.harness import PostgresHarness
from tests.bridges.postgres.server import PostgresServer, require_postgres
from tests.proxy import Direction, FaultProxy
from tests.servers import eventually
from uns.adapters.secrets import Secret
from uns.bridges.rules import RetryPolicy

pytestmark = pytest.mark.integration

HOUR_S = 3600.0
FASTER = 900  # so many times faster than the real clock: an hour in 4 s


@pytest.fixture
def work(server: PostgresServer, tmp_path: Path) -> Iterator[Work]:
    yield from make_work(PostgresHarness(server), tmp_path)


@pytest.fixture(scope="module")
def network() -> Iterator[PostgresServer]:
    """A server behind TCP that asks for a password."""
    made = PostgresServer(require_postgres(), tcp=True)
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture
def far(network: PostgresServer, tmp_path: Path) -> Iterator[Work]:
    """The bridge speaks TCP and has a password; tests put a proxy between."""
    harness = PostgresHarness(network)
    password = tmp_path / "password"
    password.write_text("first\n")
    password.chmod(0o600)
    with harness.admin() as connection:
        connection.execute("ALTER ROLE bridge PASSWORD 'first'")
    harness.address = msgspec.structs.replace(
        harness.address, host="127.0.0.1", tls="disable", password=Secret(file=password)
    )
    yield from make_work(harness, tmp_path)


def make_work(harness: PostgresHarness, directory: Path) -> Iterator[Work]:
    harness.positions_max = 1000
    made = Work(harness, directory)
    harness.log = made.log
    yield made
    made.log.close()


def admin(work: Work, statement: str) -> None:
    assert isinstance(work.harness, PostgresHarness)
    with work.harness.admin() as connection:
        connection.execute(statement.encode())


def ask(work: Work, question: str) -> list[tuple[Any, ...]]:
    assert isinstance(work.harness, PostgresHarness)
    with work.harness.admin() as connection:
        rows: list[tuple[Any, ...]] = connection.execute(question.encode()).fetchall()
        return rows


class Counted:
    """A target whose calls are counted."""

    def __init__(self, target: Any) -> None:
        self._target = target
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    async def start(self) -> Any:
        self.calls += 1
        return await self._target.start()

    async def deliver(self, items: Any) -> Any:
        self.calls += 1
        return await self._target.deliver(items)

    async def read_back(self, item: Any) -> Any:
        self.calls += 1
        return await self._target.read_back(item)


def faster_clock() -> Callable[[], int]:
    start, began = time.time_ns(), time.monotonic_ns()
    return lambda: start + (time.monotonic_ns() - began) * FASTER


@pytest.mark.timeout(120)
async def test_a_server_that_is_down_for_an_hour_costs_few_attempts_and_nothing_else(work: Work) -> None:
    assert isinstance(work.harness, PostgresHarness)
    now_ns = faster_clock()
    expected = [float(n) for n in range(100)]
    work.log.write(*expected[:20])
    async with work.running(wrap=Counted, now_ns=now_ns, retry=RetryPolicy(), limits={"positions_max": 7}) as target:
        await work.drained()
        work.harness.server.stop()
        try:
            down_ns, calls = now_ns(), target.calls
            for at in range(20, 100, 10):
                work.log.write(*expected[at : at + 10])
                await asyncio.sleep(HOUR_S / FASTER / 8)
            stats = await work.until("health says so", state="paused", error_class="transient")
            assert "PostgreSQL" in stats.reason
            assert stats.oldest_unsent_s is not None
            assert stats.oldest_unsent_s > HOUR_S / 2
            assert stats.waiting + stats.in_doubt >= 8
            hours = (now_ns() - down_ns) / 1e9 / HOUR_S
            assert hours >= 1
            attempts = target.calls - calls
            # The back-off doubles from 1 s to 300 s, of which half is drawn: 12 of the first ones, then 24 an hour.
            assert 5 < attempts <= 12 + 24 * hours, attempts
        finally:
            work.harness.server.start()
        stats = await work.drained()
    assert stats.dead_letters == 0
    assert await work.harness.delivered() == expected


class CutAtCommit:
    """Lets COMMIT through and holds its answer back, or holds COMMIT itself back; then cuts."""

    def __init__(self, *, answer: bool) -> None:
        self.proxy: FaultProxy | None = None
        self.times = 0
        self._direction: Direction = "down" if answer else "up"
        self._tasks: set[asyncio.Task[None]] = set()

    def tap(self, _number: int, direction: Direction, data: bytes) -> None:
        if direction == "up" and b"COMMIT\0" in data and self.times > 0 and not self._tasks:
            self.times -= 1
            assert self.proxy is not None
            self.proxy.freeze(self._direction)
            task = asyncio.get_running_loop().create_task(self._cut(self.proxy))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _cut(self, proxy: FaultProxy) -> None:
        await asyncio.sleep(0.1)  # the server commits meanwhile, where COMMIT went through
        proxy.rst()
        proxy.thaw()


@pytest.mark.parametrize("answer", [True, False], ids=["answer", "commit"])
async def test_a_connection_that_is_cut_at_commit_is_read_back(far: Work, answer: bool) -> None:
    """Whether COMMIT or its answer was lost only the server's books can tell."""
    assert isinstance(far.harness, PostgresHarness)
    cut = CutAtCommit(answer=answer)
    async with FaultProxy("127.0.0.1", far.harness.server.port, tap=cut.tap) as proxy:
        cut.proxy = proxy
        far.harness.address = msgspec.structs.replace(far.harness.address, port=proxy.port)
        async with far.running(wrap=Counted, limits={"positions_max": 3}):
            far.log.write(0.0)
            await far.drained()
            cut.times = 5
            far.log.write(*map(float, range(1, 30)))
            stats = await far.drained()
    assert cut.times == 0
    assert stats.dead_letters == 0
    assert sorted(await far.harness.delivered()) == [float(n) for n in range(30)]
    assert stats.counters["delivered"] == stats.counters["items"]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("direction", ["up", "down"])
async def test_connections_that_are_cut_anywhere_lose_and_double_nothing(far: Work, direction: Direction) -> None:
    assert isinstance(far.harness, PostgresHarness)
    dice = random.Random(4)
    async with FaultProxy("127.0.0.1", far.harness.server.port, seed=5) as proxy:
        far.harness.address = msgspec.structs.replace(far.harness.address, port=proxy.port)
        async with far.running(limits={"positions_max": 5}):
            far.log.write(0.0)
            await far.drained()
            proxy.cut_randomly(200, 9_000 if direction == "up" else 3_000, direction=direction)
            proxy.rst()
            written = 1
            while proxy.cuts < 30:
                count = dice.randint(1, 20)
                far.log.write(*map(float, range(written, written + count)))
                written += count
                await asyncio.sleep(0.03)
            proxy.clear()
            stats = await far.drained()
    assert stats.dead_letters == 0
    assert sorted(await far.harness.delivered()) == [float(n) for n in range(written)]


async def test_a_password_that_was_changed_pauses_until_the_new_one_is_there(far: Work) -> None:
    assert isinstance(far.harness, PostgresHarness)
    file = far.harness.address.password.file
    assert file is not None
    far.log.write(1.0)
    async with far.running():
        await far.drained()
        admin(far, "ALTER ROLE bridge PASSWORD 'second'")
        admin(far, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'bridge'")
        far.log.write(2.0)
        stats = await far.until("it says so", state="paused", error_class="auth")
        assert "password" in stats.reason
        assert "SIGHUP" in stats.next_step
        assert stats.waiting == 1
        file.write_text("second\n")
        assert far.runner is not None
        far.runner.nudge()  # what SIGHUP does
        stats = await far.drained()
    assert stats.dead_letters == 0
    assert await far.harness.delivered() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("take", "give_back", "error_class"),
    [
        ("ALTER ROLE bridge SET default_transaction_read_only = on", "ALTER ROLE bridge RESET ALL", "transient"),
        ("ALTER TABLE uns.samples OWNER TO admin", "ALTER TABLE uns.samples OWNER TO bridge", "auth"),
        ("ALTER TABLE uns.gap_revisions RENAME TO gone", "ALTER TABLE uns.gone RENAME TO gap_revisions", "auth"),
        ("ALTER ROLE bridge NOLOGIN", "ALTER ROLE bridge LOGIN", "auth"),
        ("ALTER ROLE bridge CONNECTION LIMIT 0", "ALTER ROLE bridge CONNECTION LIMIT -1", "transient"),
    ],
    ids=["read-only", "no right", "table gone", "no login", "no connection left"],
)
async def test_what_the_server_forbids_pauses_all_and_spends_nothing(
    work: Work, take: str, give_back: str, error_class: str
) -> None:
    assert isinstance(work.harness, PostgresHarness)
    work.log.write(1.0)
    try:
        async with work.running():
            await work.drained()
            admin(work, take)
            admin(work, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'bridge'")
            add_gap(work)
            stats = await work.until("it says so", state="paused", error_class=error_class)
            assert stats.reason.startswith("PostgreSQL:")
            assert stats.next_step
            await asyncio.sleep(0.2)
            admin(work, give_back)
            assert work.runner is not None
            work.runner.nudge()
            stats = await work.drained()
    finally:
        with psycopg.connect(host=str(work.harness.server.directory), dbname="plant", user="admin") as connection:
            connection.execute("ALTER ROLE bridge LOGIN CONNECTION LIMIT -1")
            connection.execute("ALTER ROLE bridge RESET ALL")
    assert stats.dead_letters == 0
    assert await work.harness.delivered() == [1.0, 2.0]


def add_gap(work: Work) -> None:
    """A sample and a gap, so that every table of the copy is asked for."""
    work.log.gap()
    work.log.write(2.0)


@pytest.fixture
def small_disk(server: PostgresServer) -> Iterator[Path]:
    """A tmpfs that the server may use; skips where nobody may mount one."""
    place = server.directory / "small"
    place.mkdir()
    found = shutil.which("mount")
    mounted = found is not None and os.geteuid() == 0 and subprocess.run(
        [found, "-t", "tmpfs", "-o", "size=6m,mode=777", "tmpfs", str(place)], capture_output=True, check=False
    ).returncode == 0  # fmt: skip
    if not mounted:
        place.rmdir()
        pytest.skip("a disk of 6 MB cannot be mounted here")
    inside = place / "tablespace"
    inside.mkdir()
    shutil.chown(inside, user="postgres")
    yield inside
    subprocess.run(["umount", "--lazy", str(place)], capture_output=True, check=False)


@pytest.mark.timeout(120)
async def test_a_disk_that_is_full_is_waited_for(work: Work, small_disk: Path) -> None:
    assert isinstance(work.harness, PostgresHarness)
    admin(work, f"CREATE TABLESPACE small OWNER bridge LOCATION '{small_disk}'")
    admin(work, "ALTER ROLE bridge SET default_tablespace = small")
    try:
        expected = [float(n) for n in range(20_000)]
        async with work.running(limits={"positions_max": 1_000}):
            for at in range(0, len(expected), 1_000):
                work.log.write(*expected[at : at + 1_000])
            filler = small_disk.parent / "filler"
            await eventually(lambda: work.harness.server.running and tables_there(work))  # type: ignore[attr-defined]
            fill(filler)
            stats = await work.until("it says so", state="paused", error_class="transient")
            assert "No space left" in stats.reason
            assert stats.dead_letters == 0
            filler.unlink()
            admin(work, "ALTER ROLE bridge RESET ALL")
            for table in ("samples", "payloads", "context_intervals", "deliveries"):
                admin(work, f"ALTER TABLE uns.{table} SET TABLESPACE pg_default")
            for index in ("samples_pkey", "samples_by_key", "payloads_pkey", "deliveries_pkey"):
                admin(work, f"ALTER INDEX uns.{index} SET TABLESPACE pg_default")
            stats = await work.drained()
        assert stats.dead_letters == 0
        assert sorted(await work.harness.delivered()) == expected
    finally:
        admin(work, "ALTER ROLE bridge RESET ALL")
        admin(work, "DROP SCHEMA IF EXISTS uns CASCADE")
        admin(work, "DROP TABLESPACE IF EXISTS small")


def tables_there(work: Work) -> bool:
    return ask(work, "SELECT to_regclass('uns.gap_revisions') IS NOT NULL") == [(True,)]


def fill(path: Path) -> None:
    """Take all the room that is left."""
    with path.open("wb") as file:
        try:
            while True:
                file.write(b"x" * 65_536)
                file.flush()
        except OSError:
            pass


async def test_a_copy_restored_from_a_real_dump_gets_again_what_it_lost(work: Work) -> None:
    assert isinstance(work.harness, PostgresHarness)
    server, dump = work.harness.server, work.harness.server.directory / "dump"
    work.log.write(1.0, 2.0)
    work.log.gap()
    async with work.running():
        await work.drained()
        server.run("pg_dump", "-h", server.directory, "-p", server.port, "-U", "admin", "-n", "uns", "-Fc", "-f", dump,
                   "plant")  # fmt: skip
        work.log.restate("WO-2")
        work.log.close_gap()
        work.log.write(3.0)
        await work.drained()
    admin(work, "DROP SCHEMA uns CASCADE")
    server.run("pg_restore", "-h", server.directory, "-p", server.port, "-U", "admin", "-d", "plant", dump)
    dump.unlink()
    assert await work.harness.delivered() == [1.0, 2.0]
    work.log.write(4.0)
    async with work.running():
        await work.drained()
    assert await work.harness.delivered() == [1.0, 2.0, 3.0, 4.0]
    assert ask(work, "SELECT DISTINCT work_order FROM uns.records") == [("WO-2",)]
    assert ask(work, "SELECT status, rev FROM uns.gaps") == [("closed", 1)]
    assert ask(work, "SELECT status, known_to_ns < 9223372036854775807 FROM uns.gaps_all_revisions ORDER BY rev") == [
        ("open", True),
        ("closed", False),
    ]
