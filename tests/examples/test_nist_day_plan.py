"""What a recorded day becomes before its replay, and how its books are balanced after."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_nodes.node_file import lint_node, load_node
from edge_nodes.simulators.shdr import Day, parse_day
from examples.nist_day_plan import (
    GATEWAY,
    balance,
    bridge_text,
    job_definitions,
    jobs_of,
    node_text,
    notifications,
    part_metric,
    tree_text,
)
from uns.adapters.sqlite.record_rows import Record
from uns.namespace.loader import lint_tree, load_tree
from uns.runtime.bridge.bridge_file import lint_bridge, load_bridge
from uns.sparkplug.datatypes import Value

ROWS = (
    "2017-09-07T09:00:00.000Z|program|81",
    "2017-09-07T09:00:01.000Z|Xload|4",
    "2017-09-07T09:00:01.000Z|avail|UNAVAILABLE",
    "2017-09-07T09:00:02.000Z|program| ",
    "2017-09-07T09:00:03.000Z|program|T 94.NC",
    "2017-09-07T09:00:04.000Z|system_cond|Warning|1101|||INTERFERE",
    "2017-09-07T09:00:04.000Z|system_cond|Normal|1105|||",
)
TIME_NS = 1_504_774_800_000_000_000


def day_of(*rows: str) -> Day:
    return parse_day("Mazak03", [row.encode() for row in rows or ROWS])


def record(position: int, metric: str, value: Value, at_s: float = 0.0, status: str = "resolved") -> Record:
    work_order = "WO-81" if status == "resolved" else None
    return Record(position, metric, TIME_NS + int(at_s * 1e9), 0, value, None, status, work_order, "{}")


ALL = (
    record(1, "program", "81"),
    record(2, "Xload", 4.0, 1),
    record(3, "program", " ", 2, "unassigned"),
    record(4, "program", "T 94.NC", 3),
    record(5, "system_cond", "Warning|1101|||INTERFERE", 4),
    record(6, "system_cond", "Normal|1105|||", 4),
)


def write_files(directory: Path, day: Day) -> tuple[Path, Path]:
    tree, node = directory / "topic_tree.yaml", directory / "node.yaml"
    tree.write_text(tree_text(day))
    node.write_text(
        node_text(day, tree=str(tree), broker_url="mqtt://127.0.0.1:1883", opcua_url="opc.tcp://127.0.0.1:1")
    )
    return tree, node


@pytest.mark.parametrize(
    "machine",
    ["Mazak03", "yes", "0010", "a-b_c"],
)
def test_tree_and_node_file_pass_their_own_checks(tmp_path: Path, machine: str) -> None:
    rows = [*ROWS, "2017-09-07T09:00:00Z|no|1", "2017-09-07T09:00:00Z|010|1", "2017-09-07T09:00:00Z|a:b|x"]
    day = parse_day(machine, [row.encode() for row in rows])
    tree, node = write_files(tmp_path, day)
    assert lint_tree(tree) == []
    assert lint_node(node) == []
    equipment_class = load_tree(tree).class_of(machine)
    assert equipment_class is not None
    assert equipment_class.requires == ("job",)
    assert equipment_class.metrics["program"].provides == "job"


def test_the_gateway_reduces_nothing_and_takes_any_time(tmp_path: Path) -> None:
    (source,) = load_node(write_files(tmp_path, day_of())[1]).sources
    assert source.options.reduction is False
    assert (source.options.limits.past_max_ms, source.options.limits.future_max_ms) == (-1, -1)
    assert load_node(tmp_path / "node.yaml").gateway == GATEWAY


def test_the_part_counter_counts_good_and_execution_tells_machine_time(tmp_path: Path) -> None:
    day = day_of("2017-09-07T09:00:00Z|PartCountAct|7", "2017-09-07T09:00:00Z|execution|ACTIVE", *ROWS)
    tree, _ = write_files(tmp_path, day)
    machine = load_tree(tree).class_of("Mazak03")
    assert machine is not None
    assert (machine.metrics["PartCountAct"].role, machine.metrics["PartCountAct"].counts) == ("counter", "good")
    assert machine.metrics["execution"].times is not None
    assert lint_tree(tree) == []


def test_a_part_counter_that_is_no_number_counts_nothing() -> None:
    assert part_metric(day_of("2017-09-07T09:00:00Z|Part_Count|many")) is None
    assert part_metric(day_of()) is None


def test_the_bridge_file_passes_its_own_check(tmp_path: Path) -> None:
    tree, _ = write_files(tmp_path, day_of())
    bridge = tmp_path / "day.bridge.yaml"
    bridge.write_text(bridge_text(tree=str(tree), store=str(tmp_path / "host"), outbox=str(tmp_path / "out")))
    assert lint_bridge(bridge) == []
    assert load_bridge(bridge).grace_ns == 0


def test_each_program_is_a_job_and_a_blank_one_is_none() -> None:
    assert [(job.program, job.work_order) for job in jobs_of(day_of())] == [("81", "WO-81"), ("T 94.NC", "WO-T-94.NC")]


def test_programs_that_look_alike_get_orders_of_their_own() -> None:
    day = day_of(
        "2017-09-07T09:00:00Z|program|A B", "2017-09-07T09:00:01Z|program|A-B", "2017-09-07T09:00:02Z|program|a b"
    )
    assert [job.work_order for job in jobs_of(day)] == ["WO-A-B", "WO-A-B-2", "WO-a-b-3"]


def test_jobs_are_released_before_anything_happened() -> None:
    facts = job_definitions(day_of())
    assert {fact.state for fact in facts} == {"released"}
    assert {fact.recipe for fact in facts} == {"81", "T 94.NC"}
    assert all(fact.valid_from.timestamp() * 1e9 == TIME_NS for fact in facts)


def test_a_day_without_program_has_no_jobs() -> None:
    assert job_definitions(day_of("2017-09-07T09:00:00Z|Xload|4")) == []


def test_the_server_tells_of_every_change_and_not_of_a_row_said_twice() -> None:
    first, other = "2017-09-07T09:00:00Z|c|a", "2017-09-07T09:00:00Z|c|b"
    assert notifications(day_of(first, first, other)) == 2
    assert notifications(day_of(first, other, first)) == 3


def test_a_complete_log_balances() -> None:
    books = balance(day_of(), ALL, known_before=0)
    assert (books.samples, books.unexpected) == (6, 0)
    assert books.statuses == {"resolved": 5, "unassigned": 1}
    assert books.work_orders == {"WO-81": 5}


def test_a_lost_sample_is_missing() -> None:
    assert balance(day_of(), ALL[:-1], known_before=0).samples == 5


def test_a_changed_value_is_missing_and_unexpected() -> None:
    books = balance(day_of(), (*ALL[:-1], record(6, "system_cond", "Fault", 4)), known_before=0)
    assert (books.samples, books.unexpected) == (5, 1)


def test_a_doubled_sample_is_unexpected() -> None:
    books = balance(day_of(), (*ALL, record(7, "Xload", 4.0, 1)), known_before=0)
    assert (books.samples, books.unexpected) == (6, 1)
    assert sum(books.statuses.values()) == 7


def test_another_day_in_the_same_store_is_left_alone() -> None:
    other = record(1, "Xload", 9.0, -86_400)
    later = [record(r.position + 1, r.metric, r.value, (r.source_time_ns - TIME_NS) / 1e9, r.status) for r in ALL]
    assert balance(day_of(), [other, *later], known_before=1).unexpected == 0
    assert balance(day_of(), [other, *later], known_before=0).unexpected == 1
