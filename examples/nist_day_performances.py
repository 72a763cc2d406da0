"""The performances of a machine's day: a b2mml bridge reads the record log, and its documents are taken and held to it.

The bridge is the one that plants run, as a process. Whoever takes its documents books each key once, as docs/reference/
b2mml.md asks of a receiver: so a folder may take the same day again, from other stores too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

import msgspec

from edge_nodes.simulators.shdr import Day
from examples.nist_day_plan import bridge_text, part_metric
from uns.adapters.sqlite.record_rows import RecordRows, open_rows
from uns.context.times import MAX_NS
from uns.errors import UnreachableError
from uns.runtime.accounting import Equation, bridge_terms, sum_equation
from uns.runtime.performances import Performances, WrittenPerformance
from uns.runtime.plant_run import PlantRun
from uns.runtime.recount import recount

__all__ = ["JobPerformance", "Written", "take_documents", "write_performances"]

BRIDGE_FILE = "day.bridge.yaml"
ITEMS = ("delivered", "waiting", "in_doubt", "dead_letters", "dropped")


class JobPerformance(msgspec.Struct, frozen=True, kw_only=True):
    """What stands of one job in the folder."""

    work_order: str | None
    job_order: str
    state: str
    good: Decimal | None
    file: str


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the day's performances."""

    new_files: int
    jobs: list[JobPerformance]
    running: list[str]  # jobs that have no end in the file, so that there is nothing to tell yet
    equations: list[Equation]


async def write_performances(plant: PlantRun, day: Day, tree: Path, out: Path) -> Written:
    """Run the bridge over the record log until it has told everything, then take its documents into ``out``."""
    outbox = plant.directory / "outbox"
    outbox.mkdir(exist_ok=True)
    config = plant.directory / BRIDGE_FILE
    config.write_text(bridge_text(tree=str(tree), store=str(plant.store), outbox=str(outbox)), encoding="utf-8")
    with open_rows(plant.store / "records.db") as rows:
        last_position = rows.last_position()
    await plant.start_bridge(config)
    await plant.until_bridge(
        lambda stats: (
            stats["state"] == "running"
            and stats["position"] >= max(last_position, stats["head"])
            and not (stats["pending"] or stats["waiting"] or stats["in_doubt"])
        ),
        "every performance is written",
    )
    terms = bridge_terms(await plant.stop_bridge())
    made = Performances(outbox)
    made.look()
    new_files, contradicted = take_documents(made.written, out)
    standing = made.standing()
    with open_rows(plant.store / "records.db") as rows:
        finished, running = _jobs(rows, day.machine)
        metric = part_metric(day)
        counted = {} if metric is None else recount(rows.records(day.machine), metric.name)
    equations = [
        sum_equation("bridge", "items", ITEMS, terms),
        _equation(f"finished jobs {len(finished)} = jobs with a document {len(standing)}", finished == set(standing)),
        _equation(f"keys said otherwise than before {contradicted} = 0", not contradicted),
    ]
    if metric is not None:
        said = {each.response.work_order or "": _good(each) for each in standing.values()}
        shown = {order: counted[order].quantity if order in counted else Decimal(0) for order in said}
        equations.append(
            _equation(f"good {_sum(said.values())} in documents = {_sum(shown.values())} in samples", said == shown)
        )
    return Written(
        new_files=new_files,
        jobs=[
            JobPerformance(
                work_order=each.response.work_order,
                job_order=each.response.job_order,
                state=each.response.state.value,
                good=None if each.response.good is None else each.response.good.value,
                file=each.file.name,
            )
            for each in standing.values()
        ],
        running=sorted(running),
        equations=equations,
    )


def take_documents(documents: Iterable[WrittenPerformance], out: Path) -> tuple[int, int]:
    """Book each key once: how many are new, and how many say something else than the one that is there."""
    there = Performances(out)
    there.look()
    known = {each.response.response_id: each for each in there.written}
    new = contradicted = 0
    for each in documents:
        before = known.get(each.response.response_id)
        if before is not None:
            contradicted += _content(before) != _content(each)
            continue
        part = out / f".{each.file.name}.part"
        part.write_bytes(each.file.read_bytes())
        part.rename(out / each.file.name)
        new += 1
    return new, contradicted


def _content(each: WrittenPerformance) -> bytes:
    """Everything but when it was written."""
    told = msgspec.to_builtins(each.response)
    return msgspec.json.encode({name: value for name, value in told.items() if name != "published_at"})


def _jobs(rows: RecordRows, machine: str) -> tuple[set[str], set[str]]:
    """Jobs that ran, by their intervals: those that run no more, and those that still do."""
    ends: dict[str, int] = {}
    for _, to_ns, _, body in rows.intervals(machine):
        job = json.loads(body).get("job_order")
        if job is not None:
            ends[job] = max(to_ns, ends.get(job, to_ns))
    running = {job for job, to_ns in ends.items() if to_ns == MAX_NS}
    return set(ends) - running, running


def _good(each: WrittenPerformance) -> Decimal:
    if each.response.good is None:
        raise UnreachableError(f"{each.file}: no quantity, though the machine counts parts")
    return each.response.good.value


def _sum(amounts: Iterable[Decimal]) -> str:
    return f"{sum(amounts, Decimal(0)).normalize():f}"


def _equation(text: str, holds: bool) -> Equation:
    return Equation(subject="performances", text=text, holds=holds)
