"""The views of orders, runs and lots against a recount in Python, on random logs; the same in PostgreSQL."""

from __future__ import annotations

import json
import random
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.sqlite.old_file import make_old
from tests.bridges.postgres.server import PostgresServer, require_postgres
from tests.bridges.postgres.test_same_answers import assert_same, copy
from tests.enrichment.builders import COUNT, TEMPERATURE, at, batch, fact, plant, provenance, when
from uns.adapters.sqlite.record_log import RecordIndexReader, RecordLog
from uns.enrichment.pipeline import Enricher

PLACES = ("reactor4", "reactor5")
JOBS = (("WO-1", "0010"), ("WO-2", "0010"), ("WO-1", "0020"), ("WO-1", "WO-1/10"), (None, "0010"))


def write(path: Path, seed: int) -> None:
    """Jobs of a few names, which several orders use; corrected, deleted, late; samples of two places."""
    dice = random.Random(seed)
    log, index = RecordLog(path), RecordIndexReader(path)
    enricher = Enricher(plant(), index)
    enricher.load(log.load()[0], 0)
    inputs: list[Any] = []
    for number in range(dice.randint(3, 12)):
        work_order, job_order = dice.choice(JOBS)
        start = dice.randint(0, 80)
        known = {"id": f"j{number}", "equipment": dice.choice(PLACES), "work_order": work_order, "job_order": job_order}
        end = start + dice.randint(1, 30)
        inputs.append(fact("job", **known, source_rev="1", valid_from=when(start), valid_to=when(end)))
        if dice.random() < 0.3:
            action = dice.choice(("change", "delete"))
            moved = when(max(0, start - dice.randint(0, 5)))
            inputs.append(fact("job", **known, source_rev="2", valid_from=moved, valid_to=when(end), action=action))
    for number in range(dice.randint(0, 6)):
        start = dice.randint(0, 80)
        inputs.append(
            fact("lot", id=f"l{number}", equipment=dice.choice(PLACES), lot=f"L-{number % 3}", material="FG",
                 valid_from=when(start), valid_to=when(start + dice.randint(1, 30)))
        )  # fmt: skip
    for second in range(100):
        place = dice.choice(PLACES)
        metric = dice.choice((TEMPERATURE, COUNT))
        value: Any = float(second) if metric is TEMPERATURE else second
        inputs.append(batch((metric, value, second + 0.25), equipment=place, provenance=provenance(device_id=place)))
    dice.shuffle(inputs)
    for number, given in enumerate(inputs):
        now_ns = at(1_000) + number
        if hasattr(given, "job_order"):
            enricher.receive_fact(given, now_ns)
        else:
            enricher.receive_batch(given, now_ns, past_max_ns=None, future_max_ns=None)
        if dice.random() < 0.5:
            log.commit(enricher.drain(), joined=0)
            enricher.committed()
    log.commit(enricher.drain(), joined=0)
    index.close()
    log.close()


def rows(path: Path, question: str) -> list[Any]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return connection.execute(question).fetchall()


def recount(path: Path) -> tuple[dict[Any, list[int]], dict[Any, set[str]], Counter[Any]]:
    """From tables alone, a sample at a time: orders, the places where they ran, lots."""
    intervals: dict[str, list[Any]] = defaultdict(list)
    for equipment, start, end, status, work_order, body in rows(
        path, f"SELECT equipment, from_ns, to_ns, status, work_order, body FROM context_intervals "
        f"WHERE known_to_ns = {2**63 - 1}",
    ):  # fmt: skip
        intervals[equipment].append((start, end, status, work_order, json.loads(body)))
    counts: dict[Any, list[int]] = defaultdict(lambda: [0, 0, 0])
    places: dict[Any, set[str]] = defaultdict(set)
    lots: Counter[Any] = Counter()
    for equipment, held in intervals.items():
        for _, _, _, work_order, body in held:
            if body.get("job_order"):
                places[work_order, body["job_order"]].add(equipment)
    for equipment, time_ns in rows(path, "SELECT equipment, source_time_ns FROM samples JOIN series USING (series)"):
        [(_, _, status, work_order, body)] = [one for one in intervals[equipment] if one[0] <= time_ns < one[1]]
        if body.get("job_order"):
            found = counts[work_order, body["job_order"]]
            found[0] += 1
            found[1] += status == "resolved"
            found[2] += status == "unresolved"
        for lot in body.get("lots", ()):
            lots[lot] += 1
    return counts, places, lots


@pytest.mark.parametrize("seed", range(30))
def test_orders_and_lots_say_what_a_recount_says(tmp_path: Path, seed: int):
    path = tmp_path / "records.db"
    write(path, seed)
    counts, places, lots = recount(path)
    for work_order, job_order, ran_at, *told in rows(
        path, "SELECT work_order, job_order, ran_at, samples, samples_resolved, samples_unresolved FROM orders"
    ):
        assert told == counts.get((work_order, job_order), [0, 0, 0]), (work_order, job_order)
        assert set(json.loads(ran_at or "[]")) == places.get((work_order, job_order), set())
    for work_order, job_order, total in rows(
        path, "SELECT work_order, job_order, sum(samples) FROM order_runs GROUP BY 1, 2"
    ):
        assert total == counts.get((work_order, job_order), [0])[0]
    assert {lot: n for lot, n in rows(path, "SELECT lot, sum(samples) FROM lots GROUP BY 1") if n} == dict(lots)


def test_a_store_of_the_release_before_counts_so_too(tmp_path: Path):
    path = tmp_path / "records.db"
    write(path, 3)
    expected = rows(path, "SELECT * FROM orders ORDER BY 1, 2")
    make_old(path, 6)
    RecordLog(path).close()
    assert rows(path, "SELECT * FROM orders ORDER BY 1, 2") == expected


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    made = PostgresServer(require_postgres())
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.mark.integration
@pytest.mark.parametrize("seed", range(3))
async def test_postgres_says_the_same(server: PostgresServer, tmp_path: Path, seed: int):
    path = tmp_path / "records.db"
    write(path, seed)
    await copy(path, server.database(), positions_max=7)
    assert_same(server, path, [])
