"""The plant of one seed: who is there, what the PLCs say, what work is done, and the oracle that remembers it all."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tests.simulation.world import MS, START_NS, World
from uns.context.facts import Fact
from uns.namespace.model import (
    ContextSource,
    Equipment,
    EquipmentClass,
    EquipmentLevel,
    MetricContract,
    Site,
    TopicTree,
)
from uns.source import Readings, RefusedReading
from uns.sparkplug.datatypes import DataType, Value
from uns.sparkplug.topics import EdgeNodeDescriptor

__all__ = [
    "BAD_STATUS",
    "GROUP",
    "HOST_ID",
    "EdgePlan",
    "Key",
    "MetricPlan",
    "Oracle",
    "Plc",
    "Sample",
    "draw_facts",
    "draw_plant",
    "spelled",
    "tree_of",
]

GROUP = "acme.dallas"
HOST_ID = "uns-host-1"
BAD_STATUS = 0x8005_0000
UNCERTAIN_STATUS = 0x4092_0000
CLASS = "Machine"
LINE = "line0"

Key = tuple[str, str, int, int]  # device, metric, source time in ms, ordinal
Sample = tuple[Value, int]  # value, status code

_TYPES = (DataType.UINT32, DataType.INT64, DataType.DOUBLE, DataType.STRING, DataType.UINT64)


@dataclass(frozen=True)
class MetricPlan:
    """One metric of one edge node; its number is its place in :attr:`EdgePlan.metrics`."""

    device_id: str
    name: str
    datatype: DataType
    reduced: bool
    provides: str | None = None


@dataclass
class EdgePlan:
    """One gateway: what it reads and how often."""

    descriptor: EdgeNodeDescriptor
    metrics: list[MetricPlan]
    poll_ms: float
    commit_ms: float
    metrics_max: int  # in one payload

    @property
    def devices(self) -> list[str]:
        return sorted({metric.device_id for metric in self.metrics})


def draw_plant(world: World) -> list[EdgePlan]:
    """One to three gateways; sometimes two of them feed one equipment with different metrics."""
    rng = world.random
    fast = world.chance(0.25)  # one gateway that wraps its seq
    plans = []
    equipment = 0
    for number in range(1 if fast else rng.randint(1, 3)):
        metrics = []
        for device in range(rng.randint(1, 2)):
            shared = number > 0 and device == 0 and world.chance(0.3)
            device_id = "machine0" if shared else f"machine{equipment}"
            equipment += not shared
            metrics += [
                MetricPlan(device_id, f"gw{number}/m{index}", rng.choice(_TYPES), reduced=world.chance(0.4))
                for index in range(rng.randint(1, 4))
            ]
            if world.chance(0.2):  # the PLC says the phase of its recipe
                metrics.append(
                    MetricPlan(device_id, f"gw{number}/phase", DataType.STRING, reduced=True, provides="recipe_phase")
                )
        poll_ms = rng.uniform(40, 90) if fast else rng.uniform(200, 900)
        descriptor = EdgeNodeDescriptor(GROUP, f"gw-{number}{rng.choice(('', '', ' Süd', '$1', '.名'))}")
        plans.append(
            EdgePlan(
                descriptor,
                metrics,
                poll_ms=poll_ms,
                commit_ms=rng.uniform(0.3, 1.5) * poll_ms,
                metrics_max=rng.choice((2, 5, 500)),
            )
        )
    return plans


def tree_of(world: World, plans: list[EdgePlan]) -> TopicTree:
    """The topic tree that declares this plant: a line, some machines in it and some beside it, a class for each."""
    gateways: dict[str, list[str]] = {}
    metrics: dict[str, dict[str, MetricContract]] = {}
    for plan in plans:
        for metric in plan.metrics:
            ways = gateways.setdefault(metric.device_id, [])
            if plan.descriptor.edge_node_id not in ways:
                ways.append(plan.descriptor.edge_node_id)
            metrics.setdefault(metric.device_id, {})[metric.name] = MetricContract(
                name=metric.name,
                datatype=metric.datatype,
                role="measurement" if metric.provides is None else "context",
                provides=metric.provides,
            )
    line = Equipment(id=LINE, level=EquipmentLevel.PROCESS_CELL, path=("acme", "dallas", LINE), site="dallas")
    equipment = {LINE: line}
    classes = {}
    for device_id, found in metrics.items():
        in_line = world.chance(0.5)
        classes[f"{CLASS}-{device_id}"] = EquipmentClass(
            name=f"{CLASS}-{device_id}", metrics=found, requires=world.random.choice(((), ("job",), ("job", "lot")))
        )
        equipment[device_id] = Equipment(
            id=device_id,
            level=EquipmentLevel.UNIT,
            path=("acme", "dallas", LINE, device_id) if in_line else ("acme", "dallas", device_id),
            site="dallas",
            class_name=f"{CLASS}-{device_id}",
            parent=LINE if in_line else None,
            gateways=tuple(gateways[device_id]),
        )
    return TopicTree(
        enterprise="acme",
        sites={"dallas": Site(id="dallas", time_zone="America/Chicago")},
        classes=classes,
        equipment=equipment,
        context={
            "mes": ContextSource(name="mes", provides=("job",), precedence=10),
            "scanner": ContextSource(name="scanner", provides=("lot",), precedence=10),
            "plc": ContextSource(name="plc", provides=("recipe_phase",)),
        },
        contract_hash="0" * 64,
    )


def draw_facts(world: World, tree: TopicTree, duration_s: float) -> list[tuple[float, Fact]]:
    """What MES and scanner state, and when they get round to it: on time, early, late, corrected, taken back."""
    rng = world.random
    drawn = []
    for number in range(rng.randrange(0, 12)):
        starts_s = rng.uniform(-5, duration_s)
        lot = world.chance(0.3)
        values: dict[str, object] = {
            "id": f"{'lot' if lot else 'job'}:{number}",
            "equipment": rng.choice(list(tree.equipment)),
            "valid_from": _when(starts_s),
            "valid_to": _when(starts_s + rng.uniform(0.5, 8)) if world.chance(0.4) else None,
            "source_rev": "1",
        }
        if lot:
            values |= {"kind": "lot", "source": "scanner", "lot": f"L-{number:04}", "use": "Produced"}
        elif world.chance(0.15):
            values |= {"kind": "job", "source": "mes", "job_order": None}
        else:
            order = f"WO-{number:05}"
            values |= {"kind": "job", "source": "mes", "job_order": f"{order}/0010", "work_order": order}
            values |= {"operation": "0010", "state": "running"}
        sent_s = max(0.0, starts_s + rng.choice((0.0, rng.uniform(-2, 2), rng.uniform(0, 15))))
        drawn.append((sent_s, Fact(**values)))  # type: ignore[arg-type]
        if world.chance(0.3):
            values |= {"source_rev": "2", "valid_from": _when(starts_s + rng.uniform(-3, 0.4))}
            if world.chance(0.3):
                values["action"] = "delete"
            drawn.append((max(0.0, sent_s + rng.uniform(-1, 10)), Fact(**values)))  # type: ignore[arg-type]
    return drawn


def _when(seconds: float) -> datetime:
    start = datetime.fromtimestamp(START_NS // 1_000_000_000, UTC)
    return start + timedelta(milliseconds=round(seconds * 1_000))


@dataclass
class Plc:
    """Says counters. Survives every crash of the gateway, and repeats its newest reading to whoever subscribes anew."""

    world: World
    plan: EdgePlan
    counters: list[int] = field(default_factory=list)
    newest: dict[int, tuple[int, Value, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.counters = [0] * len(self.plan.metrics)

    def read(self, *, without: Collection[str] = ()) -> Readings:
        """What one poll or publish result brings: some metrics, several samples of one ms now and then."""
        world, rng = self.world, self.world.random
        readings = Readings([], [], [], [])
        for number, metric in enumerate(self.plan.metrics):
            if world.chance(0.25) or metric.device_id in without:
                continue
            time_ns = max(world.now_ns - rng.randrange(0, 20 * MS), self.newest.get(number, (0,))[0])
            for _ in range(1 if world.chance(0.85) else rng.randint(2, 4)):
                if not (metric.reduced and world.chance(0.9 if metric.provides else 0.3)):
                    self.counters[number] += 1
                status = 0 if world.chance(0.95) else rng.choice((BAD_STATUS, UNCERTAIN_STATUS))
                value = None if status == BAD_STATUS else spelled(metric.datatype, self.counters[number])
                readings.metrics.append(number)
                readings.values.append(value)
                readings.times_ns.append(time_ns)
                readings.status_codes.append(status)
                self.newest[number] = (time_ns, value, status)
                time_ns += rng.choice((0, 100, 250_000, MS))
        if world.chance(0.02):
            readings.refused.append(RefusedReading(0, "out_of_range", "300"))
        return readings

    def last_words(self) -> Readings:
        """One new value of each metric."""
        readings = Readings([], [], [], [])
        for number, metric in enumerate(self.plan.metrics):
            self.counters[number] += 1
            time_ns = max(self.world.now_ns, self.newest.get(number, (0,))[0] + MS)
            value = spelled(metric.datatype, self.counters[number])
            self.newest[number] = (time_ns, value, 0)
            readings.metrics.append(number)
            readings.values.append(value)
            readings.times_ns.append(time_ns)
            readings.status_codes.append(0)
        return readings

    def subscribe(self) -> Readings:
        """A new subscription says the newest value of each metric again."""
        readings = Readings([], [], [], [])
        for number, (time_ns, value, status) in self.newest.items():
            readings.metrics.append(number)
            readings.values.append(value)
            readings.times_ns.append(time_ns)
            readings.status_codes.append(status)
        return readings


def spelled(datatype: DataType, counter: int) -> Value:
    """The counter as a value of that type."""
    if datatype is DataType.DOUBLE:
        return counter / 8
    if datatype is DataType.STRING:
        return f"n{counter}"
    if datatype is DataType.UINT64:
        return 2**64 - 1 - counter
    if datatype is DataType.INT64:
        return -counter
    return counter


@dataclass
class Oracle:
    """Everything that any edge committed, by key, as the plant meant it."""

    samples: dict[Key, Sample] = field(default_factory=dict)
    dropped: set[Key] = field(default_factory=set)  # by a quota: they may have arrived all the same
    newest: dict[tuple[str, str], tuple[int, int, Value, int]] = field(default_factory=dict)

    def stored(self, metric: MetricPlan, time_ns: int, ordinal: int, value: Value, status: int) -> None:
        key = (metric.device_id, metric.name, time_ns // MS, ordinal)
        assert key not in self.samples, f"the edge gave one key to two samples: {key}"
        self.samples[key] = (value, status)
        self.newest[metric.device_id, metric.name] = (time_ns // MS, ordinal, value, status)
