"""Whoever writes to a host's STATE, however often: in the end edge nodes see the host online again."""

from __future__ import annotations

import pytest

from tests.sparkplug.helpers import (
    STATE_TOPIC,
    T0,
    T0_MS,
    S,
    kinds,
    online_host,
    published,
    state_payload,
    subscribed_edge,
)
from uns.sparkplug.host import HostSession
from uns.sparkplug.state import StateMemory, decode_state
from uns.sparkplug.transitions import HostSessionState


def reconnect(host: HostSession, now_ns: int) -> None:
    host.receive_disconnected(now_ns)
    host.connect(now_ns)
    host.actions()
    host.receive_connected(now_ns)
    host.receive_subscribed(now_ns)


def write(host: HostSession, *, timestamp: int, now_ns: int) -> None:
    payload = state_payload(online=False, timestamp=timestamp)
    host.receive_message(STATE_TOPIC, payload, retain=False, now_ns=now_ns)


def test_a_second_forged_death_soon_after_the_first_is_outlived_without_another_message():
    host, memory = online_host(), StateMemory()
    for number in (1, 2):
        forged = T0_MS + number * 1_000_000
        assert memory.accept(decode_state(state_payload(online=False, timestamp=forged)))
        write(host, timestamp=forged, now_ns=T0 + number * S)
        if host.state is HostSessionState.LEAVING:
            reconnect(host, T0 + number * S)
    host.actions()
    due = host.next_deadline_ns()
    assert due is not None
    assert due <= T0 + 11 * S
    host.receive_timer(due)
    assert host.state is HostSessionState.LEAVING
    assert "HostStateHealed" in kinds(host.events())
    reconnect(host, due)
    told = [decode_state(message.payload) for message in published(host) if message.topic == STATE_TOPIC]
    assert [memory.accept(state) for state in told if state.online] == [True]


def test_a_clock_set_back_does_not_stretch_that_wait():
    host = online_host()
    for number in (1, 2):
        write(host, timestamp=T0_MS + number * 1_000_000, now_ns=T0 + number * S)
        if host.state is HostSessionState.LEAVING:
            reconnect(host, T0 + number * S)
    write(host, timestamp=T0_MS + 3_000_000, now_ns=T0 - 3600 * S)
    assert host.state is HostSessionState.LEAVING


def test_one_that_writes_all_the_time_makes_us_reconnect_seldom():
    host, reconnects = online_host(), 0
    for number in range(1, 300):
        now = T0 + number * S // 10
        write(host, timestamp=T0_MS + number * 1_000_000, now_ns=now)
        host.receive_timer(now)
        if host.state is HostSessionState.LEAVING:
            reconnects += 1
            reconnect(host, now)
    assert reconnects == 3


@pytest.mark.parametrize(
    "payload",
    [
        b'{"online":true,"timestamp":' + b"9" * 4000 + b"}",
        b'{"online":true,"timestamp":-1}',
        b'{"online":true,"timestamp":NaN}',
        b'{"online":true,"timestamp":1e400}',
        b'{"online":true,"timestamp":1.5}',
        b'{"online":1,"timestamp":1}',
        b'{"online":"true","timestamp":1}',
        b'{"timestamp":1}',
        b'{"x":' + b"[" * 4000,
        b'{"online":true,"timestamp":true}',
        b"[" * 4096,
        b"\xff\xfe",
        b"",
        b"ONLINE",
        b'{"online":true,"timestamp":1}' + b" " * 5000,
    ],
)
def test_a_state_that_is_none_starts_no_birth_and_is_overwritten_by_its_host(payload):
    edge = subscribed_edge(primary_host_id="uns-host-1")
    edge.receive_message(STATE_TOPIC, payload, T0)
    assert kinds(edge.events()) == ["CommandIgnored"]
    host = online_host()
    host.receive_message(STATE_TOPIC, payload, retain=True, now_ns=T0)
    assert [decode_state(message.payload).online for message in published(host)] == [True]


def test_of_a_key_that_is_there_twice_both_ends_believe_the_same_one():
    payload = b'{"online":false,"timestamp":%d,"online":true}' % T0_MS
    edge = subscribed_edge(primary_host_id="uns-host-1")
    edge.receive_message(STATE_TOPIC, payload, T0)
    assert kinds(edge.events()) == ["HostStateChanged", "BirthDue"]
