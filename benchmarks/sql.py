"""Questions of analysts to a record log of a million samples: SQLite, and PostgreSQL where it is installed.

20 equipments with 10 metrics at 1 Hz; each equipment has a thousand orders, a tenth of them restated once.

    python -m benchmarks.sql [--json] [--samples N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from tests.bridges.postgres.server import PostgresServer, find_postgres
from uns.adapters.postgres import PostgresAddress, PostgresTarget
from uns.adapters.sqlite.record_cursor import Progress, RecordCursor
from uns.adapters.sqlite.record_log import RecordLog
from uns.bridges.port import Delivered
from uns.bridges.postgres.mapping import PostgresMapping
from uns.enrichment.plan import MAX_NS, MIN_NS, FactRow, IntervalRow, RecordPlan

S = 1_000_000_000
START_NS = 1_780_488_000 * S
EQUIPMENT, METRICS, ORDERS = 20, 10, 1_000
COMMIT_SAMPLES = 50_000


@dataclass
class Figure:
    question: str
    rows: int
    sqlite_ms: float
    postgres_ms: float | None


class Plant:
    """What ``write`` puts in, and the questions about it."""

    def __init__(self, samples: int) -> None:
        self.seconds = samples // (EQUIPMENT * METRICS)
        self.samples = self.seconds * EQUIPMENT * METRICS
        self.order_ns = max(self.seconds * S // ORDERS, 1)
        self.known_ns = START_NS + self.seconds * S  # when the restatements became known

    def write(self, path: Path) -> None:
        log = RecordLog(path)
        log.load()
        plan = RecordPlan(
            series=[
                (e * METRICS + m + 1, f"eq{e}", f"m{m}", "Double", "CEL")
                for e in range(EQUIPMENT)
                for m in range(METRICS)
            ]
        )
        position = 1
        for e in range(EQUIPMENT):
            for k in range(ORDERS):
                first = self._interval(position, e, k, rev=0)
                plan.facts.append(self._fact(e, k))
                if k % 10 == 0:
                    plan.intervals_opened.append((*first[:6], self.known_ns, *first[7:]))
                    position += 1
                    first = self._interval(position, e, k, rev=1)
                plan.intervals_opened.append(first)
                position += 1
        payload = 0
        for second in range(self.seconds):
            for e in range(EQUIPMENT):
                payload += 1
                at = START_NS + second * S
                plan.payloads.append((payload, "acme.dallas", "gw-1", f"eq{e}", "s1", 7, 1, 0, at, at, payload))
                for m in range(METRICS):
                    series = e * METRICS + m + 1
                    plan.samples.append((position, series, at, 0, position / 7, None, None, 0, 0, 0, payload))
                    position += 1
            if len(plan.samples) >= COMMIT_SAMPLES or second == self.seconds - 1:
                plan.next_position, plan.next_payload = position, payload + 1
                plan.counters = {"facts_accepted": len(plan.facts)}
                log.commit(plan, joined=payload)
                plan = RecordPlan()
        log.close()

    def questions(self) -> dict[str, tuple[str, str]]:
        """By name: in SQLite, and in PostgreSQL."""
        lo = START_NS + self.seconds // 2 * S
        span = f"source_time_ns >= {lo} AND source_time_ns < {lo + 10 * S}"
        then = self.known_ns - S
        order = "work_order = 'WO-3-500'"
        same = {
            "10 s of everything": f"SELECT * FROM records WHERE {span}",
            "10 s of one metric": f"SELECT * FROM records WHERE {span} AND equipment = 'eq3' AND metric = 'm3'",
            "a work order's samples": f"SELECT * FROM records WHERE {order}",
            "1000 positions by cursor": "SELECT * FROM records WHERE position > 500000 AND position <= 501000",
            "one order": f"SELECT * FROM orders WHERE {order}",
            "all orders, without counts": "SELECT work_order, state, actual_from_time FROM orders",
            "one lot": "SELECT * FROM lots WHERE lot = 'L-3-500'",
            "all gaps": "SELECT * FROM gaps",
            "every record": "SELECT count(*) FROM records",
        }
        found = {name: (question, question) for name, question in same.items()}
        found["10 s as known before"] = (
            f"SELECT * FROM records_as_known_at WHERE as_known_at_ns = {then} AND {span}",
            f"SELECT * FROM records_as_known_at(time_of({then})) WHERE {span}",
        )
        return found

    def _interval(self, position: int, equipment: int, order: int, *, rev: int) -> IntervalRow:
        lo = MIN_NS if order == 0 else START_NS + order * self.order_ns
        hi = MAX_NS if order == ORDERS - 1 else START_NS + (order + 1) * self.order_ns
        work_order, lot = f"WO-{equipment}-{order}", f"L-{equipment}-{order}"
        body = {"status": "resolved", "work_order": work_order, "job_order": f"{work_order}/0010", "lots": [lot]}
        known = self.known_ns if rev else START_NS
        text = msgspec.json.encode(body).decode()
        return (position, f"eq{equipment}", lo, hi, rev, known, MAX_NS, "resolved", work_order, text, "benchmark")

    def _fact(self, equipment: int, order: int) -> FactRow:
        work_order, at = f"WO-{equipment}-{order}", START_NS + order * self.order_ns
        body = {"state": "running", "job_order": f"{work_order}/0010", "work_order": work_order}
        text = msgspec.json.encode(body).decode()
        where = ("mes", work_order, "1", 1, "job", f"eq{equipment}", "add")
        return (*where, at, at + self.order_ns, START_NS + order, text, "hash")


async def copy(path: Path, address: PostgresAddress) -> None:
    cursor, target, mapping = RecordCursor(path), PostgresTarget("b", address, RecordCursor(path)), PostgresMapping()
    await target.start()
    progress, more = Progress(), True
    while more:
        batch, progress, head = cursor.read(progress, positions_max=20_000)
        for item in [] if batch.is_empty() else mapping.receive_batch(batch, 0):
            [outcome] = await target.deliver([item])
            assert isinstance(outcome, Delivered), outcome
        more = progress.position < head
    await target.close()
    cursor.close()


@contextmanager
def postgres(path: Path) -> Iterator[Callable[[str], tuple[int, float]] | None]:
    """Asks a copy of the log; None where PostgreSQL is not installed."""
    binaries = find_postgres()
    if binaries is None:
        yield None
        return
    server = PostgresServer(binaries, settings=("shared_buffers = 128MB", "max_wal_size = 1GB"))
    try:
        server.start()
        address = server.database()
        asyncio.run(copy(path, address))
        with server.connect(address.database) as connection:
            connection.execute("SET search_path = uns")
            connection.execute("SET timezone = 'UTC'")
            connection.execute("VACUUM ANALYZE")
            yield lambda question: ask(lambda: connection.execute(f"SELECT * FROM ({question}) AS q OFFSET 0".encode()))
    finally:
        server.close()


def ask(execute: Callable[[], Any]) -> tuple[int, float]:
    """Rows, and the milliseconds of the second of two runs."""
    for _ in range(2):
        started = time.perf_counter()
        rows = len(_fetch(execute()))
        elapsed = (time.perf_counter() - started) * 1000
    return rows, elapsed


def _fetch(cursor: Any) -> list[Any]:
    found: list[Any] = cursor.fetchall()
    return found


def measure(samples: int) -> list[Figure]:
    plant, figures = Plant(samples), []
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "records.db"
        plant.write(path)
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        with postgres(path) as there:
            for name, (ours, theirs) in plant.questions().items():
                rows, elapsed = ask(lambda question=ours: connection.execute(question))  # type: ignore[misc]
                answer = None if there is None else there(theirs)
                assert answer is None or answer[0] == rows, (name, answer, rows)
                figures.append(Figure(name, rows, round(elapsed, 2), None if answer is None else round(answer[1], 2)))
        connection.close()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = measure(options.samples)
    if options.json:
        print(json.dumps([asdict(figure) for figure in figures]))
        return
    print(f"{'question':<28} {'rows':>8} {'SQLite ms':>11} {'PostgreSQL ms':>14}")
    for figure in figures:
        there = "-" if figure.postgres_ms is None else f"{figure.postgres_ms:.2f}"
        print(f"{figure.question:<28} {figure.rows:>8} {figure.sqlite_ms:>11.2f} {there:>14}")


if __name__ == "__main__":
    main()
