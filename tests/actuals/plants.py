"""A line of two packing machines and a mill that names its jobs, written to a real record log by the real enricher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.enrichment.builders import START_NS, at, batch, when
from uns.actuals.book import JobBook
from uns.actuals.jobs import JobId, JobView
from uns.actuals.totals import JobActuals, JobRuns, job_actuals
from uns.adapters.sqlite.record_cursor import Progress, RecordCursor
from uns.adapters.sqlite.record_log import RecordIndexReader, RecordLog
from uns.context.facts import Fact, FactAnswer
from uns.enrichment.pipeline import Enricher
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

GOOD = MetricContract(name="good", datatype=DataType.UINT32, unit="C62", role="counter", counts="good", rollover=2**32)
SCRAP = MetricContract(name="scrap", datatype=DataType.UINT32, unit="C62", role="counter", counts="scrap")
ENERGY = MetricContract(name="energy", datatype=DataType.DOUBLE, unit="KWH", role="counter")
STATE = MetricContract(name="state", datatype=DataType.UINT16, role="state", times={"machine": (6,), "setup": (15, 3)})
EXECUTION = MetricContract(name="execution", datatype=DataType.STRING, role="state", times={"machine": ("ACTIVE",)})
TEMPERATURE = MetricContract(name="temperature", datatype=DataType.FLOAT, unit="CEL", range=(20, 30), role="quality")
SPEED = MetricContract(name="speed", datatype=DataType.FLOAT, unit="C94")
PROGRAM = MetricContract(name="program", datatype=DataType.STRING, role="context", provides="job")
LOT = MetricContract(name="lot", datatype=DataType.STRING, role="context", provides="lot")

JOB = JobId("WO-1/0010", "WO-1", "0010")
NEXT = JobId("WO-2/0010", "WO-2", "0010")


def line(*, allow_parallel: bool = False) -> TopicTree:
    base = ("acme", "dallas", "line7")
    classes = {
        "Packer": EquipmentClass(
            name="Packer",
            metrics={m.name: m for m in (GOOD, SCRAP, ENERGY, STATE, TEMPERATURE, SPEED)},
            requires=("job",),
            allow_parallel=allow_parallel,
        ),
        "Mill": EquipmentClass(
            name="Mill", metrics={m.name: m for m in (GOOD, EXECUTION, PROGRAM, LOT)}, requires=("job",)
        ),
    }
    equipment = [Equipment(id="line7", level=EquipmentLevel.PRODUCTION_LINE, path=base, site="dallas")]
    for name, class_name in (("packer1", "Packer"), ("packer2", "Packer"), ("mill1", "Mill")):
        equipment.append(
            Equipment(
                id=name,
                level=EquipmentLevel.WORK_CELL,
                path=(*base, name),
                site="dallas",
                class_name=class_name,
                parent="line7",
                gateways=("gw-1",),
            )
        )
    return TopicTree(
        enterprise="acme",
        sites={"dallas": Site(id="dallas", time_zone="America/Chicago")},
        classes=classes,
        equipment={e.id: e for e in equipment},
        context={
            "mes": ContextSource(name="mes", provides=("job",), precedence=10),
            "scanner": ContextSource(name="scanner", provides=("lot",), precedence=10),
        },
        contract_hash="test",
    )


def job(job_id: JobId = JOB, *, start: float = 0, end: float | None = None, **fields: Any) -> Fact:
    """A job fact of the MES; equal id and rising source_rev correct it."""
    values: dict[str, Any] = {
        "id": f"mes:{job_id.job_order}",
        "kind": "job",
        "equipment": "packer1",
        "job_order": job_id.job_order,
        "work_order": job_id.work_order,
        "operation": job_id.operation,
        "state": "running" if end is None else "completed",
        "valid_from": when(start),
        "valid_to": None if end is None else when(end),
        "source": "mes",
        "source_rev": "1",
    }
    return Fact(**(values | fields))


def lot(name: str, use: str | None = "Produced", *, start: float = 0, end: float | None = None, **fields: Any) -> Fact:
    values: dict[str, Any] = {
        "id": f"scan:{name}",
        "kind": "lot",
        "equipment": "packer1",
        "lot": name,
        "use": use,
        "material": "FG-77",
        "valid_from": when(start),
        "valid_to": None if end is None else when(end),
        "source": "scanner",
        "source_rev": "1",
    }
    return Fact(**(values | fields))


class Plant:
    """The enricher over ``records.db``, and a book that follows it."""

    def __init__(self, directory: Path, tree: TopicTree | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.tree = line() if tree is None else tree
        self.path = directory / "records.db"
        self.now_ns = START_NS
        self._open()
        self.book = JobBook(self.tree)
        self.reader = RecordCursor(self.path)
        self.progress = Progress()
        self.kept: dict[str, bytes] = {}
        self.raw = 0

    def _open(self) -> None:
        self.log = RecordLog(self.path, is_context=self._is_context)
        state, _ = self.log.load()
        self.index = RecordIndexReader(self.path)
        self.enricher = Enricher(self.tree, self.index)
        self.enricher.load(state, self.now_ns)

    def samples(self, *samples: tuple[Any, ...], equipment: str = "packer1") -> None:
        """(contract, value, seconds[, quality[, ordinal]])"""
        self.raw += 1
        self.now_ns += 1000
        self.enricher.receive_batch(
            batch(*samples, equipment=equipment), self.now_ns, past_max_ns=None, future_max_ns=None
        )
        self._commit()

    def fact(self, fact: Fact) -> FactAnswer:
        self.now_ns += 1000
        answer = self.enricher.receive_fact(fact, self.now_ns)
        self._commit()
        return answer

    def _commit(self) -> None:
        self.log.commit(self.enricher.drain(), joined=self.raw)
        self.enricher.committed()

    def _is_context(self, equipment: str, metric: str) -> bool:
        found = self.tree.class_of(equipment)
        return found is not None and found.metrics[metric].role == "context"

    def restart_host(self) -> None:
        self.index.close()
        self.log.close()
        self._open()

    def follow(self, *, positions_max: int = 20_000) -> list[JobId]:
        """Let the book read on to the head; which jobs changed, each once."""
        changed: dict[JobId, None] = {}
        while True:
            batch_read, progress, _ = self.reader.read(self.progress, positions_max=positions_max)
            if batch_read.is_empty():
                return list(changed)
            self.book.receive_batch(batch_read)
            self.progress = progress
            self.keep()
            changed |= dict.fromkeys(self.book.take_changed())

    def keep(self) -> None:
        for key, body in self.book.drain_state().items():
            if body is None:
                self.kept.pop(key, None)
            else:
                self.kept[key] = body

    def restart_book(self) -> None:
        """Another process: from what was kept."""
        self.book = JobBook(self.tree)
        self.book.load(self.kept)

    def view(self, job_id: JobId = JOB) -> JobView:
        self.follow()
        view = self.book.job(job_id)
        assert view is not None, f"no {job_id}; there are {self.book.jobs()}"
        return view

    def actuals(self, job_id: JobId = JOB, *, until: float | None = None, runs: JobRuns | None = None) -> JobActuals:
        return job_actuals(
            self.tree, self.reader, self.view(job_id), until_ns=None if until is None else at(until), runs=runs
        )

    def note(self, job_id: JobId = JOB) -> JobActuals:
        actuals = self.actuals(job_id)
        self.book.note(job_id, actuals.leanings)
        return actuals

    def close(self) -> None:
        self.reader.close()
        self.index.close()
        self.log.close()
