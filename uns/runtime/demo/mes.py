"""The MES of the demo: an order file for the inbox of a b2mml bridge, and what comes out of its outbox."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec

from uns.adapters.sqlite.record_cursor import RecordCursor
from uns.adapters.sqlite.record_rows import open_rows
from uns.context.facts import FactAnswer
from uns.namespace.model import TopicTree
from uns.runtime.accounting import Equation, bridge_equations, explanation_equation, performance_equation
from uns.runtime.demo.story import FIRST_ORDER, IDLE_AT, SECOND_AT, SECOND_ORDER
from uns.runtime.explain_order import Explanation, explain_order
from uns.runtime.performances import Performances, WrittenPerformance
from uns.runtime.plant_run import PlantRun, render_node_file
from uns.runtime.recount import Recount, recount

__all__ = ["ANSWER_TIMEOUT_S", "ORDERS", "ORDER_FILE", "PERFORMANCE_TIMEOUT_S", "MesPart", "MesReport", "said_of"]

ORDER_FILE, ORDERS = "orders.xml", (FIRST_ORDER, SECOND_ORDER)
BRIDGE_FILE = "mes.bridge.yaml"
GOOD = "good"
COUNTED_AT = ("reactor4", "batch/count")  # what counts the good of line 2
GRACE_S_MAX, GRACE_PART = 2.0, 0.1  # of the demo's time
ANSWER_TIMEOUT_S = 30.0
PERFORMANCE_TIMEOUT_S = 15.0  # beyond `grace`
_DOCUMENT_NAME = "schedule-2026-06-03"


class MesReport(msgspec.Struct, frozen=True, kw_only=True):
    """The loop with the MES: the order file that came in, the performance that went out, and its proof."""

    order_file: str
    orders: list[str]  # that the host accepted
    performances: int  # documents in the outbox
    performance: str | None  # the document of the first order
    response_id: str | None
    work_order: str
    good: Decimal | None
    counter: str
    counted: Recount | None  # from the rows of the record log, by a second look
    explanation: Explanation | None  # what `uns explain` says of it
    explain: str  # that command, for a kept directory
    bridge: dict[str, int]


class MesPart:
    """Folders and files of the bridge below the demo's directory."""

    def __init__(
        self, plant_files: Path, directory: Path, *, seconds: float, run: str, answers: Mapping[str, FactAnswer]
    ) -> None:
        self._plant_files = plant_files
        self._directory = directory
        self._seconds = seconds
        self._run = run
        self.grace_s = min(GRACE_S_MAX, GRACE_PART * seconds)
        self.inbox = directory / "mes" / "inbox"
        self.performances = Performances(directory / "mes" / "outbox")
        self._answers = answers  # of the host, to everybody, by the id of the fact

    async def start(self, plant: PlantRun, tree_file: Path) -> None:
        """Start the bridge; :meth:`PlantRun.until_bridge` waits for it."""
        for folder in (self.inbox, self.performances.folder):
            folder.mkdir(parents=True, exist_ok=True)
        self.performances.look()  # what an earlier run left in a kept directory
        config = self._directory / BRIDGE_FILE
        replacements = {
            "grace: 10s": f"grace: {self.grace_s * 1000:.0f}ms",
            "poll: 1s": "poll: 100ms",
            "settle: 2s": "settle: 0s",  # it is renamed into place, as a whole
            "../../topic_tree.yaml": str(tree_file),
            "mqtt://127.0.0.1:1883": plant.broker_url,
            "../../var/host": str(plant.store),
            "../../var/": f"{self._directory}/",
        }
        render_node_file(self._plant_files / BRIDGE_FILE, config, replacements)
        await plant.start_bridge(config)

    def drop(self, now_ns: int) -> Path:
        """Put the order file into the inbox, planned from now on."""
        now = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=now_ns // 1000)
        planned = {
            "2026-06-03T14:25:00-05:00": 0.0,  # when the document was made
            "2026-06-03T14:30:00-05:00": 0.0,
            "2026-06-03T16:00:00-05:00": IDLE_AT,
            "2026-06-03T16:15:00-05:00": SECOND_AT,
            "2026-06-03T17:45:00-05:00": 1.0,
        }
        times = {text: (now + timedelta(seconds=part * self._seconds)).isoformat() for text, part in planned.items()}
        part, file = self.inbox / f".{ORDER_FILE}.part", self.inbox / ORDER_FILE
        render_node_file(self._plant_files / ORDER_FILE, part, times | {_DOCUMENT_NAME: f"schedule-{self._run}"})
        part.rename(file)
        return file

    def answer_to(self, work_order: str) -> FactAnswer | None:
        """What the host answered to an order of the file; None while it has not."""
        return self._answers.get(f"{work_order}|{work_order}/0010")

    def accepted(self) -> list[str]:
        """The orders of the file that the host took."""
        answers = {order: self.answer_to(order) for order in ORDERS}
        return [order for order, answer in answers.items() if answer is not None and answer.accepted]

    def performance_of(self, work_order: str) -> WrittenPerformance | None:
        """What stands of an order in the outbox."""
        return next(
            (each for each in self.performances.standing().values() if each.response.work_order == work_order), None
        )

    def counted(self, store: Path, work_order: str) -> Recount | None:
        """What the rows of the record log say of an order. Blocks on the disk."""
        equipment, metric = COUNTED_AT
        with open_rows(store / "records.db") as rows:
            return recount(rows.records(equipment), metric).get(work_order)

    def is_told(self, store: Path) -> bool:
        """Whether the first order's document says what the rows say. Blocks on the disk."""
        found, counted = self.performance_of(FIRST_ORDER), self.counted(store, FIRST_ORDER)
        return (
            found is not None
            and found.response.good is not None
            and counted is not None
            and found.response.good.value == counted.quantity
        )

    def report(
        self, store: Path, tree: TopicTree, tree_file: Path, terms: Mapping[str, int]
    ) -> tuple[MesReport, list[Equation]]:
        """What became of it, after everything has stopped. Blocks on the disk."""
        with closing(RecordCursor(store / "records.db")) as cursor:
            explanation = explain_order(tree, cursor, FIRST_ORDER, quantity=GOOD)
        found = self.performance_of(FIRST_ORDER)
        counted = self.counted(store, FIRST_ORDER)
        said = None if found is None or found.response.good is None else found.response.good.value
        report = MesReport(
            order_file=ORDER_FILE,
            orders=self.accepted(),
            performances=len(self.performances.written),
            performance=None if found is None else str(found.file),
            response_id=None if found is None else found.response.response_id,
            work_order=FIRST_ORDER,
            good=said,
            counter="/".join(COUNTED_AT),
            counted=counted,
            explanation=explanation,
            explain=shlex.join(
                ["uns", "explain", FIRST_ORDER, "--quantity", GOOD, "--store", str(store), "--tree", str(tree_file)]
            ),
            bridge=dict(terms),
        )
        equations = [
            performance_equation(
                FIRST_ORDER, said=said, counted=None if counted is None else counted.quantity, how=_how(counted)
            ),
            explanation_equation(FIRST_ORDER, said=said, explained=explained_good(explanation)),
        ]
        return report, [*bridge_equations(terms), *equations]


def explained_good(explanation: Explanation | None) -> Decimal | None:
    """The quantity that ``uns explain`` gives, over all jobs of the order."""
    if explanation is None:
        return None
    values = [each.value for job in explanation.jobs for each in job.quantities if each.quantity == GOOD]
    return sum(values, Decimal(0)) if values else None


def said_of(found: WrittenPerformance) -> str:
    """A document in a line, for people."""
    response = found.response
    good = "" if response.good is None else f": good {response.good.value:f}"
    what = {"add": "performance", "replace": "corrected performance", "delete": "withdrawal"}[response.action]
    return f"{what} of {response.work_order or response.job_order} lies in the outbox{good}"


def _how(counted: Recount | None) -> str:
    if counted is None or counted.baseline is None or not counted.is_plain:
        return "/".join(COUNTED_AT)
    return f"{'/'.join(COUNTED_AT)}: last {counted.last.value} - baseline {counted.baseline.value}"
