"""The promises that hold once everything is at rest."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.simulation.checkers import STATE_TOPIC, BrokenPromiseError

if TYPE_CHECKING:
    from tests.simulation.run import Simulation

__all__ = ["CHECKS", "check_at_rest", "is_at_rest"]


def is_at_rest(simulation: Simulation) -> bool:
    """Nothing is waiting at any edge, and everything received is recorded."""
    host = simulation.host
    return all(
        edge.store.waiting == 0 and edge.process is not None and edge.process.buffer.is_empty
        for edge in simulation.edges
    ) and host.store.records.joined == len(host.store.raw)


def require(condition: object, checker: str, text: str) -> None:
    if not condition:
        raise BrokenPromiseError(checker, "at rest", text)


def edge_equation(simulation: Simulation) -> None:
    """read = reduced + stored + refused; stored = confirmed + waiting (+ dropped, which is 0 here)."""
    for edge in simulation.edges:
        store = edge.store
        require(
            store.read == store.reduced + store.stored + store.refused,
            "edge_equation",
            f"{edge.name}: read {store.read} = {store.reduced} + {store.stored} + {store.refused}",
        )
        require(
            store.stored == store.confirmed + store.waiting,
            "edge_equation",
            f"{edge.name}: stored {store.stored} = {store.confirmed} + {store.waiting}",
        )


def all_confirmed(simulation: Simulation) -> None:
    """In the end every stored row is confirmed: no session is stuck."""
    for edge in simulation.edges:
        require(edge.store.waiting == 0, "all_confirmed", f"{edge.name}: {edge.store.waiting} rows wait")


def host_equation(simulation: Simulation) -> None:
    """received = recorded + duplicates."""
    records = simulation.host.store.records
    require(
        records.received == records.recorded + records.duplicates + len(records.conflicts),
        "host_equation",
        f"{records.received} = {records.recorded} + {records.duplicates}",
    )


def nothing_lost(simulation: Simulation) -> None:
    """Every stored sample is recorded once, as the plant meant it, and nothing else is."""
    records, oracle = simulation.host.store.records.records, simulation.oracle.samples
    missing = [key for key in oracle if key not in records]
    require(not missing, "nothing_lost", f"{len(missing)} of {len(oracle)} samples lost, first {missing[:3]}")
    foreign = [key for key in records if key not in oracle]
    require(not foreign, "nothing_lost", f"{len(foreign)} records that nobody stored, first {foreign[:3]}")
    wrong = [key for key, sample in oracle.items() if records[key] != sample]
    require(
        not wrong,
        "nothing_lost",
        f"{len(wrong)} wrong values, first {[(key, oracle[key], records[key]) for key in wrong[:3]]}",
    )


def no_conflict(simulation: Simulation) -> None:
    """No key came with two values."""
    conflicts = simulation.host.store.records.conflicts
    require(not conflicts, "no_conflict", f"{conflicts[:3]}")


def state_is_right(simulation: Simulation) -> None:
    """The retained STATE says that the host is online, with the timestamp of its CONNECT."""
    process = simulation.host.process
    retained = simulation.broker.retained.get(STATE_TOPIC)
    require(process is not None and process.connection is not None, "state_is_right", "the host is not connected")
    require(retained is not None, "state_is_right", "no retained STATE")
    assert retained is not None
    assert process is not None
    assert process.connection is not None
    assert process.connection.will is not None
    state, will = json.loads(retained.payload), json.loads(process.connection.will.payload)
    require(
        state["online"] and state["timestamp"] == will["timestamp"],
        "state_is_right",
        f"retained {state}, will {will}",
    )


def nodes_are_online(simulation: Simulation) -> None:
    """The host sees every node online, in the session it is in."""
    process = simulation.host.process
    assert process is not None
    for edge in simulation.edges:
        assert edge.process is not None
        node = process.session.nodes.get(edge.plan.descriptor)
        require(
            node is not None and node.online and node.session_id == edge.process.session.session_id,
            "nodes_are_online",
            f"{edge.name}: {node and (node.state, node.session_id)}, is in {edge.process.session.session_id}",
        )


CHECKS = (
    edge_equation,
    all_confirmed,
    host_equation,
    no_conflict,
    nothing_lost,
    state_is_right,
    nodes_are_online,
)


def check_at_rest(simulation: Simulation) -> None:
    """Raises :class:`BrokenPromiseError` for the first that does not hold."""
    for check in CHECKS:
        check(simulation)
