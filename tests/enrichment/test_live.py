"""Present values and contexts: newest by source time, at most one a second each, stale after a death."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tests.enrichment.builders import COUNT, SECOND, TEMPERATURE, TEMPERATURES, Host, at, fact, plant, provenance
from uns.enrichment.live import PvBoard, Way
from uns.enrichment.pipeline import Enricher
from uns.namespace.model import MetricContract
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.topics import EdgeNodeDescriptor

GATEWAY = EdgeNodeDescriptor("acme.dallas", "gw-1")
PLACE = "uns1/acme/dallas/reaction/line2/reactor4"


class Screen:
    """What a broker would retain, with how often each topic was written."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.retained: dict[str, Any] = {}
        self.written: dict[str, int] = {}
        self.look()

    def look(self, after_s: float = 0.0) -> list[str]:
        self.host.now_ns += round(after_s * SECOND)
        topics = []
        for message in self.host.enricher.board.due(self.host.now_ns):
            assert message.retain
            self.retained[message.topic] = json.loads(message.payload)
            self.written[message.topic] = self.written.get(message.topic, 0) + 1
            topics.append(message.topic)
        return topics

    def value(self, metric: str = "temperature") -> Any:
        return self.retained[f"{PLACE}/_pv/{metric}"]


def screen(**options: Any) -> Screen:
    host = Host(**options)
    host.restart()
    return Screen(host)


def test_a_present_value_has_its_time_quality_and_context():
    s = screen()
    s.host.fact(fact("job"))
    s.host.fact(fact("lot"))
    s.host.samples((TEMPERATURE, 182.0, 5))
    s.look(1)
    assert s.value() == {
        "schema": "uns1.pv/1",
        "equipment": "reactor4",
        "metric": "temperature",
        "type": "Float",
        "unit": "CEL",
        "value": 182.0,
        "time": "2026-06-03T12:00:05.000Z",
        "quality": "good",
        "context": {
            "status": "resolved",
            "work_order": "WO-1",
            "operation": "0010",
            "job_order": "WO-1/0010",
            "lots": ["L-1"],
            "facts": ["job:WO-1/0010@1", "lot:L-1@1"],
        },
    }


def test_the_newest_by_source_time_counts_whatever_comes_last():
    s = screen()
    s.host.samples((TEMPERATURE, 2.0, 5))
    s.host.samples((TEMPERATURE, 1.0, 4))
    s.host.samples((TEMPERATURE, 3.0, 5, 0, 3), (TEMPERATURE, 9.0, 5, 0, 1))
    s.look(1)
    assert (s.value()["value"], s.value()["ordinal"]) == (3.0, 3)


def test_a_metric_is_published_at_most_once_per_interval_and_its_last_value_always():
    s = screen()
    for step in range(100):
        s.host.samples((TEMPERATURE, float(step), 1 + step / 20))
        s.look(0.05)
    s.look(2)
    assert s.written[f"{PLACE}/_pv/temperature"] in {6, 7}
    assert s.value()["value"] == 99.0


def test_the_first_change_after_a_silence_is_shown_soon():
    s = screen()
    s.look(10)
    s.host.samples((TEMPERATURE, 1.0, 1))
    deadline = s.host.enricher.board.next_deadline_ns()
    assert deadline is not None
    assert deadline - s.host.now_ns <= SECOND // 10
    assert f"{PLACE}/_pv/temperature" in s.look(0.1)


def test_nothing_changes_nothing_is_due():
    s = screen()
    s.host.samples((TEMPERATURE, 1.0, 1))
    s.look(1)
    assert s.host.enricher.board.next_deadline_ns() is None
    assert s.look(5) == []


def test_a_snapshot_shows_all_metrics_of_the_equipment_in_one():
    s = screen()
    s.host.samples((TEMPERATURE, 1.0, 1), (COUNT, 7, 1, 2))
    s.look(1)
    snapshot = s.retained[f"{PLACE}/_pv"]
    assert {v["metric"]: (v["value"], v["quality"]) for v in snapshot["values"]} == {
        "temperature": (1.0, "good"),
        "batch/count": (7, "bad"),
    }


def test_a_value_of_bad_quality_says_so_once():
    s = screen()
    s.host.samples((TEMPERATURE, 1.0, 1, 2), status_codes=[2156724224])
    s.look(1)
    assert (s.value()["quality"], s.value()["status_code"]) == ("bad", 2156724224)


@pytest.mark.tck(
    "tck-id-operational-behavior-edge-node-termination-host-action-ndeath-devices-tags-stale",
    "tck-id-operational-behavior-edge-node-termination-host-action-ndeath-node-tags-stale",
)
def test_values_of_a_dead_gateway_are_stale_until_new_ones_come():
    s = screen()
    s.host.samples((TEMPERATURE, 1.0, 1), (COUNT, 1, 1, 1))
    s.look(1)
    assert s.host.enricher.board.mark_stale(GATEWAY) == 2
    assert s.host.enricher.board.mark_stale(GATEWAY) == 0
    s.look(1)
    assert (s.value()["quality"], s.value("batch.count")["quality"]) == ("stale", "stale")
    s.host.samples((TEMPERATURE, 2.0, 2))
    s.look(1)
    assert (s.value()["quality"], s.value("batch.count")["quality"]) == ("good", "stale")


def test_a_stale_value_says_since_when_and_why_until_it_is_fresh_again():
    s = screen()
    s.host.samples((TEMPERATURE, 1.0, 1), (COUNT, 1, 1, 1))
    s.host.enricher.receive_death(GATEWAY, "reactor4", 9 * SECOND, since_ns=3 * SECOND)
    s.look(1)
    assert (s.value()["stale_since"], s.value()["stale_reason"]) == ("1970-01-01T00:00:03.000Z", "ddeath")
    assert {value["stale_reason"] for value in s.retained[f"{PLACE}/_pv"]["values"]} == {"ddeath"}
    s.host.samples((TEMPERATURE, 2.0, 2))
    s.look(1)
    assert "stale_since" not in s.value()
    assert "stale_reason" not in s.value()


def test_the_first_cause_stands_a_value_that_was_stale_stays_so_since_then():
    s = screen()
    s.host.samples((TEMPERATURE, 1.0, 1))
    live = {(GATEWAY, "reactor4")}
    why = (4 * SECOND, "host_disconnected")
    s.host.enricher.board.follow(live, why=lambda _way: why)
    s.look(1)
    assert "stale_since" not in s.value()
    live.clear()
    assert s.host.enricher.board.reconcile() == 1
    s.host.enricher.receive_death(GATEWAY, None, 9 * SECOND)
    s.look(1)
    assert (s.value()["stale_since"], s.value()["stale_reason"]) == ("1970-01-01T00:00:04.000Z", "host_disconnected")


def test_where_nobody_knows_since_when_only_the_reason_stands():
    s = screen()
    s.host.samples((TEMPERATURE, 1.0, 1))
    s.host.enricher.board.follow((), why=lambda _way: (None, "not_heard"))
    s.look(1)
    assert (s.value()["quality"], s.value().get("stale_since"), s.value()["stale_reason"]) == (
        "stale",
        None,
        "not_heard",
    )


def test_a_rebirth_that_repeats_the_value_makes_it_fresh_again():
    s = screen()
    s.host.samples((TEMPERATURE, 1.0, 1))
    s.host.enricher.board.mark_stale(GATEWAY)
    s.look(1)
    s.host.samples((TEMPERATURE, 1.0, 1), origin="birth")
    s.look(1)
    assert s.value()["quality"] == "good"


def test_a_node_that_comes_back_without_a_birth_makes_its_values_fresh_again():
    s = screen()
    s.host.samples((TEMPERATURE, 1.0, 1))
    s.host.enricher.board.mark_stale(GATEWAY)
    s.look(1)
    assert s.host.enricher.board.mark_alive(GATEWAY) == 1
    s.look(1)
    assert s.value()["quality"] == "good"


def test_present_values_survive_a_restart_and_can_become_stale_after_it():
    s = screen()
    s.host.samples((TEMPERATURE, 1.0, 5, 1), (COUNT, 2, 5), time_source="gateway")
    s.host.samples((TEMPERATURE, 0.5, 4))
    s.look(1)
    before = dict(s.retained)
    s.host.restart()
    s.look(1)
    assert s.retained == before
    s.host.samples((COUNT, 3, 6))
    s.look(1)
    assert [v["value"] for v in s.retained[f"{PLACE}/_pv"]["values"]] == [1.0, 3]
    assert s.host.enricher.board.mark_stale(GATEWAY) == 2
    s.look(1)
    assert s.value() == before[f"{PLACE}/_pv/temperature"] | {"quality": "stale"}


def test_history_after_a_restart_is_no_present_value_even_where_the_log_gave_none_back():
    s = screen()
    s.host.samples((TEMPERATURE, 1.0, 5))
    state = s.host.log.state(s.host.tree)
    state.present = []
    s.host.enricher = Enricher(s.host.tree, s.host.log)
    s.host.now_ns = at(10)
    s.host.enricher.load(state, s.host.now_ns)
    s.host.samples((TEMPERATURE, 0.5, 4))
    assert not [t for t in s.look(1) if "/_pv" in t]
    s.host.samples((TEMPERATURE, 2.0, 6))
    s.look(1)
    assert s.value()["value"] == 2.0


def test_a_death_concerns_only_what_came_from_that_gateway_and_device():
    s = screen()
    s.host.samples((TEMPERATURE, 1.0, 1))
    s.host.samples((COUNT, 1, 1), provenance=provenance(edge_node_id="gw-2"))
    board = s.host.enricher.board
    assert board.mark_stale(EdgeNodeDescriptor("acme.austin", "gw-1")) == 0
    assert board.mark_stale(GATEWAY, "reactor5") == 0
    assert board.mark_stale(GATEWAY, "reactor4") == 1
    assert board.mark_stale(EdgeNodeDescriptor("acme.dallas", "gw-2")) == 1


def test_a_late_fact_changes_the_context_of_the_present_value_it_concerns():
    s = screen()
    s.host.samples((TEMPERATURE, 1.0, 5))
    s.look(1)
    s.host.fact(fact("job", valid_from=6))
    assert f"{PLACE}/_pv/temperature" not in s.look(2)
    s.host.fact(fact("lot", valid_from=1))
    s.look(2)
    assert s.value()["context"]["lots"] == ["L-1"]


def test_topics_beyond_the_bound_are_counted_and_stand_in_snapshots_only():
    s = screen(pv_topics_max=3)
    s.host.samples(*((contract, 1.0, 1) for contract in TEMPERATURES[:10]))
    s.look(1)
    s.host.samples(*((contract, 2.0, 2) for contract in TEMPERATURES[:10]))
    s.look(1)
    assert len([t for t in s.retained if "/_pv/" in t]) == 3
    assert s.host.enricher.board.counters["pv_topics_refused"] == 7
    assert len(s.retained[f"{PLACE}/_pv"]["values"]) == 10


def test_a_snapshot_that_is_too_large_is_counted():
    s = screen()
    text = MetricContract(name="text", datatype=DataType.STRING)
    s.host.samples((text, "x" * (1 << 20), 1))
    s.look(1)
    assert f"{PLACE}/_pv" not in s.retained
    assert s.host.enricher.board.counters["pv_snapshots_refused"] == 1


# Context


def test_every_equipment_shows_what_runs_there_from_the_start():
    s = screen()
    assert s.retained[f"{PLACE}/_ctx"]["context"]["status"] == "unresolved"
    assert s.retained["uns1/acme/dallas/reaction/line2/_ctx"]["context"] == {"status": "resolved"}


def test_the_context_now_follows_facts_and_is_written_only_when_it_changes():
    s = screen()
    s.host.now_ns = at(10)
    s.host.samples((TEMPERATURE, 1.0, 1))
    s.host.fact(fact("job"))
    s.look(1)
    assert s.retained[f"{PLACE}/_ctx"]["context"]["job_order"] == "WO-1/0010"
    assert s.retained[f"{PLACE}/_ctx"]["since"] == "2026-06-03T12:00:00.000Z"
    before = dict(s.written)
    s.host.fact(fact("shift", shift="B", valid_from=-100, valid_to=-50))
    s.look(1)
    assert s.written == before


def test_the_context_now_changes_by_itself_when_a_fact_begins_or_ends():
    s = screen()
    s.host.now_ns = at(0)
    s.host.fact(fact("job", valid_from=10, valid_to=20))
    s.look(1)
    ctx = f"{PLACE}/_ctx"
    assert "job_order" not in s.retained[ctx]["context"]
    assert s.host.enricher.board.next_deadline_ns() == at(10)
    s.host.now_ns = at(10)
    s.look()
    assert s.retained[ctx]["context"]["job_order"] == "WO-1/0010"
    assert s.host.enricher.board.next_deadline_ns() == at(20)
    s.host.now_ns = at(20)
    s.look()
    assert "job_order" not in s.retained[ctx]["context"]
    assert s.host.enricher.board.next_deadline_ns() is None


def test_planned_looks_at_the_context_do_not_pile_up():
    s = screen()
    s.host.fact(fact("job", valid_from=1000, valid_to=2000))
    for number in range(50):
        s.host.fact(fact("lot", id=f"l{number}", valid_from=-100 + number))
        s.look(1)
    board: PvBoard = s.host.enricher.board
    assert len(board._ctx_changes) <= 2


def test_a_class_may_opt_out_of_a_topic_per_metric_and_keeps_its_snapshot():
    tree = plant()
    quiet = msgspec.structs.replace(tree.classes["Plain"], pv=False)
    host = Host(msgspec.structs.replace(tree, classes=tree.classes | {"Plain": quiet}))
    host.samples((TEMPERATURE, 20.0, 1), equipment="tank9")
    topics = [message.topic for message in host.enricher.board.due(at(5))]
    assert "uns1/acme/dallas/reaction/line2/tank9/_pv" in topics
    assert not [topic for topic in topics if "tank9/_pv/" in topic]


def followed(live: set[Way], heard: set[EdgeNodeDescriptor] | None = None) -> tuple[Screen, PvBoard]:
    s = screen()
    s.host.samples((TEMPERATURE, 1.0, 1), (COUNT, 1, 1))
    s.host.enricher.board.follow(live, heard=heard)
    s.look(1)
    return s, s.host.enricher.board


def test_a_value_whose_way_does_not_live_is_stale_until_it_does():
    live: set[Way] = {(GATEWAY, "reactor4")}
    s, board = followed(live)
    assert board.reconcile() == 0
    assert s.value()["quality"] == "good"
    live.clear()
    assert (board.reconcile(), board.reconcile()) == (2, 0)
    s.look(1)
    assert (s.value()["quality"], s.value("batch.count")["quality"]) == ("stale", "stale")
    live.add((GATEWAY, "reactor4"))
    assert board.reconcile() == 2
    s.look(1)
    assert (s.value()["quality"], s.value("batch.count")["quality"]) == ("good", "good")


def test_what_is_joined_after_its_gateway_died_is_shown_stale_at_once():
    s, _ = followed(set())
    s.host.samples((TEMPERATURE, 2.0, 2))
    s.look(1)
    assert (s.value()["value"], s.value()["quality"]) == (2.0, "stale")
    assert {v["quality"] for v in s.retained[f"{PLACE}/_pv"]["values"]} == {"stale"}


def test_nothing_is_said_of_a_gateway_that_was_not_heard_yet():
    heard: set[EdgeNodeDescriptor] = set()
    s, board = followed(set(), heard)
    assert (board.reconcile(), s.value()["quality"]) == (0, "good")
    heard.add(GATEWAY)
    assert board.reconcile() == 2


def test_a_death_holds_until_a_value_or_a_name_comes_although_the_way_lives_again():
    way: Way = (GATEWAY, "reactor4")
    s, board = followed({way})
    board.mark_stale(GATEWAY)
    assert board.reconcile() == 0
    s.look(1)
    assert s.value()["quality"] == "stale"
    assert board.reconcile({way}) == 2
    s.look(1)
    assert s.value()["quality"] == "good"


@pytest.mark.parametrize("old_first", [True, False])
def test_after_a_restart_a_retyped_metric_shows_its_newest_value_in_the_type_it_was_read_in(old_first: bool):
    s = screen()
    old = msgspec.structs.replace(TEMPERATURE, datatype=DataType.INT32, unit=None)
    samples = [(old, 41, 1), (TEMPERATURE, 2.5, 2)]
    for sample in samples if old_first else reversed(samples):
        s.host.samples(sample)
    s.host.restart()
    s.look(2)
    assert {key: s.value()[key] for key in ("type", "unit", "value")} == {"type": "Float", "unit": "CEL", "value": 2.5}
