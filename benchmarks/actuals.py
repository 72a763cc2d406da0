"""The actuals of a job with a million counter samples, read from a real records.db, beside the bare read of the rows.

    python -m benchmarks.actuals [--json] [--samples N] [--neighbours N]

``bare`` is SQLite giving the same columns of the same rows to Python, nothing made of them: the limit. ``continued``
is a job that runs: its totals go on with the last thousand samples. With ``--neighbours`` each sample of the counter
stands among so many of other metrics in the same time, because the index of the log has the time in front. ``scrap`` is
a counter of the same job that moves every twenty minutes and was silent for half a day before it.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from uns.actuals.book import JobBook
from uns.actuals.jobs import JobId
from uns.actuals.totals import JobRuns, job_actuals
from uns.adapters.sqlite.record_cursor import Progress, RecordCursor
from uns.adapters.sqlite.record_log import RecordLog
from uns.enrichment.plan import MAX_NS, MIN_NS, RecordPlan
from uns.namespace.model import Equipment, EquipmentClass, EquipmentLevel, MetricContract, Site, TopicTree
from uns.sparkplug.datatypes import DataType

START_NS = 1_780_488_000_000_000_000
STEP_NS = 100_000_000
COMMIT_SAMPLES = 5_000
OTHER_METRICS = 100
FIRST_OTHER = 3  # series
SCRAP_EVERY = 12_000  # samples of the other counter
LATEST = 1_000
RESET_EVERY = 300_000
JOB = JobId("WO-1/0010", "WO-1", "0010")


@dataclass
class Figure:
    what: str
    counter_samples: int
    samples_in_its_time: int
    good: str
    seconds: float
    bare_seconds: float
    continued_ms: float
    scrap_ms: float


def plant(*names: str) -> TopicTree:
    """One packing machine with two counters."""
    packer = Equipment(
        id="packer1", level=EquipmentLevel.WORK_CELL, path=("acme", "dallas", "packer1"), site="dallas",
        class_name="Packer",
    )  # fmt: skip
    metrics = {
        name: MetricContract(name=name, datatype=DataType.UINT32, unit="C62", role="counter", counts=name)
        for name in names
    }
    return TopicTree(
        enterprise="acme",
        sites={"dallas": Site(id="dallas", time_zone="America/Chicago")},
        classes={"Packer": EquipmentClass(name="Packer", metrics=metrics)},
        equipment={"packer1": packer},
        context={},
        contract_hash="benchmark",
    )


def write_log(path: Path, samples: int, neighbours: int) -> int:
    """A record log as a host leaves it; the counter counts one a sample and is reset a few times. What it counted."""
    log = RecordLog(path)
    log.load()
    body = json.dumps({"status": "resolved", **{name: getattr(JOB, name) for name in JOB.__struct_fields__}})
    idle = '{"status":"unassigned"}'
    end_ns = START_NS + (samples + 1) * STEP_NS
    plan = RecordPlan(
        series=[
            (1, "packer1", "good", "UInt32", "C62"),
            (2, "packer1", "scrap", "UInt32", "C62"),
            *((n + FIRST_OTHER, "packer1", f"m{n}", "Double", None) for n in range(OTHER_METRICS)),
        ],
        intervals_opened=[
            (1, "packer1", MIN_NS, START_NS, 0, 1, MAX_NS, "unassigned", None, idle, "first"),
            (2, "packer1", START_NS, end_ns, 0, 1, MAX_NS, "resolved", "WO-1", body, "first"),
            (3, "packer1", end_ns, MAX_NS, 0, 1, MAX_NS, "unassigned", None, idle, "first"),
        ],
    )
    position, payload, value, good = 4, 1, 0, 0
    for at in range(-samples // 2 if neighbours else -1, samples):
        value = 1 if at > 0 and at % RESET_EVERY == 0 else value + (at >= -1)
        good += at >= 0
        time_ns = START_NS + at * STEP_NS
        if at >= -1:
            plan.samples.append((position, 1, time_ns, 0, None, value, None, 0, 0, 0, payload))
            position += 1
        if at == -samples // 2 or (at > 0 and at % SCRAP_EVERY == 0):
            plan.samples.append((position, 2, time_ns, 0, None, max(at, 0) // SCRAP_EVERY, None, 0, 0, 0, payload))
            position += 1
        for n in range(neighbours):
            series = FIRST_OTHER + (at * neighbours + n) % OTHER_METRICS
            moment = time_ns + (n + 1) * STEP_NS // (neighbours + 1)
            plan.samples.append((position + n, series, moment, 0, n / 7, None, None, 0, 0, 0, payload))
        position += neighbours
        if not plan.payloads:
            plan.payloads.append((payload, "acme.dallas", "gw-1", "packer1", "s1", 7, 1, 0, time_ns, time_ns, 1))
        if len(plan.samples) >= COMMIT_SAMPLES or at == samples - 1:
            plan.next_position, plan.next_payload = position, payload + 1
            log.commit(plan, joined=1)
            plan, payload = RecordPlan(), payload + 1
    log.close()
    return good


def bare_read(path: Path) -> None:
    """The limit: the same rows as tuples, in the same chunks."""
    connection = sqlite3.connect(path)
    rows = connection.execute(
        "SELECT source_time_ns, ordinal, value_int, quality, flags, position FROM samples "
        "WHERE source_time_ns >= ? AND series = 1 ORDER BY source_time_ns, ordinal",
        (START_NS,),
    )
    while rows.fetchmany(5_000):
        pass
    connection.close()


def best_of(times: int, work: Callable[[], object]) -> float:
    found = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)


def follow(tree: TopicTree, cursor: RecordCursor) -> JobBook:
    book, progress = JobBook(tree), Progress()
    while True:
        batch, progress, _ = cursor.read(progress, positions_max=200_000)
        if batch.is_empty():
            return book
        book.receive_batch(batch)


def measure(what: str, samples: int, neighbours: int) -> Figure:
    tree, of_scrap = plant("good"), plant("scrap")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "records.db"
        good = write_log(path, samples, neighbours)
        cursor = RecordCursor(path)
        view = follow(tree, cursor).job(JOB)
        if view is None:
            raise SystemExit("the job is not in the log")
        seconds = best_of(3, lambda: job_actuals(tree, cursor, view))
        total = job_actuals(tree, cursor, view).total("good")
        if total is None or total[0] != good:
            raise SystemExit(f"counted {total}, should be {good}")
        bare = best_of(3, lambda: bare_read(path))
        runs = JobRuns()
        job_actuals(tree, cursor, view, runs=runs)
        (run,) = runs.counters.values()
        run.read_to_ns -= LATEST * STEP_NS  # the last thousand are read again: as dear as a thousand new ones
        continued = best_of(1, lambda: job_actuals(tree, cursor, view, runs=runs))
        scrap = job_actuals(of_scrap, cursor, view).total("scrap")
        if scrap is None or scrap[0] != (samples - 1) // SCRAP_EVERY - (not neighbours):
            raise SystemExit(f"counted {scrap} scrap")
        scrap_seconds = best_of(3, lambda: job_actuals(of_scrap, cursor, view))
        cursor.close()
    return Figure(
        what=what,
        counter_samples=samples,
        samples_in_its_time=samples * (1 + neighbours),
        good=str(good),
        seconds=round(seconds, 3),
        bare_seconds=round(bare, 3),
        continued_ms=round(continued * 1000, 2),
        scrap_ms=round(scrap_seconds * 1000, 2),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--neighbours", type=int, default=10)
    options = parser.parse_args()
    figures = [measure("alone", options.samples, 0)]
    if options.neighbours:
        figures.append(measure(f"among {options.neighbours} others each", options.samples, options.neighbours))
    if options.json:
        print(json.dumps([asdict(figure) for figure in figures]))
        return
    for figure in figures:
        print(
            f"{figure.counter_samples} counter samples {figure.what}: {figure.seconds:.2f} s"
            f" (the bare read of the rows: {figure.bare_seconds:.2f} s), good {figure.good};"
            f" going on with the last {LATEST}: {figure.continued_ms:.1f} ms; scrap: {figure.scrap_ms:.1f} ms"
        )


if __name__ == "__main__":
    main()
