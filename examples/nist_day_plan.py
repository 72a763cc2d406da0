"""What a machine's recorded day needs before it can be replayed: a tree, a node file, the jobs; and its books after.

Everything here is a function of the file, so that playing it again means the same.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import msgspec

from edge_nodes.simulators.replay import BATCH_ROWS_MAX, NAMESPACE_URI
from edge_nodes.simulators.shdr import Day, DayMetric
from uns.adapters.sqlite.record_rows import Record
from uns.context.facts import Fact

__all__ = [
    "Books",
    "Job",
    "balance",
    "bridge_text",
    "job_definitions",
    "jobs_of",
    "node_text",
    "notifications",
    "part_metric",
    "tree_text",
]

ENTERPRISE, SITE, TIME_ZONE = "nist", "gaithersburg", "America/New_York"
GATEWAY = "gw-replay"
IDENTITY = f"{ENTERPRISE}.{SITE}/{GATEWAY}"  # whom the gateway's store belongs to
HOST_ID = "uns-host-1"
PLANNER = "planner"
PART_KEYS = ("PartCountAct", "Part_Count", "part_count")
EXECUTION_KEYS = ("execution", "Program_Status")  # MTConnect's Execution: a machine works while it is ACTIVE
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Job(msgspec.Struct, frozen=True):
    """One job: the work order whose definition is a program."""

    program: str
    work_order: str

    @property
    def job_order(self) -> str:
        """Order and operation."""
        return f"{self.work_order}/0010"


def jobs_of(day: Day) -> list[Job]:
    """A job for every program that the day names, in order of appearance. A blank program is no job but idleness."""
    key = day.program_key
    programs = dict.fromkeys(str(o.value) for o in day.observations if o.key == key and str(o.value).strip())
    jobs: list[Job] = []
    taken: set[str] = set()
    for program in programs:
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", program).strip("-") or "program"
        work_order, number = f"WO-{name}", 2
        while work_order.lower() in taken:
            work_order = f"WO-{name}-{number}"
            number += 1
        taken.add(work_order.lower())
        jobs.append(Job(program, work_order))
    return jobs


def job_definitions(day: Day) -> list[Fact]:
    """One released job for each program: planned, not actual. The program starts it."""
    first_us = min((observation.time_us for observation in day.observations), default=0)
    return [
        Fact(
            id=f"{PLANNER}:{day.machine}:{job.work_order}",
            kind="job",
            equipment=day.machine,
            valid_from=_EPOCH + timedelta(microseconds=first_us),
            source=PLANNER,
            source_rev="1",
            by="nist-day",
            state="released",
            job_order=job.job_order,
            work_order=job.work_order,
            operation="0010",
            recipe=job.program,
        )
        for job in jobs_of(day)
    ]


def tree_text(day: Day) -> str:
    """A topic tree for the one machine."""
    metrics = "".join(
        f"      {_quoted(metric.name)}: {{type: {metric.kind}{_role(day, metric)}}}\n"
        for metric in day.metrics.values()
    )
    return (
        f"uns: 1\nenterprise: {ENTERPRISE}\nclasses:\n  Machine:\n    context: {{requires: [job]}}\n    metrics:\n"
        f"{metrics}"
        f"sites:\n  {SITE}:\n    time_zone: {TIME_ZONE}\n    equipment:\n      shop:\n        level: Area\n"
        f"        equipment:\n          machining:\n            level: WorkCenter\n            equipment:\n"
        f"              {_quoted(day.machine)}: {{level: WorkUnit, class: Machine, gateways: [{GATEWAY}]}}\n"
        f"context:\n  {PLANNER}: {{provides: [job], precedence: 10}}\n"
    )


def part_metric(day: Day) -> DayMetric | None:
    """The counter of good parts; None if the day has none that is a number."""
    found = (day.metrics[key] for key in PART_KEYS if key in day.metrics)
    return next((metric for metric in found if metric.kind == "Double"), None)


def _role(day: Day, metric: DayMetric) -> str:
    """What a metric tells besides its value: which job runs, how much of it is done, whether the machine works."""
    if metric.key == day.program_key:
        return ", role: context, provides: job"
    if metric == part_metric(day):
        return ", unit: C62, role: counter, counts: good"
    if metric.key in EXECUTION_KEYS and metric.kind == "String":
        return ", role: state, times: {machine: [ACTIVE]}"
    return ""


def bridge_text(*, tree: str, store: str, outbox: str) -> str:
    """A bridge that tells what every finished job did, at once: nothing comes late on a day that is over."""
    return (
        f"uns: 1\nbridge: day\nkind: b2mml\ntree: {_quoted(tree)}\nhost:\n  store: {_quoted(store)}\ngrace: 0s\n"
        f"target:\n  outbox: {_quoted(outbox)}\n  sender: {_quoted(f'uns-{SITE}')}\n"
    )


def node_text(day: Day, *, tree: str, broker_url: str, opcua_url: str) -> str:
    """The gateway's wiring: every change with its own time, nothing reduced, no limit to how old a stamp may be."""
    wiring = "".join(
        f"        {_quoted(metric.name)}: {{node: {_quoted(f'nsu={NAMESPACE_URI};s={metric.name}')}}}\n"
        for metric in day.metrics.values()
    )
    return (
        f"uns: 1\ngateway: {GATEWAY}\ntree: {_quoted(tree)}\nbroker: {{url: {_quoted(broker_url)}}}\n"
        f"store: {{path: {GATEWAY}.db}}\ndelivery: {{level: host, confirm_host_id: {HOST_ID}}}\n"
        f"sources:\n  machine:\n    kind: opcua\n    url: {_quoted(opcua_url)}\n"
        f"    trigger: status_value_timestamp\n    reduction: off\n    limits: unlimited\n"
        f"    publishing: 20ms\n    queue_size: {2 * BATCH_ROWS_MAX}\n"
        f"    equipment:\n      {_quoted(day.machine)}:\n{wiring}"
    )


def _quoted(text: str) -> str:
    return json.dumps(text)


def notifications(day: Day) -> int:
    """How many changes an OPC UA server tells of: a value written again with its own time is none."""
    written: dict[str, tuple[int, float | str]] = {}
    changes = 0
    for observation in day.observations:
        now = (observation.time_us, observation.value)
        if written.get(observation.key) != now:
            written[observation.key] = now
            changes += 1
    return changes


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """What of a day the record log holds. ``unexpected`` is in the log and in no row of the file."""

    samples: int
    statuses: dict[str, int]
    unexpected: int
    work_orders: dict[str, int]


def balance(day: Day, records: Iterable[Record], *, known_before: int) -> Books:
    """Match every record against the file by metric, time and value.

    A record at a position up to ``known_before`` that no row stands for belongs to another day in the same store.
    """
    expected: Counter[tuple[str, int, float | str]] = Counter(
        (day.metrics[o.key].name, o.time_us // 1000, o.value) for o in day.observations if not o.repeats
    )
    samples = unexpected = 0
    statuses: Counter[str] = Counter()
    work_orders: Counter[str] = Counter()
    for record in records:
        value = record.value
        key = (record.metric, record.source_time_ns // 1_000_000, value if isinstance(value, float | str) else "")
        if expected[key] > 0:
            expected[key] -= 1
            samples += 1
        elif record.position > known_before:
            unexpected += 1
        else:
            continue
        statuses[record.status] += 1
        if record.work_order is not None and record.status == "resolved":
            work_orders[record.work_order] += 1
    return Books(samples=samples, statuses=dict(statuses), unexpected=unexpected, work_orders=dict(work_orders))
