"""Our edge node before foreign hosts: what they decode, what they do, what they break."""

from __future__ import annotations

import pytest

from tests.interop.connects import host_connect_faults
from tests.interop.expectations import Expected
from tests.interop.process import decoded
from tests.interop.scenes import HOST_ID, NODE, HostScene
from tests.interop.values import EXTREME, PLAIN, TYPES, metric_name
from uns.errors import RemoteProtocolError
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.edge import EdgeNodeSession
from uns.sparkplug.messages import BirthDue, NodeBirth, Offline, Subscribe
from uns.sparkplug.state import decode_state, state_topic

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

BY_NAME = {metric_name(datatype): datatype for datatype in TYPES}


def misread(expected: Expected, datatype: DataType, value):
    """What a birth's plain value becomes, for the few that lose every value of a type."""
    wrong = expected.reads.get(datatype, value)
    return wrong if wrong is None else value


def test_our_births_are_read(expected: Expected, host_scene: HostScene):
    assert decoded(host_scene.births[0], BY_NAME) == {
        name: misread(expected, datatype, PLAIN[datatype]) for name, datatype in BY_NAME.items()
    }


def test_our_data_is_read(expected: Expected, host_scene: HostScene):
    plain, nulls, *extremes = host_scene.data
    if not expected.names_data:  # neither name nor type: it does not look at the birth
        for metric in (m for message in host_scene.data for m in message):
            assert (metric["name"], metric["type"], metric["value"]) == (None, None, None)
        assert [int(m["alias"]) for m in plain] == [int(m["alias"]) for m in host_scene.births[0]]
        return
    names = {int(metric["alias"]): metric["name"] for metric in host_scene.births[0]}
    assert decoded(plain, BY_NAME, names) == {name: PLAIN[datatype] for name, datatype in BY_NAME.items()}
    assert decoded(nulls, BY_NAME, names) == dict.fromkeys(BY_NAME)
    for message in extremes:
        assert decoded(message, BY_NAME, names) == {name: EXTREME[datatype] for name, datatype in BY_NAME.items()}


def test_what_the_host_breaks(expected: Expected, host_scene: HostScene):
    breaks = {tck_id for f in host_scene.findings if f.subject.startswith("commands to") for tck_id in f.tck_ids}
    breaks |= {tck_id for f in host_scene.findings if f.subject == f"host {HOST_ID}" for tck_id in f.tck_ids}
    (connect,) = host_scene.connects
    breaks |= host_connect_faults(connect, HOST_ID)
    if not any(readable_birth(state) for state in host_scene.states):
        breaks.add("tck-id-payloads-state-birth")
    assert breaks == expected.host_breaks


def readable_birth(state) -> bool:
    try:
        return state.topic == state_topic(HOST_ID) and decode_state(state.payload).online
    except RemoteProtocolError:
        return False


def test_what_the_host_does_and_what_it_does_not(expected: Expected, host_scene: HostScene):
    did_not = {step for step, came in host_scene.happened.items() if not came}
    assert did_not | set(host_scene.refused) == expected.host_does_not


def test_whether_the_host_can_be_our_primary_host(expected: Expected, host_scene: HostScene):
    session = EdgeNodeSession(NODE, primary_host_id=HOST_ID)
    session.connect(bd_seq=0, session_id="s", now_ns=0)
    session.receive_connected(0)
    session.receive_subscribed(0)
    (connect,) = host_scene.connects
    subscribed = next(filters for a in session.actions() if isinstance(a, Subscribe) for filters in [dict(a.filters)])
    # As the broker does it: its birth, if it is on the topic that we subscribed to, and in the end its Will.
    for state in host_scene.states[:1]:
        if state.topic in subscribed:
            session.receive_message(state.topic, state.payload, 0)
    assert (BirthDue("primary_host") in session.events()) is expected.primary_host
    if expected.primary_host:
        session.birth(NodeBirth(), 0)
        session.receive_message(connect.will_topic or "", connect.will_payload, 0)
        assert Offline("primary_host_offline") in session.events()
