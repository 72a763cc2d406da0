"""A small plant, and builders that default everything a test is not about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.enrichment.memory_log import MemoryLog
from uns.context.facts import Fact, FactAnswer
from uns.context.times import ns_of
from uns.enrichment.pipeline import Enricher
from uns.enrichment.samples import Provenance, Quality, SampleBatch
from uns.namespace.model import (
    ContextSource,
    Equipment,
    EquipmentClass,
    EquipmentLevel,
    MetricContract,
    Site,
    TopicTree,
)
from uns.sparkplug.datatypes import DataType

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
START = datetime(2026, 6, 3, 12, 0, tzinfo=UTC)
START_NS = ns_of(START) or 0


def at(seconds: float) -> int:
    """Nanoseconds, ``seconds`` after noon of 3 June 2026."""
    return START_NS + round(seconds * 1000) * 1_000_000


def when(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


TEMPERATURE = MetricContract(name="temperature", datatype=DataType.FLOAT, unit="CEL", role="quality")
COUNT = MetricContract(name="batch/count", datatype=DataType.UINT32, unit="C62", role="counter")
PHASE = MetricContract(name="batch/phase", datatype=DataType.STRING, role="context", provides="recipe_phase")
PROGRAM = MetricContract(name="program", datatype=DataType.STRING, role="context", provides="job")
PLC_LOT = MetricContract(name="lot", datatype=DataType.STRING, role="context", provides="lot")
TEMPERATURES = [MetricContract(name=f"t{number}", datatype=DataType.FLOAT, unit="CEL") for number in range(100)]


def plant(*, bridge_ns: int = 0, requires: tuple[str, ...] = ("job", "lot"), allow_parallel: bool = False) -> TopicTree:
    """acme/dallas/reaction/line2 with reactor4 (job, lot), reactor5 (the same) and mill1 (job by its program)."""
    base = ("acme", "dallas")
    metrics = {m.name: m for m in (TEMPERATURE, COUNT, PHASE, PLC_LOT, *TEMPERATURES)}
    classes = {
        "BatchReactor": EquipmentClass(
            name="BatchReactor", metrics=metrics, requires=requires, allow_parallel=allow_parallel
        ),
        "Mill": EquipmentClass(name="Mill", metrics={m.name: m for m in (TEMPERATURE, PROGRAM)}, requires=("job",)),
        "Plain": EquipmentClass(name="Plain", metrics={"temperature": TEMPERATURE}),
    }
    equipment = [
        Equipment(id="reaction", level=EquipmentLevel.AREA, path=(*base, "reaction"), site="dallas"),
        Equipment(
            id="line2",
            level=EquipmentLevel.PROCESS_CELL,
            path=(*base, "reaction", "line2"),
            site="dallas",
            parent="reaction",
        ),
    ]
    for name, class_name in (
        ("reactor4", "BatchReactor"),
        ("reactor5", "BatchReactor"),
        ("mill1", "Mill"),
        ("tank9", "Plain"),
    ):
        equipment.append(
            Equipment(
                id=name,
                level=EquipmentLevel.UNIT,
                path=(*base, "reaction", "line2", name),
                site="dallas",
                class_name=class_name,
                parent="line2",
                gateways=("gw-1",),
            )
        )
    return TopicTree(
        enterprise="acme",
        sites={"dallas": Site(id="dallas", time_zone="America/Chicago")},
        classes=classes,
        equipment={e.id: e for e in equipment},
        context={
            "mes": ContextSource(
                name="mes", provides=("job", "shift", "placement"), precedence=10, bridge_ns=bridge_ns
            ),
            "erp": ContextSource(name="erp", provides=("job", "lot"), precedence=5),
            "scanner": ContextSource(name="scanner", provides=("lot", "person", "material"), precedence=10),
            "plc": ContextSource(name="plc", provides=("job", "recipe_phase", "lot")),
        },
        contract_hash="test",
    )


def fact(kind: str = "job", **fields: Any) -> Fact:
    """A fact about reactor4 from noon on, by the source that usually states its kind."""
    source = {"lot": "scanner", "person": "scanner", "material": "scanner", "recipe_phase": "plc"}.get(kind, "mes")
    values: dict[str, Any] = {
        "id": f"{kind}:1",
        "kind": kind,
        "equipment": "reactor4",
        "valid_from": when(0),
        "source": source,
        "source_rev": "1",
    }
    if kind == "job":
        values |= {"job_order": "WO-1/0010", "work_order": "WO-1", "operation": "0010", "state": "running"}
    elif kind == "lot":
        values |= {"lot": "L-1"}
    for name in ("valid_from", "valid_to"):
        if isinstance(fields.get(name), (int, float)):
            fields[name] = when(fields[name])
    values |= fields
    if values.get("job_order", "") is None:
        values |= {"work_order": None, "operation": None, "state": None}
    return Fact(**values)


def provenance(**fields: Any) -> Provenance:
    values: dict[str, Any] = {
        "group_id": "acme.dallas",
        "edge_node_id": "gw-1",
        "device_id": "reactor4",
        "session": "s1",
        "bd_seq": 0,
        "seq": 1,
        "historical": False,
        "received_at_ns": at(0),
        "raw_position": 1,
    }
    return Provenance(**(values | fields))


def batch(*samples: tuple[Any, ...], equipment: str = "reactor4", **fields: Any) -> SampleBatch:
    """A payload of (contract, value, seconds[, quality[, ordinal]])."""
    values: dict[str, Any] = {
        "equipment": equipment,
        "metrics": [s[0] for s in samples],
        "values": [s[1] for s in samples],
        "times_ns": [at(s[2]) for s in samples],
        "qualities": [s[3] if len(s) > 3 else Quality.GOOD for s in samples],
        "ordinals": [s[4] if len(s) > 4 else None for s in samples],
        "provenance": provenance(device_id=equipment),
    }
    return SampleBatch(**(values | fields))


class Host:
    """An enricher with a record log, committed after every call; ``restart`` loads it anew."""

    def __init__(self, tree: TopicTree | None = None, **options: Any) -> None:
        self.tree = plant() if tree is None else tree
        self.log = MemoryLog()
        self.options = options
        self.now_ns = at(0)
        self.enricher = Enricher(self.tree, self.log, **options)

    def samples(self, *samples: tuple[Any, ...], limits: dict[str, int | None] | None = None, **fields: Any) -> None:
        limited = {"past_max_ns": None, "future_max_ns": None} if limits is None else limits
        self.enricher.receive_batch(batch(*samples, **fields), self.now_ns, **limited)
        self.commit()

    def fact(self, given: Fact) -> FactAnswer:
        answer = self.enricher.receive_fact(given, self.now_ns)
        self.commit()
        return answer

    def commit(self) -> None:
        self.log.apply(self.enricher.drain())
        self.enricher.committed()

    def restart(self, tree: TopicTree | None = None) -> None:
        self.tree = self.tree if tree is None else tree
        self.enricher = Enricher(self.tree, self.log, **self.options)
        self.enricher.load(self.log.state(self.tree), self.now_ns)
        self.commit()

    def context(self, seconds: float, equipment: str = "reactor4", metric: str = "temperature") -> dict[str, Any]:
        """The context of the record at that time."""
        return next(
            r.context
            for r in self.log.records()
            if r.equipment == equipment and r.source_time_ns == at(seconds) and r.metric == metric
        )
