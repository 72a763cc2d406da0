from __future__ import annotations

from typing import Any

import pytest

from uns.errors import LocalProtocolError
from uns.sparkplug.transitions import (
    EDGE_TRANSITIONS,
    HOST_NODE_TRANSITIONS,
    HOST_TRANSITIONS,
    EdgeInput,
    EdgeState,
    HostInput,
    HostNodeInput,
    HostNodeState,
    HostSessionState,
    diagram,
    next_state,
)

TABLES: dict[str, Any] = {
    "edge": (EDGE_TRANSITIONS, EdgeState, EdgeInput, EdgeState.DISCONNECTED),
    "host": (HOST_TRANSITIONS, HostSessionState, HostInput, HostSessionState.DISCONNECTED),
    "node": (HOST_NODE_TRANSITIONS, HostNodeState, HostNodeInput, HostNodeState.UNKNOWN),
}


@pytest.mark.parametrize("name", TABLES)
def test_every_state_can_be_reached_and_every_input_is_used(name):
    table, states, inputs, start = TABLES[name]
    reached = {start}
    while more := {table[key] for key in table if key[0] in reached} - reached:
        reached |= more
    assert reached == set(states)
    assert {received for _, received in table} == set(inputs)


@pytest.mark.parametrize("name", ["edge", "host"])
def test_a_connection_can_be_lost_in_every_state(name):
    table, states, inputs, start = TABLES[name]
    assert all(table[state, inputs.DISCONNECTED] is start for state in states)


@pytest.mark.tck(
    "tck-id-payloads-ddata-order",
    "tck-id-payloads-ndata-order",
)
def test_data_is_possible_online_only():  # payloads-ndata-order, payloads-ddata-order
    assert {state for state, received in EDGE_TRANSITIONS if received is EdgeInput.PUBLISH} == {EdgeState.ONLINE}


@pytest.mark.tck("tck-id-message-flow-edge-node-birth-publish-connect")
def test_births_need_a_connection():  # message-flow-edge-node-birth-publish-connect
    births = {state for state, received in EDGE_TRANSITIONS if received is EdgeInput.BIRTH}
    assert births == {EdgeState.BIRTH_DUE, EdgeState.REBIRTH_DUE, EdgeState.ONLINE}


def test_mark_does_not_revive_a_dead_node():
    assert (HostNodeState.OFFLINE, HostNodeInput.NAMED) not in HOST_NODE_TRANSITIONS


def test_illegal_input_names_the_states_in_which_it_is_legal():
    with pytest.raises(
        LocalProtocolError, match=r"'birth' is not possible in state 'connecting'.*birth_due or online or rebirth_due"
    ):
        next_state(EDGE_TRANSITIONS, EdgeState.CONNECTING, EdgeInput.BIRTH)


def test_diagram_has_a_line_per_entry():
    assert len(diagram(EDGE_TRANSITIONS).splitlines()) == len(EDGE_TRANSITIONS) + 1
