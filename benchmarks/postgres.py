"""Record log to PostgreSQL: samples/s of the bridge, beside plain COPY of the same rows into the same tables.

Starts a PostgreSQL of its own (Debian package ``postgresql``) with its usual durability (fsync on).

    python -m benchmarks.postgres [--json] [--samples N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg

from tests.bridges.postgres.server import PostgresServer, find_postgres
from uns.adapters.postgres import PostgresAddress, PostgresTarget
from uns.adapters.sqlite.bridge_store import BridgeStore
from uns.adapters.sqlite.record_cursor import RecordCursor
from uns.adapters.sqlite.record_log import RecordLog
from uns.bridges.postgres.mapping import PostgresMapping, copy_text
from uns.bridges.postgres.schema import MIGRATIONS, render
from uns.enrichment.plan import MAX_NS, MIN_NS, SAMPLE_COLUMNS, RecordPlan
from uns.runtime.bridge.runner import BridgeRunner, RunnerLimits

START_NS = 1_780_488_000_000_000_000
PAYLOAD_SAMPLES = 50
COMMIT_SAMPLES = 5_000
SERIES = 200


@dataclass
class Figure:
    samples: int
    bridge_samples_per_s: float
    plain_copy_samples_per_s: float
    plain_copy_one_transaction_samples_per_s: float
    bridge_of_plain_copy: float
    ranges: int
    outbox_bytes: int


def write_log(path: Path, samples: int) -> None:
    """A record log as a host leaves it: payloads of 50 samples, one interval of context, 200 metrics."""
    log = RecordLog(path)
    log.load()
    plan = RecordPlan(
        series=[(n, "reactor4", f"group/m{n}", "Double", "CEL") for n in range(1, SERIES + 1)],
        intervals_opened=[
            (1, "reactor4", MIN_NS, MAX_NS, 0, 0, MAX_NS, "resolved", "WO-1", '{"status":"resolved"}', "first")
        ],
    )
    position, payload = 2, 0
    while position - 2 < samples:
        for _ in range(COMMIT_SAMPLES // PAYLOAD_SAMPLES):
            payload += 1
            at = START_NS + payload * 20_000_000
            plan.payloads.append(
                (payload, "acme.dallas", "gw-1", "reactor4", "s1", 7, payload % 256, 0, at, at, payload)
            )
            for n in range(PAYLOAD_SAMPLES):
                series = (payload * PAYLOAD_SAMPLES + n) % SERIES + 1
                plan.samples.append((position, series, at, 0, position / 7.0, None, None, 0, 0, 0, payload))
                position += 1
        plan.next_position, plan.next_payload = position, payload + 1
        log.commit(plan, joined=payload)
        plan = RecordPlan()
    log.close()


async def bridge(path: Path, address: PostgresAddress, store_path: Path, head: int) -> tuple[float, int, int]:
    """Seconds from the start of the bridge to the last delivery; ranges; the size of its books."""
    store, cursor = BridgeStore(store_path), RecordCursor(path)
    target = PostgresTarget("benchmark", address, RecordCursor(path))
    await target.start()
    runner = BridgeRunner(
        name="benchmark", kind="postgres", mapping=PostgresMapping(), target=target, store=store, log=cursor,
        limits=RunnerLimits(poll_s=0.02),
    )  # fmt: skip
    started = time.perf_counter()
    task = asyncio.create_task(runner.run())
    while True:
        stats = await runner.stats()
        if stats.position >= head and not stats.waiting and not stats.in_doubt:
            break
        await asyncio.sleep(0.05)
    elapsed = time.perf_counter() - started
    runner.stop()
    await task
    runner.close()
    store.close()
    return elapsed, stats.counters["delivered"], sum(file.stat().st_size for file in store_path.parent.glob("b.db*"))


def rows_of(cursor: RecordCursor, head: int, step: int) -> Iterator[list[tuple[object, ...]]]:
    for after in range(0, head, step):
        found = cursor.table_rows(after, min(head, after + step), facts_after_ns=0, facts_to_ns=0)
        yield list(found.samples)


def plain_copy(path: Path, address: PostgresAddress, schema: str, head: int, *, commits: bool) -> float:
    """Seconds of COPY alone: rows read and rendered before the clock starts, same table, same indexes."""
    cursor = RecordCursor(path)
    chunks = [copy_text(rows) for rows in rows_of(cursor, head, 20_000)]
    cursor.close()
    with psycopg.connect(host=address.host, dbname=address.database, user=address.user) as connection:
        connection.execute(f"CREATE SCHEMA {schema}".encode())
        for migration in MIGRATIONS:
            connection.execute(render(migration, schema).encode())
        connection.commit()
        statement = f"COPY {schema}.samples ({', '.join(SAMPLE_COLUMNS)}) FROM STDIN".encode()
        started = time.perf_counter()
        for chunk in chunks:
            with connection.cursor().copy(statement) as copy:
                copy.write(chunk)
            if commits:
                connection.commit()
        connection.commit()
        return time.perf_counter() - started


def measure(samples: int) -> Figure:
    binaries = find_postgres()
    if binaries is None:
        raise SystemExit("PostgreSQL is not installed; `apt-get install postgresql`")
    server = PostgresServer(binaries, settings=("fsync = on", "shared_buffers = 128MB", "max_wal_size = 1GB"))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "records.db"
        write_log(path, samples)
        head = samples + 1
        try:
            server.start()
            address = server.database()
            plain = plain_copy(path, address, "plain", head, commits=True)
            single = plain_copy(path, address, "single", head, commits=False)
            elapsed, ranges, size = asyncio.run(bridge(path, address, Path(directory) / "b.db", head))
            with server.connect(address.database) as connection:
                found = connection.execute("SELECT count(*) FROM uns.samples").fetchone()
            assert found == (samples,), found
        finally:
            server.close()
    return Figure(
        samples=samples,
        bridge_samples_per_s=round(samples / elapsed),
        plain_copy_samples_per_s=round(samples / plain),
        plain_copy_one_transaction_samples_per_s=round(samples / single),
        bridge_of_plain_copy=round(plain / elapsed, 2),
        ranges=ranges,
        outbox_bytes=size,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figure = measure(options.samples // COMMIT_SAMPLES * COMMIT_SAMPLES)
    if options.json:
        print(json.dumps(asdict(figure)))
        return
    print(f"{figure.samples} samples, read from the record log in {figure.ranges} ranges")
    print(f"bridge                       {figure.bridge_samples_per_s:>9} samples/s")
    print(f"plain COPY, as many commits  {figure.plain_copy_samples_per_s:>9} samples/s")
    print(f"plain COPY, one transaction  {figure.plain_copy_one_transaction_samples_per_s:>9} samples/s")
    print(f"the bridge reaches {figure.bridge_of_plain_copy:.0%} of plain COPY; its books took")
    print(f"{figure.outbox_bytes} bytes")


if __name__ == "__main__":
    main()
