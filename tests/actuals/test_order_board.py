"""``_wo`` and ``_lot`` say what the log says: whatever the order of arrival, also after a restart."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec
import pytest

from tests.actuals.plants import GOOD, NEXT, SCRAP, STATE, Plant, job, line, lot
from tests.enrichment.builders import START_NS, when
from uns.actuals.jobs import JobId
from uns.actuals.order_board import OrderLimits
from uns.actuals.orders import LotState, WorkOrderState
from uns.runtime.host.order_state import OrderFollower, OrderStateLimits

S = 1_000_000_000
WO = "uns1/acme/dallas/_wo/"
LOT = "uns1/acme/dallas/_lot/"
OTHER = JobId("WO-1/0020", "WO-1", "0020")


class View:
    """A follower of a plant's log, and what the broker would retain."""

    def __init__(self, plant: Plant, **limits: Any) -> None:
        self.plant = plant
        self.limits = OrderStateLimits(shown=OrderLimits(**limits))
        self.retained: dict[str, bytes] = {}
        self.published: list[tuple[str, bytes]] = []
        self.now_ns = START_NS
        self.follower: OrderFollower | None = None

    def restart(self) -> None:
        """kill -9, and a new process."""
        if self.follower is not None:
            self.follower.close()
        self.follower = None

    def follow(self, *, after_s: float = 2.0) -> dict[str, Any]:
        """Time passes, everything is read; what is retained then, as documents."""
        self.now_ns = max(self.now_ns, self.plant.now_ns) + int(after_s * S)
        if self.follower is None:
            self.follower = OrderFollower(self.plant.tree, self.plant.path, self.limits, self.now_ns)
        more = True
        while more:
            messages, more = self.follower.step(self.now_ns)
            for message in messages:
                assert (message.qos, message.retain) == (1, True)
                self.published.append((message.topic, message.payload))
                self.retained[message.topic] = message.payload
                if not message.payload:
                    del self.retained[message.topic]
        return {topic: json.loads(payload) for topic, payload in self.retained.items()}

    def order(self, name: str = "WO-1") -> Any:
        return self.follow()[WO + name]

    def figures(self) -> dict[str, int]:
        assert self.follower is not None
        return self.follower.figures()


@pytest.fixture
def make_view(plant: Plant) -> Iterator[Callable[..., View]]:
    views: list[View] = []

    def make(**limits: Any) -> View:
        views.append(View(plant, **limits))
        return views[-1]

    yield make
    for view in views:
        view.restart()


@pytest.fixture
def view(make_view: Callable[..., View]) -> View:
    return make_view()


def test_an_order_is_shown_with_its_jobs_quantities_times_and_lots(plant: Plant, view: View) -> None:
    plant.fact(job(OTHER, id="plan", state="released", start=100, end=200, recipe="R-7@2"))
    plant.samples((GOOD, 100, -5), (SCRAP, 7, -5), (STATE, 6, -5))
    plant.fact(job(start=0))
    plant.fact(lot("L/1", start=0))
    plant.samples((GOOD, 101, 5), (SCRAP, 9, 6), (STATE, 15, 20), (GOOD, 3, 40))
    document = view.order()
    assert WorkOrderState is type(msgspec.json.decode(view.retained[WO + "WO-1"], type=WorkOrderState))
    assert (document["state"], document["equipment"]) == ("Running", ["packer1"])
    assert document["log"]["to"] == plant.reader.head()
    first, second = document["jobs"]
    assert (first["job_order"], first["operation"], first["state"]) == ("WO-1/0010", "0010", "Running")
    assert first["good"] == {"value": "4", "unit": "C62", "steps": {"reset": 1}}
    assert first["scrap"]["value"] == "2"
    assert (first["machine_time_s"], first["setup_time_s"]) == ("20", "20")
    assert first["actual"] == {"from": when(0).strftime("%Y-%m-%dT%H:%M:%S.000Z")}
    assert first["lots"] == [{"lot": "L/1", "material": "FG-77", "use": "Produced"}]
    assert (second["state"], second["recipe"], set(second["planned"])) == ("Waiting", "R-7@2", {"from", "to"})
    assert "good" not in second
    made = json.loads(view.retained[LOT + "L~2F1"])
    assert (made["materials"], made["uses"], made["in_use"]) == (["FG-77"], ["Produced"], True)
    (in_job,) = made["jobs"]
    assert (in_job["work_order"], in_job["good"]["value"], in_job["equipment"]) == ("WO-1", "4", ["packer1"])


def test_a_lot_has_what_was_counted_while_it_was_there_and_a_consumed_one_has_no_quantity(
    plant: Plant, view: View
) -> None:
    plant.samples((GOOD, 10, -5))
    plant.fact(job(start=0, end=60))
    plant.fact(lot("L-1", start=0, end=30))
    plant.fact(lot("L-2", start=30, end=60))
    plant.fact(lot("RM-1", "Consumed", start=0, end=60))
    plant.samples((GOOD, 14, 10), (GOOD, 16, 29), (GOOD, 23, 31), (GOOD, 25, 59))
    found = view.follow()
    assert found[WO + "WO-1"]["jobs"][0]["good"]["value"] == "15"
    assert [found[LOT + name]["jobs"][0]["good"]["value"] for name in ("L-1", "L-2")] == ["6", "9"]
    consumed = found[LOT + "RM-1"]
    assert consumed["uses"] == ["Consumed"]
    assert "in_use" not in consumed  # as every field that has its default
    assert "good" not in consumed["jobs"][0]


def test_late_samples_corrections_and_deleted_facts_change_what_is_shown(plant: Plant, view: View) -> None:
    plant.samples((GOOD, 10, -5))
    plant.fact(job(start=0, end=60))
    plant.samples((GOOD, 20, 10), (GOOD, 30, 50))
    assert view.order()["jobs"][0]["good"]["value"] == "20"
    plant.samples((GOOD, 28, 20))  # late, between two others
    plant.samples((GOOD, 31, 59))
    assert view.order()["jobs"][0]["good"]["value"] == "21"
    plant.samples((GOOD, 12, -2))  # the baseline
    assert view.order()["jobs"][0]["good"]["value"] == "19"
    plant.fact(job(start=0, end=30, source_rev="2"))
    assert view.order()["jobs"][0]["good"]["value"] == "16"
    plant.fact(job(NEXT, start=30, end=60))
    assert view.order("WO-2")["jobs"][0]["good"]["value"] == "3"
    plant.fact(job(start=0, end=30, source_rev="3", action="delete"))
    assert WO + "WO-1" not in view.follow()
    assert view.published[-1] == (WO + "WO-1", b"")
    assert view.order("WO-2")["jobs"][0]["good"]["value"] == "3"


def test_nothing_is_published_where_nothing_changed_and_at_most_once_an_interval(plant: Plant, view: View) -> None:
    plant.fact(job(start=0))
    plant.samples((GOOD, 1, 1))
    view.follow()
    assert len(view.published) == 1
    plant.samples((GOOD, 5, 1), equipment="packer2")
    view.follow()
    view.follow()
    assert len(view.published) == 1
    for value in range(2, 6):
        plant.samples((GOOD, value, value))
        view.follow(after_s=0)
    assert len(view.published) == 2  # the second one, and the others wait for the interval to end
    assert view.order()["jobs"][0]["good"]["value"] == "4"
    assert len(view.published) == 3


def history(plant: Plant) -> list[Callable[[], Any]]:
    """Facts and samples of two jobs and two lots, a correction among them, to be told in any order."""
    facts = [
        job(OTHER, id="plan", state="released", start=200, end=300),
        job(start=0, end=70),
        job(start=5, end=60, source_rev="2"),
        job(NEXT, start=60, end=100, equipment="line7"),
        lot("L-1", start=0, end=60),
        lot("L-2", start=30, end=90, also=True),
    ]
    told: list[Callable[[], Any]] = [partial(plant.fact, fact) for fact in facts]
    counts = {-5: 90, 2: 92, 10: 100, 20: 3, 30: 11, 45: 12, 61: 20, 70: 4, 99: 9}
    told += [partial(plant.samples, (GOOD, count, second)) for second, count in counts.items()]
    told += [partial(plant.samples, (STATE, 6 if second % 20 else 15, second)) for second in range(0, 90, 10)]
    return told


def without_provenance(documents: dict[str, Any]) -> dict[str, Any]:
    return {topic: {k: v for k, v in doc.items() if k not in {"as_of", "log"}} for topic, doc in documents.items()}


@pytest.mark.parametrize("seed", range(6))
def test_the_order_of_arrival_does_not_matter_nor_when_it_was_looked_at_nor_restarts(
    make_plant: Callable[..., Plant], seed: int
) -> None:
    straight = make_plant()
    for tell in history(straight):
        tell()
    expected = without_provenance(View(straight).follow())
    assert {topic.rpartition("/")[2] for topic in expected} == {"WO-1", "WO-2", "L-1", "L-2"}
    chance = random.Random(seed)
    mixed = make_plant()
    told = history(mixed)
    chance.shuffle(told)
    view = View(mixed)
    for tell in told:
        tell()
        if chance.random() < 0.5:
            view.follow(after_s=chance.choice([0, 0, 2]))
        if chance.random() < 0.1:
            view.restart()
    assert without_provenance(view.follow()) == expected


def test_what_is_over_is_taken_away_after_the_horizon_also_if_the_host_was_away_then(
    plant: Plant, make_view: Callable[..., View]
) -> None:
    view = make_view(horizon_ns=3600 * S)
    plant.fact(job(start=0, end=60))
    plant.fact(lot("L-1", start=0, end=60))
    plant.samples((GOOD, 1, 1), (GOOD, 5, 50))
    assert set(view.follow()) == {WO + "WO-1", LOT + "L-1"}
    assert set(view.follow(after_s=3500)) == {WO + "WO-1", LOT + "L-1"}
    view.restart()
    assert view.follow(after_s=200) == {}
    assert {topic for topic, payload in view.published if not payload} == {WO + "WO-1", LOT + "L-1"}
    assert view.figures()["beyond_horizon"] == 2
    # A correction brings it back, whole: also the part that nobody spoke of.
    plant.now_ns = view.now_ns
    plant.fact(job(start=0, end=40, source_rev="2"))
    assert view.order()["jobs"][0]["good"]["value"] == "0"
    view.restart()
    published = len(view.published)
    assert set(view.follow()) == {WO + "WO-1", LOT + "L-1"}
    assert all(payload for _, payload in view.published[published:])


def test_an_order_from_before_the_horizon_comes_back_whole(plant: Plant, make_view: Callable[..., View]) -> None:
    view = make_view(horizon_ns=3600 * S)
    plant.fact(job(start=0, end=60))
    plant.fact(job(OTHER, equipment="packer2", start=0, end=60))
    plant.samples((GOOD, 1, 1), (GOOD, 5, 50))
    plant.samples((GOOD, 1, 1), (GOOD, 9, 50), equipment="packer2")
    plant.now_ns += 7200 * S
    plant.samples((GOOD, 9, 7200))  # the host lives: WO-1 left the horizon long ago
    assert view.follow() == {}
    assert view.published == []
    plant.fact(job(start=0, end=70, source_rev="2"))
    assert [job_["good"]["value"] for job_ in view.order()["jobs"]] == ["4", "8"]


def test_beyond_the_bound_the_open_and_newest_are_shown_and_the_rest_is_counted(
    plant: Plant, make_view: Callable[..., View]
) -> None:
    view = make_view(topics_max=2)
    for n in range(5):
        plant.fact(job(JobId(f"J-{n}", f"WO-{n}"), start=10 * n, end=10 * n + 5))
        plant.samples((GOOD, n, 10 * n + 1))
    plant.fact(job(JobId("J-9", "WO-9"), equipment="packer2", start=0))
    plant.samples((GOOD, 1, 1), equipment="packer2")
    view.follow()
    assert set(view.follow(after_s=20)) == {WO + "WO-9", WO + "WO-4"}
    assert view.figures()["beyond_bound"] == 4
    plant.fact(job(JobId("J-10", "WO-10"), start=60))
    plant.samples((GOOD, 9, 61))
    assert set(view.follow(after_s=20) | view.follow(after_s=20)) == {WO + "WO-9", WO + "WO-10"}


def test_a_document_beyond_the_bound_is_not_shown_and_counted(plant: Plant, make_view: Callable[..., View]) -> None:
    view = make_view(document_bytes_max=300)
    plant.fact(job(start=0))
    plant.samples((GOOD, 1, 1))
    assert view.follow() == {}
    assert view.figures()["too_large"] == 1


def test_totals_of_a_running_job_go_on_and_are_read_anew_only_where_they_must(plant: Plant, view: View) -> None:
    plant.fact(job(start=0))
    plant.samples((GOOD, 1, 1))
    for second in range(2, 12):
        plant.samples((GOOD, second, second))
        assert view.order()["jobs"][0]["good"]["value"] == str(second - 1)
    assert view.figures()["read_anew"] == 1


def test_a_job_that_is_longer_than_it_was_said_takes_in_older_samples_too(plant: Plant, view: View) -> None:
    plant.samples((GOOD, 10, -5))
    plant.fact(job(start=0, end=30))
    plant.samples((GOOD, 12, 10), (GOOD, 15, 40), (GOOD, 20, 50))
    assert view.order()["jobs"][0]["good"]["value"] == "2"
    plant.fact(job(start=0, end=45, source_rev="2"))
    assert view.order()["jobs"][0]["good"]["value"] == "5"
    plant.samples((GOOD, 13, 20))
    plant.fact(job(start=0, end=60, source_rev="3"))
    assert view.order()["jobs"][0]["good"]["value"] == "10"


def test_a_lot_that_was_consumed_by_mistake_has_the_whole_of_its_quantity_again(plant: Plant, view: View) -> None:
    plant.samples((GOOD, 10, -5))
    plant.fact(job(start=0))
    plant.fact(lot("L-1", start=0))
    plant.samples((GOOD, 12, 10))
    assert view.follow()[LOT + "L-1"]["jobs"][0]["good"]["value"] == "2"
    plant.fact(lot("L-1", "Consumed", start=0, source_rev="2"))
    plant.samples((GOOD, 15, 20))
    assert "good" not in view.follow()[LOT + "L-1"]["jobs"][0]
    plant.fact(lot("L-1", start=0, source_rev="3"))
    plant.samples((GOOD, 16, 30))
    assert view.follow()[LOT + "L-1"]["jobs"][0]["good"]["value"] == "6"


def test_more_samples_than_are_held_are_read_from_the_log(plant: Plant, make_view: Callable[..., View]) -> None:
    view = make_view(recent_rows_max=2)
    plant.fact(job(start=0))
    plant.samples((GOOD, 1, 1))
    assert view.order()["jobs"][0]["good"]["value"] == "0"
    plant.samples(*((GOOD, n, n) for n in range(2, 9)))
    assert view.order()["jobs"][0]["good"]["value"] == "7"
    assert view.figures()["read_anew"] == 2


def test_every_document_of_an_order_and_a_lot_reads_back(plant: Plant, view: View) -> None:
    plant.fact(job(start=0))
    plant.fact(lot("L-1", None, start=0))
    plant.samples((GOOD, 1, 1), (GOOD, 2, 2))
    view.follow()
    for topic, payload in view.retained.items():
        msgspec.json.decode(payload, type=WorkOrderState if topic.startswith(WO) else LotState)


def test_orders_stand_at_the_site_where_they_ran(make_plant: Callable[..., Plant]) -> None:
    tree = line()
    moved = msgspec.structs.replace(
        tree.equipment["packer2"], site="austin", path=("acme", "austin", "packer2"), parent=None
    )
    sites = tree.sites | {"austin": tree.sites["dallas"]}
    plant = make_plant(msgspec.structs.replace(tree, sites=sites, equipment=tree.equipment | {"packer2": moved}))
    plant.fact(job(start=0, end=60))
    plant.fact(job(id="mes:other", equipment="packer2", start=0, end=60))
    plant.samples((GOOD, 1, 1), (GOOD, 5, 50))
    plant.samples((GOOD, 1, 1), (GOOD, 9, 50), equipment="packer2")
    found = View(plant).follow()
    assert found[WO + "WO-1"]["jobs"][0]["good"]["value"] == "4"
    assert found["uns1/acme/austin/_wo/WO-1"]["jobs"][0]["good"]["value"] == "8"
