"""B2MML as a target: each unit of work is a finished job, its document a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.actuals.plants import line
from tests.bridges.contract.harness import Work
from tests.bridges.contract.suite import BridgeContract
from tests.bridges.logs import HandLog, S
from uns.actuals.jobs import JobId
from uns.adapters.folder import FolderOutbox, file_name
from uns.bridges.b2mml.mapping import response_id
from uns.bridges.b2mml.outbound import PerformanceMapping
from uns.bridges.b2mml.responses import read_performance
from uns.bridges.port import OutboundItem
from uns.enrichment.plan import MAX_NS
from uns.runtime.bridge.b2mml import B2mmlTarget

LONG_AGO_NS = 1_577_836_800 * S  # 2020-01-01


class JobLog(HandLog):
    """Each value is a job of a minute, long over."""

    def write(self, *values: Any, **_: Any) -> int:
        plan = self._plan()
        first = self.next_position
        for value in values:
            from_ns = LONG_AGO_NS + self.next_position * 60 * S
            to_ns = from_ns + 60 * S
            body = msgspec.json.encode({"status": "resolved", "job_order": str(value)}).decode()
            row = (self._take(), "packer1", from_ns, to_ns, 0, from_ns, MAX_NS, "resolved", None, body, "first")
            plan.intervals_opened.append(row)
        self._commit(plan)
        return first


class RefusingMapping(PerformanceMapping):
    """Fails for some jobs, as a bug would."""

    def __init__(self, broken: set[str]) -> None:
        super().__init__(line(), sender="uns-dallas", grace_ns=0, turn_max=1)
        self._broken = broken

    def _document(self, job: JobId, now_ns: int) -> OutboundItem | None:
        if job.job_order in self._broken:
            raise ArithmeticError("a bug")
        return super()._document(job, now_ns)


class B2mmlHarness:
    name = "b2mml"
    ordered = False  # jobs have nothing to do with one another; documents of one job go in order
    positions_max = 1000
    kinds = frozenset({"transient", "business", "poison"})
    make_log = JobLog

    def __init__(self, directory: Path) -> None:
        self.folder = directory / "out"
        self.away = directory / "out-unmounted"
        self.folder.mkdir()
        self.refused: set[Path] = set()
        self.broken: set[str] = set()

    def bridge(self) -> Any:
        return RefusingMapping(self.broken), B2mmlTarget(outbox=FolderOutbox(self.folder), inbox=None, intake=None)

    async def delivered(self) -> list[float]:
        if not self.folder.exists():
            return []
        files = sorted(set(self.folder.glob("*.xml")) - self.refused, key=lambda path: path.stat().st_mtime_ns)
        return [float(read_performance(path.read_bytes()).responses[0].job_order) for path in files]

    async def trouble(self, kind: str | None) -> None:
        if kind is None:
            if self.away.exists():
                self.away.rename(self.folder)
        else:
            self.folder.rename(self.away)

    async def refuse(self, value: float, kind: str | None) -> None:
        path = self.folder / file_name(response_id(f"|{value}|", 0, site="dallas"), ".xml")
        if kind is None:
            path.unlink(missing_ok=True)
            self.refused.discard(path)
        elif kind == "poison":
            self.broken.add(str(value))
        else:
            path.write_text("of somebody else")
            self.refused.add(path)


@pytest.fixture
def work(tmp_path: Path):
    made = Work(B2mmlHarness(tmp_path), tmp_path)
    yield made
    made.log.close()


class TestB2mmlBridge(BridgeContract):
    pass
