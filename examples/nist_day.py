"""A real machine's day, end to end: ``python -m examples.nist_day --file Mazak03-20170907-20170908.txt.gz``.

The rows are replayed through an OPC UA server with their own times; a gateway reads them, a host joins each with the
job that its program started. Every row is accounted for at the end, or the exit code is 1. With ``--store`` the stores
stay, and playing the day again changes nothing. With ``--out`` a WorkPerformance of each finished job is written, too.
See docs/how-to/replay-a-real-day.md.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import msgspec

from edge_nodes.simulators.shdr import Day, load_day
from edge_nodes.store import EdgeStore
from examples.nist_day_performances import JobPerformance, Written, write_performances
from examples.nist_day_plan import (
    GATEWAY,
    HOST_ID,
    IDENTITY,
    Books,
    balance,
    job_definitions,
    node_text,
    notifications,
    tree_text,
)
from uns.adapters.mqtt import BrokerAddress
from uns.adapters.sqlite.record_rows import open_rows
from uns.cli.output import never_fail_to_encode
from uns.errors import ConfigurationError, UnreachableError, UnsError
from uns.namespace.loader import load_tree
from uns.runtime.accounting import (
    EDGE_TERMS,
    HOST_TERMS,
    Equation,
    edge_equations,
    host_equations,
    record_log_equations,
    sum_equation,
)
from uns.runtime.children import Child
from uns.runtime.fact_sender import FactSender
from uns.runtime.performances import missing_library
from uns.runtime.plant_run import PlantRun, terms_of

READ_STALL_S = 20.0  # so long without a newly read value, and the gateway will not read the rest


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a play ended."""

    file: str
    machine: str
    rows: int
    samples: int
    liveness: int
    repeats: int
    malformed: int
    resolved: int
    unassigned: int
    unresolved: int
    rejected: int
    restated_intervals: int
    jobs: int
    lost: int
    duplicates: int
    samples_by_work_order: dict[str, int]
    recorded: int
    edges: dict[str, dict[str, int]]
    host: dict[str, int]
    performances: list[JobPerformance]  # with --out: what stands of each finished job
    performance_files: int  # with --out: those that were not there before
    still_running: list[str]  # with --out: jobs that have no end in the file, so that there is nothing to tell yet
    equations: list[Equation]
    malformed_rows: list[str]
    seconds: float
    ok: bool


async def play(
    day: Day,
    file: Path,
    directory: Path,
    *,
    broker: str,
    speed: float | None,
    say: Callable[[str], None],
    out: Path | None = None,
) -> Outcome:
    """Play the day once into the stores under ``directory``; performances of its jobs into ``out``."""
    began = time.monotonic()
    records = directory / "host" / "records.db"
    if not day.observations:  # nothing that a plant could read
        nothing = _Found(books=balance(day, (), known_before=0), host=dict.fromkeys(HOST_TERMS, 0))
        return _outcome(day, file, nothing)
    known_before = _last_position(records)
    async with PlantRun(directory) as plant:
        tree_file = directory / "topic_tree.yaml"
        tree_file.write_text(tree_text(day), encoding="utf-8")
        say("starting broker, host, gateway")
        await plant.start_broker(broker)
        await plant.start_host(tree_file, host_id=HOST_ID)
        address = BrokerAddress(url=plant.broker_url)
        client_id = f"uns-planner-{os.getpid()}"
        async with FactSender(address, load_tree(tree_file), client_id=client_id, keep_session=False) as planner:
            for fact in job_definitions(day):
                answer = await planner.tell(fact)
                if not answer.accepted:
                    raise UnreachableError(f"the host refuses job {fact.job_order}: {answer.reason}")
        pace = () if speed is None else ("--speed", str(speed))
        server, ready = await plant.start_simulator("machine", "replay", "--file", str(file), *pace)
        node_file = directory / f"{GATEWAY}.node.yaml"
        node_file.write_text(
            node_text(day, tree=str(tree_file), broker_url=plant.broker_url, opcua_url=ready["url"]), encoding="utf-8"
        )
        read_before = _read_before(directory)
        await plant.start_edge(GATEWAY, node_file)
        await _until_written(plant, server, day, say)
        await _until_read(plant, read_before, notifications(day), say)
        edges = await plant.stop_edges()
        await plant.stop_simulators()
        say("joining")
        status = await plant.joined()
        await plant.stop_host()
        written: Written | None = None
        if out is not None:
            say("writing performances")
            written = await write_performances(plant, day, tree_file, out)
    with open_rows(records) as rows:
        found = _Found(
            books=balance(day, rows.records(day.machine), known_before=known_before),
            rejected=rows.rejected(),
            restated_intervals=rows.restated_intervals(),
            recorded=rows.recorded(),
            duplicates=rows.duplicates(),
            statuses=rows.statuses(),
            edges={gateway: terms_of(counters, EDGE_TERMS) for gateway, counters in edges.items()},
            host=terms_of(status["counters"], HOST_TERMS),
            written=written,
            seconds=time.monotonic() - began,
        )
    return _outcome(day, file, found)


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a play left behind: the log counted by itself, and the counters."""

    books: Books
    rejected: int = 0
    restated_intervals: int = 0
    recorded: int = 0
    duplicates: int = 0
    statuses: dict[str, int] = {}  # of every row of the log, other plays' too
    edges: dict[str, dict[str, int]] = {}
    host: dict[str, int]
    written: Written | None = None
    seconds: float = 0.0


def _outcome(day: Day, file: Path, found: _Found) -> Outcome:
    books, rejected = found.books, found.rejected
    held = books.samples + rejected
    lost = day.samples - held
    statuses = {name: books.statuses.get(name, 0) for name in ("resolved", "unassigned", "unresolved")}
    terms = {
        "rows": day.rows,
        "samples": held,
        "liveness": day.liveness,
        "repeats": day.repeats,
        "malformed": day.malformed,
        "rejected": rejected,
        **statuses,
    }
    equations = [
        sum_equation("the day", "rows", ("samples", "liveness", "repeats", "malformed"), terms),
        sum_equation("the day", "samples", ("resolved", "unassigned", "unresolved", "rejected"), terms),
        *(each for gateway, counters in found.edges.items() for each in edge_equations(gateway, counters)),
        *host_equations(found.host),
        _nothing("this play", f"lost {lost} = values in the file {day.samples} - in the record log {held}", lost),
        *record_log_equations(
            found.host, recorded=found.recorded, duplicates=found.duplicates, statuses=found.statuses
        ),
        _nothing("record log", f"records that no row stands for {books.unexpected} = 0", books.unexpected),
    ]
    written = found.written or Written(new_files=0, jobs=[], running=[], equations=[])
    equations += written.equations
    return Outcome(
        file=file.name,
        machine=day.machine,
        **{name: terms[name] for name in ("rows", "samples", "liveness", "repeats", "malformed", "rejected")},
        **statuses,
        restated_intervals=found.restated_intervals,
        jobs=len(books.work_orders),
        lost=lost,
        duplicates=found.duplicates,
        samples_by_work_order=books.work_orders,
        recorded=found.recorded,
        edges=found.edges,
        host=found.host,
        performances=written.jobs,
        performance_files=written.new_files,
        still_running=written.running,
        equations=equations,
        malformed_rows=[f"row {row.row}: {row.reason}" for row in day.malformed_rows[:20]],
        seconds=round(found.seconds, 1),
        ok=all(equation.holds for equation in equations),
    )


def _nothing(subject: str, text: str, count: int) -> Equation:
    return Equation(subject=subject, text=text, holds=count == 0)


async def _until_written(plant: PlantRun, server: Child, day: Day, say: Callable[[str], None]) -> None:
    """Follow the machine until its last row is written."""
    while True:
        message = await server.read_message(timeout_s=24 * 3600)
        plant.check()
        say(f"{message['written']} of {len(day.observations)} rows written")
        if message.get("done"):
            return


async def _until_read(plant: PlantRun, before: int, wanted: int, say: Callable[[str], None]) -> None:
    """Wait until the gateway has read what was written; if it stops reading, the equations will say what is missing."""
    newest, newest_at = before, time.monotonic()
    while newest < before + wanted and time.monotonic() - newest_at < READ_STALL_S:
        await asyncio.sleep(0.1)
        plant.check()
        read = int(plant.edge_stats()[GATEWAY].get("read", 0))
        if read > newest:
            newest, newest_at = read, time.monotonic()
            say(f"{newest - before} of {wanted} values read")


def _read_before(directory: Path) -> int:
    """What the gateway counted in earlier plays into the same store."""
    path = directory / f"{GATEWAY}.db"
    if not path.exists():
        return 0
    store = EdgeStore(path, identity=IDENTITY)
    try:
        return store.counters.read
    finally:
        store.close()


def _last_position(records: Path) -> int:
    if not records.exists():
        return 0
    with open_rows(records) as rows:
        return rows.last_position()


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments, play, print; 0 if every row is accounted for."""
    parser = argparse.ArgumentParser(prog="python -m examples.nist_day", description=__doc__)
    parser.add_argument("--file", type=Path, required=True, help="a machine's day as SHDR rows, plain or .gz")
    parser.add_argument("--speed", type=float, default=None, help="times real time; as fast as it goes, if not given")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--store", type=Path, default=None, help="keep the stores here; play again to see no change")
    parser.add_argument("--out", type=Path, default=None, help="write a B2MML WorkPerformance of each job here")
    parser.add_argument("--broker", default=os.environ.get("UNS_BROKER", "embedded"), help="embedded, mosquitto, a URL")
    options = parser.parse_args(arguments)
    never_fail_to_encode()
    if options.speed is not None and not options.speed > 0:
        parser.error("--speed must be above 0")
    directory = Path(tempfile.mkdtemp(prefix="uns-day-")) if options.store is None else options.store.resolve()
    out = None if options.out is None else options.out.resolve()
    say = _Progress(quiet=options.json)
    for option, folder in (("--store", directory), ("--out", out)):
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            print(f"{option} {folder}: {error.strerror}", file=sys.stderr)
            return 2
    outcome: Outcome | None
    try:
        if out is not None and (missing := missing_library()):
            raise ConfigurationError(f"--out: {missing}")
        day = load_day(options.file)
        outcome = asyncio.run(
            _interruptible(
                play(
                    day,
                    options.file.resolve(),
                    directory,
                    broker=options.broker,
                    speed=options.speed,
                    say=say,
                    out=out,
                )
            )
        )
    except UnsError as error:
        print(error, file=sys.stderr)
        return 3 if isinstance(error, UnreachableError) else 2
    except (KeyboardInterrupt, asyncio.CancelledError):
        outcome = None
    if options.store is None:  # after an error it stays: its logs tell more than the message
        shutil.rmtree(directory, ignore_errors=True)
    if outcome is None:
        return 130
    print(msgspec.json.format(msgspec.json.encode(outcome)).decode() if options.json else _text(outcome))
    return 0 if outcome.ok else 1


class _Progress:
    """One line a second on stderr, so that stdout stays the result."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._said_s = 0.0

    def __call__(self, text: str) -> None:
        now_s = time.monotonic()
        if not self._quiet and now_s - self._said_s >= 1.0:
            self._said_s = now_s
            print(text, file=sys.stderr, flush=True)


async def _interruptible(playing: Coroutine[Any, Any, Outcome]) -> Outcome:
    """SIGTERM ends it as Ctrl-C does: every process is stopped first."""
    task = asyncio.ensure_future(playing)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task


def _text(outcome: Outcome) -> str:
    head = f"{outcome.machine}: {outcome.jobs} jobs, {outcome.restated_intervals} context intervals restated, "
    lines = [f"{head}{outcome.recorded} samples in the record log, {outcome.seconds} s"]
    lines += [f"  {order}: {samples} samples" for order, samples in outcome.samples_by_work_order.items()]
    lines += [f"  performance of {job.job_order}: {_says(job)}" for job in outcome.performances]
    lines += [f"  no performance of {job}: it still runs where the file ends" for job in outcome.still_running]
    lines += [f"  malformed {reason}" for reason in outcome.malformed_rows]
    lines += [str(equation) for equation in outcome.equations]
    return "\n".join(lines)


def _says(job: JobPerformance) -> str:
    good = "" if job.good is None else f"good {job.good.normalize():f}, "
    return f"{good}{job.state}, {job.file}"


if __name__ == "__main__":
    sys.exit(main())
